"""The leaderboard: what a benchmark's folder tells, as numbers with intervals, pictures, a page and a table."""
