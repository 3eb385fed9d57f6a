"""Models that predict a target where it was not measured, with their uncertainty. Torch lives behind this door."""
