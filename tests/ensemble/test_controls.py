"""Control variates: their means are 0 whatever was fitted, and they take most of the noise of K, Theta, V and D."""

import dataclasses
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdlt.ensemble import controls, path, simulate, tasks
from pdlt.networks import MLP

SCALES = {"C_b": 0.3, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
X = np.array([[0.6, -1.1, 0.8]])
GRAM = float((X @ X.T).item()) / 3


@pytest.mark.parametrize("n_inputs, features", [(1, 4), (2, 14), (3, 9), (4, 14)])
def test_features_are_orthonormal(judge, n_inputs, features):
    width, samples = 3, 50_000
    eps = jax.random.normal(jax.random.key(1), (samples, n_inputs, width), dtype="float32")
    phi = np.asarray(controls.features(eps))
    assert phi.shape == (features, samples) and controls.count(n_inputs) == features
    products = phi[:, None] * phi[None]
    error = products.std(axis=-1) / np.sqrt(samples)
    assert np.abs((products.mean(axis=-1) - np.eye(features)) / error).max() < judge.threshold
    assert np.abs(phi.mean(axis=1)).max() * np.sqrt(samples) < judge.threshold


def test_the_correction_is_its_definition():
    """mu_X L_Y + mu_Y L_X + L_X L_Y - c_X . c_Y, averaged over samples; with three components L L mu in three ways."""
    rng = np.random.default_rng(0)
    mean, slope, phi = rng.normal(size=(1, 1, 1)), rng.normal(size=(1, 1, 1, 5)), rng.normal(size=(5, 7))
    fitted = controls.Controls({"X": mean, "Y": 2 * mean}, {"X": slope, "Y": slope[..., ::-1]})
    m, c, d = float(mean.squeeze()), slope.ravel(), slope.ravel()[::-1]
    L, M = c @ phi, d @ phi
    with jax.enable_x64(True):
        two = fitted.correction(("X", "Y"), jnp.asarray(phi))
        three = fitted.correction(("X", "X", "X"), jnp.asarray(phi))
    np.testing.assert_allclose(two, np.reshape(np.mean(m * M + 2 * m * L + L * M) - c @ d, (1,) * 5), rtol=1e-12)
    expected = np.mean(3 * m * m * L + 3 * m * L * L) - 3 * m * c @ c
    np.testing.assert_allclose(three, np.reshape(expected, (1,) * 7), rtol=1e-12)
    assert fitted.correction(("X", "Z"), phi) == 0.0


def wrong(monkeypatch, change):
    fit = controls.fit
    monkeypatch.setattr(tasks, "_cache", OrderedDict())  # nothing compiled before is to be used again
    monkeypatch.setattr(path, "fit", lambda *arguments: change(fit(*arguments)))


def exact(widths, C_W):
    """K and n Var G of a deep linear network without biases: a product of chi-squares."""
    kernel = C_W * GRAM * C_W ** len(widths)
    return kernel, widths[-1] * kernel**2 * (np.prod([1 + 2 / n for n in widths]) - 1)


@pytest.mark.parametrize("fitted", ["well", "badly"])
def test_unbiased_whatever_was_fitted(judge, monkeypatch, fitted):
    if fitted == "badly":
        wrong(
            monkeypatch,
            lambda c: dataclasses.replace(
                c,
                mean={kind: 3 * value for kind, value in c.mean.items()},
                slope={kind: value[..., ::-1] + 0.1 for kind, value in c.slope.items()},
            ),
        )
    widths = (16, 24)
    run = simulate(MLP(3, widths, "linear", C_W=1.3), X, ["K", "V"], 20_000, "path", layers=[3])
    kernel, vertex = exact(widths, 1.3)
    scores = judge.against(run, {"K": np.reshape(kernel, (1, 1, 1)), "V": np.reshape(vertex, (1,) * 5)})
    assert max(scores.values()) < judge.threshold, scores


def test_a_wrong_norm_is_caught(judge, monkeypatch):
    """Features whose squares do not average to 1 bias V."""
    monkeypatch.setattr(tasks, "_cache", OrderedDict())
    monkeypatch.setattr(path, "features", lambda eps: 1.2 * controls.features(eps))
    widths = (16, 24)
    run = simulate(MLP(3, widths, "linear", C_W=1.3), X, ["V"], 20_000, "path", layers=[3])
    scores = judge.against(run, {"V": np.reshape(exact(widths, 1.3)[1], (1,) * 5)})
    assert scores["V"] > judge.threshold


def test_they_take_most_of_the_noise(monkeypatch):
    net = MLP(4, 100, "tanh", **SCALES)
    names = ["K", "Theta", "V", "D"]
    run = simulate(net, X, names, 5_000, "path", layers=[4])
    wrong(monkeypatch, lambda c: controls.Controls({}, {}))
    without = simulate(net, X, names, 5_000, "path", layers=[4])
    gain = {name: float((without[f"{name}_stderr"] / run[f"{name}_stderr"]).squeeze()) ** 2 for name in names}
    assert gain["K"] > 5 and gain["Theta"] > 2 and gain["V"] > 3 and gain["D"] > 1.5, gain


def test_none_where_they_would_not_pay():
    """Narrow layers or many of them (heavy tails), many inputs, a long pilot."""
    assert controls.worthwhile((16, 64), 1) and controls.worthwhile((512,) * 31, 1)
    assert not controls.worthwhile((15, 64), 1)
    assert not controls.worthwhile((16,) * 5, 1)
    assert not controls.worthwhile((64,), 5)
    assert not controls.worthwhile((10_000,) * 200, 1)
    assert not controls.worthwhile((100_000,) * 4, 1)


@pytest.mark.parametrize(("depth", "width", "activation"), [(3, 2, "tanh"), (3, 16, "tanh"), (6, 16, "sin")])
def test_errors_are_honest_in_narrow_networks(depth, width, activation):
    """The scatter of V over seeds is its standard error; 20 seeds know it to a sixth, a heavy tail would double it."""
    net = MLP(depth, width, activation, **{**SCALES, "C_b": 0.3} if depth > 3 else SCALES)
    runs = [simulate(net, X, ["V"], 2_000, "path", layers=[depth], seed=seed) for seed in range(25, 45)]
    values, errors = (np.array([run[name].item() for run in runs]) for name in ("V", "V_stderr"))
    assert 0.5 < values.std(ddof=1) / np.median(errors) < 1.6
