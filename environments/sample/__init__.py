"""The simulated specimen and its physics."""
