"""From the atlas to the atoms: each level's regions are found in the images of the one before."""

from policies.levels.policy import LevelsPolicy

__all__ = ["LevelsPolicy"]
