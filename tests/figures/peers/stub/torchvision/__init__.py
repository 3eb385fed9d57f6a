"""Stands in for torchvision, which AtomAI imports at its top level and its deep kernel never uses."""
