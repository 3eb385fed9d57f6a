"""How people steer a run: commands, the helm they are given at, and what the run says to them."""
