"""Maps to choose measurements on, the same for every method, and how a campaign on them is scored."""
