"""Every peer keeps the promises of the policy protocol, by the same kit that strangers' policies are checked with."""

import pytest

from autoscope.errors import PluginError
from autoscope.registry import available
from autoscope.testing import check_policy
from policies.peers.process import interpreter

QUICK = {"initial": 3, "patch_px": 3}
HERE = {"botorch": {}, "gpytorch_dkl": {"iterations": 3}, "sb3": {"training_steps": 2048}}
APART = {
    "gpax_vidkl": ("gpax", {"steps": 20}),
    "atomai_dkl": ("atomai", {"cycles": 3}),
    "gpcam": ("gpcam", {"iterations": 2}),
}
"""Those that run in an environment of their own, with its name."""


def keeps_its_promises(name, options):
    report = check_policy(name, QUICK | options, steps=7)
    assert report.ok, str(report)
    assert report.count("passed") >= 13


def test_none_of_the_peers_is_forgotten_here():
    registered = {plugin.name for plugin in available("policies") if plugin.target.startswith("policies.peers.")}
    assert registered == {*HERE, *APART}


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
def test_a_peer_beside_us_keeps_its_promises(name):
    keeps_its_promises(name, HERE[name])


@pytest.mark.slow
@pytest.mark.timeout(1200)  # every policy made anew starts its interpreter anew
@pytest.mark.parametrize("name", APART)
def test_a_peer_in_an_environment_of_its_own_keeps_its_promises(name):
    environment, options = APART[name]
    try:
        interpreter(environment, None)
    except PluginError as absent:
        pytest.skip(str(absent))
    keeps_its_promises(name, options)
