"""Decision rules, one readable file each. Loaded by entry point only."""
