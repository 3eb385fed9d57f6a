"""Spectra through a low-rank basis: planted maps recovered, linear readings exact, honest spread."""

import json

import numpy as np
import pytest

from autoscope.errors import FitFailed, ModelError
from autoscope.surrogates.gp import GaussianProcess
from autoscope.surrogates.spectral import SpectralBasis, SpectralSurrogate

CHANNELS = np.linspace(0.0, 1.0, 80)
SHAPES = np.stack([np.exp(-0.5 * ((CHANNELS - c) / w) ** 2) for c, w in ((0.3, 0.05), (0.6, 0.1), (0.8, 0.03))])


def truth(x):
    maps = np.stack([np.sin(1.5 * x[:, 0]), np.cos(x[:, 1]), np.tanh(x[:, 0] * x[:, 1])], axis=1)
    return 60.0 * np.exp(-CHANNELS) + (1.5 + maps) * [30.0, 20.0, 10.0] @ SHAPES


def planted(n, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.5, 1.5, size=(n, 2))
    clean = truth(x)
    return x, rng.poisson(clean).astype(np.float64), clean


def gp():
    return GaussianProcess(groups=((0, 1),), cold_iterations=25)


@pytest.fixture(scope="module")
def fitted():
    x, spectra, _ = planted(70)
    model = SpectralSurrogate(gp, components=3)
    model.fit(x, spectra, np.maximum(spectra, 1.0))
    return model


def test_unmeasured_spectra_are_recovered_far_below_the_noise_of_a_channel(fitted):
    x, spectra, clean = planted(200, seed=1)
    mean, _ = fitted.predict_spectra(x)
    error, noise = np.sqrt(np.mean((mean - clean) ** 2)), np.sqrt(np.mean((spectra - clean) ** 2))
    assert error < 0.4 * noise
    assert error < 0.6 * np.sqrt(np.mean((clean - clean.mean(axis=0)) ** 2))


def test_the_stated_spread_covers_the_true_spectra(fitted):
    x, _, clean = planted(300, seed=2)
    mean, std = fitted.predict_spectra(x)
    z = (mean - clean)[:, SHAPES.sum(axis=0) > 0.2] / std[:, SHAPES.sum(axis=0) > 0.2]
    assert 0.88 < (np.abs(z) < 2).mean() < 0.99
    assert 0.75 < z.std() < 1.25


def test_a_linear_reading_is_that_of_the_predicted_spectrum_and_its_variance_that_of_the_model(fitted):
    x, *_ = planted(40, seed=3)
    weights = np.random.default_rng(0).normal(size=80)
    mean, std = fitted.predict_linear(x, weights)
    spectrum, _ = fitted.predict_spectra(x)
    np.testing.assert_allclose(mean, spectrum @ weights, rtol=1e-10)
    scores, score_std = fitted.predict_scores(x)
    basis = fitted.basis
    for k in range(40):
        own = basis.rest + basis.noise * (1.0 + (scores[k] ** 2 / basis.spread).sum())
        covariance = basis.loadings.T @ np.diag(score_std[k] ** 2) @ basis.loadings + np.diag(own)
        assert std[k] == pytest.approx(np.sqrt(weights @ covariance @ weights))


def test_a_reading_of_one_channel_is_that_channel_of_the_spectrum(fitted):
    x, *_ = planted(10, seed=4)
    mean, std = fitted.predict_spectra(x)
    for channel in (0, 24, 79):
        reading = fitted.predict_linear(x, np.eye(80)[channel])
        np.testing.assert_allclose(reading[0], mean[:, channel])
        np.testing.assert_allclose(reading[1], std[:, channel])


@pytest.mark.parametrize("centre", [0.3, 0.6])
def test_a_narrow_reading_through_the_basis_beats_a_model_of_the_noisy_reading(fitted, centre):
    x, spectra, _ = planted(70)
    at, _, clean = planted(300, seed=5)
    band = (np.abs(CHANNELS - centre) < 0.01).astype(np.float64)
    alone = gp()
    alone.fit(x, spectra @ band, np.sqrt(spectra @ band))
    of_basis = np.sqrt(np.mean((fitted.predict_linear(at, band)[0] - clean @ band) ** 2))
    of_reading = np.sqrt(np.mean((alone.predict(at)[0] - clean @ band) ** 2))
    assert of_basis < 0.85 * of_reading


