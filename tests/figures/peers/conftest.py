"""The scripts are run by themselves and are no modules of ours: nothing is collected from them."""

collect_ignore = ["plain.py", "judged.py"]
