"""What we claim, measured: ``python -m tests.figures main_job [--slow]`` prints one JSON line a figure."""
