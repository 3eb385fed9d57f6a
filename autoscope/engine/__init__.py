"""The loop: ask, permit, write down, act, write down, tell."""
