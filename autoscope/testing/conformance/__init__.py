"""The conformance kit for instruments: what a driver must keep so that a night can be left to it."""
