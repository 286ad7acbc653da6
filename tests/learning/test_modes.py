"""Eigenmodes on a dataset: against plain linear algebra, closed forms and the training they describe."""

from functools import partial

import matplotlib.image
import numpy as np
import pytest

import pdlt
from pdlt.learning.continuum import population_modes
from pdlt.learning.modes import eigenfunctions, modes
from pdlt.learning.training import predict_training as predict_to_an_order
from pdlt.report.modes_figure import draw, draw_population

#: The kernel machine.
predict_training = partial(predict_to_an_order, order=0)

NET = pdlt.MLP(depth=3, width=8, activation="relu", C_b=0.2, C_W=1.7, lambda_b=0.4, lambda_W=0.9)
FREE = pdlt.MLP(depth=3, width=8, activation="relu", C_W=2.0)
X = np.array([[-1.6], [-0.8], [0.1], [0.7], [1.5]])
Y = np.array([-0.5, 0.8, -0.2, 0.9, -0.7])


@pytest.mark.parametrize("observable", ["K", "Theta"])
def test_against_linear_algebra(observable):
    labels = np.stack([Y, Y**2 - 0.3], axis=1)
    found = modes(NET, X, labels, observable, ridge=0.3)
    gram = pdlt.predict(NET, X, [observable], order=0)[observable].values[-1]
    values, vectors = np.linalg.eigh(gram)
    values, vectors = values[::-1], vectors[:, ::-1]
    np.testing.assert_allclose(found.eigenvalue, values, rtol=1e-11)
    np.testing.assert_allclose(found.per_sample, values / 5, rtol=1e-11)
    np.testing.assert_allclose(found.time, 1 / values, rtol=1e-11)
    ours = found["vector"].values
    np.testing.assert_allclose(np.abs(np.diag(ours.T @ vectors)), 1, atol=1e-12)
    assert (ours[np.abs(ours).argmax(axis=0), range(5)] > 0).all()
    power = ((vectors.T @ labels) ** 2).sum(axis=1) / (labels**2).sum()
    np.testing.assert_allclose(found.label_power, power, atol=1e-12)
    np.testing.assert_allclose(found.cumulative_power, np.cumsum(power), atol=1e-12)
    assert found.attrs["effective_dimension"] == pytest.approx(np.trace(gram @ np.linalg.inv(gram + 0.3 * np.eye(5))))
    assert found.attrs["participation_ratio"] == pytest.approx(np.trace(gram) ** 2 / np.trace(gram @ gram))
    assert found.attrs["condition"] == pytest.approx(np.linalg.cond(gram), rel=1e-9)
    # Modes of the other kernel are others.
    other = modes(NET, X, labels, {"K": "Theta", "Theta": "K"}[observable])
    assert np.abs(other.label_power - power).max() > 1e-3


def test_modes_are_learned_at_their_rates():
    found = modes(NET, X, Y)
    time = 0.7
    mean = predict_training(NET, X, Y, X, [time], covariance="none")["mean"].values[0]
    left = found["vector"].values.T @ (mean - Y[:, None])
    rates = -np.log(-left / found.projection.values)[:, 0] / time
    np.testing.assert_allclose(rates, found.eigenvalue, rtol=1e-6)


def test_orthogonal_inputs_of_a_linear_network():
    net = pdlt.MLP(depth=1, width=[], activation="linear", C_W=2.0, lambda_W=0.5)
    found = modes(net, 3 * np.eye(4), [1.0, 0, 0, 0], ridge=1.0)
    np.testing.assert_allclose(found.eigenvalue, 4 * [0.5 * 9 / 4])
    assert found.attrs["participation_ratio"] == pytest.approx(4)
    assert found.attrs["effective_dimension"] == pytest.approx(4 * 1.125 / 2.125)
    assert "x" not in found


