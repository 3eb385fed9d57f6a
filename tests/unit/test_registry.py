import pytest

from autoscope.errors import PluginError
from autoscope.registry import KINDS, available, load


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "metrics"])
def test_every_registered_plugin_loads_and_has_a_config_and_a_sentence(kind):
    plugins = available(kind)
    assert plugins
    for plugin in plugins:
        loaded = load(kind, plugin.name)
        assert loaded.Config.model_json_schema()["type"] == "object"
        assert (loaded.__doc__ or "").strip()


def test_a_misspelt_plugin_suggests_the_nearest():
    with pytest.raises(PluginError, match="Did you mean 'deep_kernel'"):
        load("policies", "deep_kernal")


def test_an_unknown_kind_is_refused():
    with pytest.raises(PluginError, match="no such kind"):
        available("polices")


def _point(monkeypatch, target):
    from importlib.metadata import EntryPoint

    point = EntryPoint("odd", target, "autoscope.policies")
    monkeypatch.setattr("autoscope.registry.entry_points", lambda group: [point])


def test_a_plugin_that_lacks_a_package_names_it(monkeypatch):
    _point(monkeypatch, "no_such_package_xyz:Policy")
    with pytest.raises(PluginError, match="pip install no_such_package_xyz"):
        load("policies", "odd")


def test_a_plugin_without_config_is_refused(monkeypatch):
    _point(monkeypatch, "collections:OrderedDict")
    with pytest.raises(PluginError, match="has no Config"):
        load("policies", "odd")


def test_a_plugin_whose_attribute_is_missing_is_refused(monkeypatch):
    _point(monkeypatch, "collections:NoSuchThing")
    with pytest.raises(PluginError, match="failed while it was imported"):
        load("policies", "odd")
