import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.decomposition import PCA

from autoscope.errors import ConfigError, DataError, FrameRejected
from autoscope.perception.components import Basis, Component
from autoscope.records import Axis, Frame, FrameMeta

AXIS = Axis(name="energy", unit="eV", size=30, offset=0.0, scale=10.0)


def spectrum(data, axis=AXIS):
    meta = FrameMeta(signal="EDS", axes=(axis,), time_s=0.0, dwell_s=0.1, x_m=0.0, y_m=0.0)
    return Frame(meta, np.asarray(data))


def mixtures(n=80):
    rng = np.random.default_rng(0)
    e = AXIS.values()
    ends = np.stack([np.exp(-0.5 * ((e - place) / 25.0) ** 2) for place in (80.0, 200.0)])
    shares = rng.uniform(0.1, 1.0, (n, 2))
    return shares, 100.0 * shares @ ends


def test_principal_component_score_is_that_of_scikit_learn(tmp_path):
    _, spectra = mixtures()
    Basis.learn(spectra, AXIS, count=2).save(tmp_path / "basis.npz")
    values, _ = Component(Component.Config(basis=tmp_path / "basis.npz", index=1)).map_scalar(spectra[None], AXIS)
    oracle = PCA(2, svd_solver="full").fit_transform(spectra)[:, 1]
    assert np.abs(np.corrcoef(values[0], oracle)[0, 1]) == pytest.approx(1.0)
    assert np.std(values) == pytest.approx(np.std(oracle))


def test_factor_of_a_mixture_follows_the_share_it_was_mixed_with(tmp_path):
    shares, spectra = mixtures()
    Basis.learn(spectra, AXIS, count=2, method="nmf").save(tmp_path / "basis.npz")
    found = [
        Component(Component.Config(basis=tmp_path / "basis.npz", index=k)).map_scalar(spectra[None], AXIS)[0][0]
        for k in (0, 1)
    ]
    best = max(np.corrcoef(values, shares[:, 0])[0, 1] for values in found)
    assert best > 0.99


def test_basis_is_learned_alike_every_time_and_survives_the_file(tmp_path):
    _, spectra = mixtures()
    one, other = (Basis.learn(spectra, AXIS, count=2, method="nmf") for _ in range(2))
    assert one.digest() == other.digest()
    one.save(tmp_path / "basis.npz")
    assert Basis.load(tmp_path / "basis.npz").digest() == Basis(one.components, one.mean, AXIS).digest()


def test_identity_depends_on_the_content_of_the_basis_and_not_on_its_place(tmp_path):
    _, spectra = mixtures()
    basis = Basis.learn(spectra, AXIS, count=2)
    for name in ("a.npz", "b.npz"):
        basis.save(tmp_path / name)
    Basis.learn(spectra[:40], AXIS, count=2).save(tmp_path / "c.npz")
    a, b, c = (Component(Component.Config(basis=tmp_path / f"{name}.npz")).identity for name in "abc")
    assert a == b != c


def test_weights_are_a_sum_with_exact_uncertainty():
    weights = tuple(np.linspace(-1, 1, AXIS.size))
    counts = np.random.default_rng(2).poisson(50.0, AXIS.size)
    scalar = Component(Component.Config(weights=weights)).scalarize(spectrum(counts), "t")
    assert scalar.value == pytest.approx(np.dot(weights, counts))
    assert scalar.std == pytest.approx(np.sqrt(np.dot(np.square(weights), counts)))


def test_axis_in_another_unit_but_with_the_same_places_is_accepted_and_others_refused(tmp_path):
    _, spectra = mixtures()
    Basis.learn(spectra, AXIS, count=1).save(tmp_path / "basis.npz")
    component = Component(Component.Config(basis=tmp_path / "basis.npz"))
    same = Axis(name="energy", unit="keV", size=30, offset=0.0, scale=0.01)
    assert component.scalarize(spectrum(spectra[0], same), "t") == component.scalarize(spectrum(spectra[0]), "t")
    for other in (AXIS.replace(offset=5.0), AXIS.replace(unit="nm"), AXIS.replace(size=29)):
        with pytest.raises(FrameRejected, match="axis"):
            component.scalarize(spectrum(spectra[0][: other.size], other), "t")


def test_component_needs_exactly_one_source(tmp_path):
    for given in ({}, {"basis": tmp_path / "b.npz", "weights": (1.0,)}):
        with pytest.raises(ValidationError, match="either"):
            Component.Config(**given)


def test_component_beyond_the_basis_is_refused(tmp_path):
    _, spectra = mixtures()
    Basis.learn(spectra, AXIS, count=2).save(tmp_path / "basis.npz")
    with pytest.raises(ConfigError, match="no such component"):
        Component(Component.Config(basis=tmp_path / "basis.npz", index=2))


@pytest.mark.parametrize("content", [b"", b"not a zip", None])
def test_unreadable_basis_is_a_data_error(tmp_path, content):
    path = tmp_path / "basis.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="not a readable"):
        Component(Component.Config(basis=path))


@pytest.mark.parametrize(
    ("components", "mean"),
    [(np.ones((2, 30)), np.ones(29)), (np.ones(30), np.ones(30)), (np.full((2, 30), np.nan), np.ones(30))],
)
def test_basis_that_does_not_fit_together_is_a_data_error(tmp_path, components, mean):
    np.savez(tmp_path / "b.npz", components=components, mean=mean, offset=0.0, scale=1.0, unit="eV")
    with pytest.raises(DataError):
        Basis.load(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("spectra", "method"),
    [
        (np.ones((2, 30)), "pca"),
        (np.ones((9, 12)), "pca"),
        (-np.ones((9, 30)), "nmf"),
        (np.full((9, 30), np.nan), "pca"),
    ],
)
def test_references_a_basis_cannot_be_learned_from_are_refused(spectra, method):
    with pytest.raises(DataError):
        Basis.learn(spectra, AXIS, count=3, method=method)
