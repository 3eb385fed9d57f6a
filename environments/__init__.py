"""Gymnasium environments and instrument drivers. Loaded by entry point only."""
