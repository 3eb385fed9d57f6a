"""Scripts run by the interpreter of a peer's own environment; they import nothing of autoscope."""
