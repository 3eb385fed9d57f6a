"""One thread holds however late a library is loaded."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from autoscope.surrogates.threads import one_thread
with one_thread():
    assert "torch" not in sys.modules
    import torch
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 1, "what follows in the outer block would use more threads in the first fit only"
assert torch.get_num_threads() == before
with one_thread():
    assert torch.get_num_threads() == 1
assert torch.get_num_threads() == before
"""


def test_torch_loaded_inside_a_block_is_limited_until_the_outer_block_ends():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
