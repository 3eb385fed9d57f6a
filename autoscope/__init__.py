"""autoscope: a closed-loop autonomous-experiment agent for (scanning) transmission electron microscopy."""

__version__ = "0.1.0"