def test_the_basis_spans_planted_spectra_and_returns_what_it_is_given():
    rng = np.random.default_rng(0)
    spectra = 50.0 + rng.normal(size=(60, 3)) @ SHAPES
    basis = SpectralBasis.of(spectra, np.zeros_like(spectra), 3)
    np.testing.assert_allclose(basis.mean + basis.scores(spectra) @ basis.loadings, spectra, atol=1e-9)
    np.testing.assert_allclose(basis.readers @ basis.loadings.T, np.eye(3), atol=1e-10)
    assert basis.rest.max() < 1e-12
    assert (basis.loadings[np.arange(3), np.abs(basis.loadings).argmax(axis=1)] > 0).all()


def test_weights_of_counting_keep_a_weak_line_that_plain_components_lose_in_the_noise():
    rng = np.random.default_rng(0)
    strong = 1e4 * np.exp(-0.5 * ((CHANNELS - 0.2) / 0.05) ** 2)
    line = 30.0 * np.exp(-0.5 * ((CHANNELS - 0.8) / 0.02) ** 2)
    amount = rng.uniform(0, 1, 150)
    spectra = rng.poisson(strong + 5.0 + amount[:, None] * line).astype(np.float64)
    basis = SpectralBasis.of(spectra, spectra + 1.0, 1)
    assert abs(np.corrcoef(basis.scores(spectra)[:, 0], amount)[0, 1]) > 0.95
    _, _, axes = np.linalg.svd(spectra - spectra.mean(axis=0), full_matrices=False)
    assert abs(np.corrcoef((spectra - spectra.mean(axis=0)) @ axes[0], amount)[0, 1]) < 0.5


def test_what_the_basis_cannot_hold_widens_the_spread():
    x, spectra, _ = planted(70)
    short, full = (SpectralSurrogate(gp, components=c) for c in (1, 3))
    for model in (short, full):
        model.fit(x, spectra, spectra + 1.0)
    lost = short.basis.rest.sum()
    assert lost > 3.0 * full.basis.rest.sum()


def test_the_spread_of_scores_is_that_of_repeated_noise():
    rng = np.random.default_rng(0)
    spectra = 50.0 + 9.0 * rng.normal(size=(60, 3)) @ SHAPES
    basis, variance = SpectralBasis.of(spectra, np.zeros_like(spectra), 3), 4.0 + CHANNELS[None]
    repeats = spectra[:1] + np.sqrt(variance) * rng.normal(size=(20_000, 80))
    np.testing.assert_allclose(basis.scores(repeats).std(axis=0), basis.score_std(variance)[0], rtol=0.03)


def test_measuring_more_pulls_the_prediction_to_what_was_seen():
    x, spectra, _ = planted(40)
    model = SpectralSurrogate(gp, components=3)
    model.fit(x[:30], spectra[:30], spectra[:30] + 1.0)
    (before, _), (_, wide) = model.predict_spectra(x[30:]), model.predict_scores(x[30:])
    model.condition(x[30:], spectra[30:], spectra[30:] + 1.0)
    (after, _), (_, narrow) = model.predict_spectra(x[30:]), model.predict_scores(x[30:])
    assert np.abs(after - spectra[30:]).mean() < np.abs(before - spectra[30:]).mean()
    assert (narrow < wide).all()


def test_a_recalled_state_predicts_to_the_bit_and_is_json():
    x, spectra, _ = planted(30)
    model, again = (SpectralSurrogate(gp, components=2) for _ in range(2))
    model.fit(x, spectra, spectra + 1.0)
    again.recall(json.loads(json.dumps(model.state())), x, spectra, spectra + 1.0)
    for ours, theirs in zip(again.predict_spectra(x), model.predict_spectra(x), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_second_fit_starts_warm():
    x, spectra, _ = planted(40)
    model = SpectralSurrogate(gp, components=1)
    cold = model.fit(x, spectra, spectra + 1.0)
    warm = model.fit(x, spectra, spectra + 1.0)
    assert warm[0].iterations < cold[0].iterations


def test_data_that_are_no_spectra_are_refused():
    x, spectra, _ = planted(10)
    model = SpectralSurrogate(gp)
    with pytest.raises(ModelError):
        model.predict_spectra(x)
    for wrong in ((x[1:], spectra, spectra), (x, spectra[:, 0], spectra[:, 0]), (x, spectra * np.nan, spectra),
                  (x, spectra, -1.0 - spectra), (x[:2], spectra[:2], spectra[:2])):  # fmt: skip
        with pytest.raises(FitFailed):
            model.fit(*wrong)
    model.fit(x, spectra, spectra + 1.0)
    with pytest.raises(ModelError):
        model.predict_linear(x, np.ones(3))
