"""Instrument drivers: one folder or file each."""