def test_what_is_never_learned():
    """Without biases a function on each half line is a multiple of |x|, and equal inputs have equal outputs."""
    found = modes(FREE, X, Y)
    assert found.attrs["rank"] == 2 and np.isinf(found.attrs["condition"])
    assert found.resolved.values.tolist() == 2 * [True] + 3 * [False]
    assert np.isinf(found.time.values[2:]).all()
    basis = np.maximum(np.concatenate([X, -X], axis=1), 0)
    fitted = basis @ np.linalg.lstsq(basis, Y, rcond=None)[0]
    assert found.attrs["unresolved_power"] == pytest.approx(((Y - fitted) ** 2).sum() / (Y**2).sum(), rel=1e-12)
    twins = modes(NET, [[0.3, 1.0], [0.3, 1.0], [1.0, 0.0]], [1.0, -1.0, 0.0])
    assert twins.attrs["rank"] == 2 and twins.attrs["unresolved_power"] == pytest.approx(1)
    assert twins.attrs["effective_dimension"] == 2


def test_labels_that_are_zero():
    found = modes(NET, X, np.zeros(5))
    assert (found.label_power == 0).all() and found.attrs["unresolved_power"] == 0


def test_eigenfunctions_continue_the_vectors():
    vectors = modes(NET, X)["vector"].values
    np.testing.assert_allclose(eigenfunctions(NET, X, X, 5), np.sqrt(5) * vectors, atol=1e-10)
    # Mercer: sum_k eigenvalue_k/N phi_k(x) phi_k(x_i) is the kernel itself for x_i in the data.
    at = np.array([[-3.0], [0.4], [2.5]])
    phi = eigenfunctions(NET, X, at, 5)
    kernel = pdlt.predict(NET, np.concatenate([X, at]), ["Theta"], order=0).Theta.values[-1]
    rebuilt = (phi * modes(NET, X).per_sample.values) @ (np.sqrt(5) * vectors).T
    np.testing.assert_allclose(rebuilt, kernel[5:, :5], rtol=1e-10)
    assert eigenfunctions(FREE, X, at, 5).shape == (3, 2)


def test_figures(tmp_path):
    at = np.linspace(-2, 2, 8)[:, None]
    draw(modes(NET, X, Y), tmp_path / "labels.png", (at[:, 0], eigenfunctions(NET, X, at, 3)))
    draw(modes(FREE, X), tmp_path / "free.svg")
    draw_population(population_modes(FREE, "cube", 3), tmp_path / "cube.pdf")
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("labels.png", "free.svg", "cube.pdf"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, X), "`net` must be a pdlt.MLP"),
        ((NET, [[np.nan]]), r"x\[0, 0\] is nan"),
        ((NET, X, [1.0, 2.0]), "`y` must be an array"),
        ((NET, X, [1, 2, 3, 4, np.nan]), r"y\[4\] is nan"),
        ((NET, X, 1e308 * Y), r"`y` must be .* none beyond 1e\+150 \(squares overflow\)"),
        ((NET, X, Y, "V"), "`observable` must be Theta or K"),
        ((NET, X, Y, "K", -1.0), "`ridge` must be a finite number, not negative"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(pdlt.PdltError, match=message):
        modes(*arguments)


def test_bad_arguments_of_eigenfunctions():
    with pytest.raises(pdlt.PdltError, match="`count` must be an integer from 1 to 5"):
        eigenfunctions(NET, X, X, 6)
    with pytest.raises(pdlt.PdltError, match="`at` must have the 1 columns"):
        eigenfunctions(NET, X, np.ones((2, 2)))


@pytest.mark.parametrize("size", [1e150, 1e-250])
def test_power_of_labels_of_any_size(size):
    np.testing.assert_allclose(modes(NET, X, size * Y).label_power, modes(NET, X, Y).label_power, rtol=1e-9)


def test_figures_of_very_little(tmp_path):
    """One input, and a kernel that is zero: no panel, legend or axis for what is not there (warnings are errors)."""
    draw(modes(NET, [[0.7]], [1.0]), tmp_path / "one.png")
    draw(modes(FREE, [[0.0]], [1.0]), tmp_path / "zero.png")
    draw_population(population_modes(pdlt.MLP(2, 8, "relu", C_W=0.0), "circle", degrees=3), tmp_path / "nothing.png")
    # Panels are 3.6 inches wide, at 150 pixels each; eigenfunctions have none where the kernel is zero.
    panels = {path.stem: matplotlib.image.imread(path).shape[1] / 540 for path in tmp_path.iterdir()}
    assert panels == pytest.approx({"one": 3, "zero": 2, "nothing": 2}, abs=0.02)
