"""The arena: policies x environments x seeds through the engine that runs at night, with honest statistics."""
