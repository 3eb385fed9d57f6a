"""The terminal dashboard: see what a run thinks, and take the wheel. The only room that imports textual."""
