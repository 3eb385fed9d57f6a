"""Other people's decision rules, each with the settings its own documentation shows, as policies to compare with."""
