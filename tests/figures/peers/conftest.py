"""The workers run in environments of their own and are no modules of ours: nothing is collected from them."""

collect_ignore = ["plain.py", "botorch_gp.py", "gpytorch_dkl.py", "gpax_vidkl.py", "atomai_dkl.py", "stub"]
