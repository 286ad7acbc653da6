"""Order 1/n of training: sampled against full tensors, many inputs, hidden kernels against networks, arguments.

The numbers themselves have their witnesses in derivations/16 and 17 and in test_training_witness.py.
"""

from functools import cache

import numpy as np
import pytest

import pdlt
from pdlt.learning.corrections import averages, sampled

NET = pdlt.MLP(depth=3, width=(16, 32), activation="tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
X = np.array([[0.9, -0.4], [-0.3, 1.1], [0.6, 0.7]])
Y = np.array([[0.8, -0.5], [-1.0, 0.4]])
TIMES = [0.5, 2.0]


@cache
def exact():
    return pdlt.predict_training(NET, X[:2], Y, X, TIMES, order=1, kernels="tangent", method="exact")


@cache
def from_samples(**options):
    return pdlt.predict_training(
        NET, X[:2], Y, X, TIMES, order=1, kernels="tangent", method="sampled", samples=2**17, seed=3, **options
    )


NAMES = ("mean_1", "mean_1_parts", "covariance_1", "kernel_change_1", "alignment_1")


def scores(found, wanted):
    """All z-scores, of entries that have a sampling error."""
    z = []
    for name in NAMES:
        error = found[f"{name}_stderr"].values
        seen = error > 1e-9
        z.append(((found[name] - wanted[name]).values / np.where(seen, error, np.inf)).ravel())
    return np.concatenate(z)


def test_samples_agree_with_full_tensors():
    # Sixteen replicas: Student's t with 15 degrees of freedom, about 200 dependent scores; 5.5 has 1e-4 each way.
    z = scores(from_samples(), exact())
    assert np.abs(z).max() < 5.5
    assert 0.3 < np.sqrt((z**2).mean()) < 1.7
    for name in NAMES:
        # Errors are small enough to see a wrong term.
        assert from_samples()[f"{name}_stderr"].values.max() < 0.05 * np.abs(exact()[name].values).max(), name


def test_a_diagram_with_a_wrong_factor_is_seen(monkeypatch):
    wrong = tuple(
        averages.Contribution(2 * c.coefficient if c.diagram.slots[:2] == ("a", "a") else c.coefficient, *rest)
        for c in averages.mean()
        for rest in [(c.diagram, c.factors, c.part)]
    )
    monkeypatch.setattr(averages, "mean", lambda: wrong)
    found = pdlt.predict_training(
        NET, X[:2], Y, X, TIMES, order=1, method="sampled", samples=2**17, seed=3, covariance="none"
    )
    z = (found.mean_1 - exact().mean_1).values / found.mean_1_stderr.values
    assert np.abs(z).max() > 8


def test_sampled_kernels_between_labels(monkeypatch):
    # With many training inputs every neuron brings a sample of N(0, K) in place of K.
    monkeypatch.setattr(sampled, "_FEW", 1)
    found = pdlt.predict_training(
        NET, X[:2], Y, X, TIMES, order=1, method="sampled", samples=2**17, seed=4, covariance="none"
    )
    z = (found.mean_1 - exact().mean_1).values / found.mean_1_stderr.values
    assert np.abs(z).max() < 5


def test_more_modes_than_representatives():
    """Inputs of which few rates stand for all, against every mode for itself."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=8)
    options = {"order": 1, "samples": 2**6, "covariance": "none", "rule": "gd", "learning_rate": 0.02}
    wanted = pdlt.predict_training(NET, x, y, x[:3] + 0.1, [20], **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pdlt.learning.corrections.modes.FEW", 0)
        found = pdlt.predict_training(NET, x, y, x[:3] + 0.1, [20], **options)
    # The same samples; the interpolation's tolerance is 1e-4 of the largest decay.
    difference = np.abs(found.mean_1 - wanted.mean_1).max()
    assert 0 < difference < 2e-2 * found.mean_1_stderr.max()


def test_hidden_kernels_move_as_in_trained_networks():
    """Widths 24 and 48 without their n^-2 terms; six independent entries."""
    widths, runs = (24, 48), []
    for width in widths:
        net = pdlt.MLP(depth=3, width=width, activation="tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
        how = {"observables": ("hidden_kernel_change",), "samples": 2000, "seed": 11}
        runs.append(pdlt.simulate_training(net, X[:2], Y, X, [2.0], **how))
    found = pdlt.predict_training(
        net, X[:2], Y, X, [2.0], order=1, kernels="all", covariance="none", samples=2**15, seed=1
    )
    a, b = widths
    weights = np.array([-(a**2), b**2]) / (b - a)
    value = np.tensordot(weights, [run.hidden_kernel_change.values for run in runs], 1)
    error = np.sqrt(np.tensordot(weights**2, [run.hidden_kernel_change_stderr.values**2 for run in runs], 1))
    error = np.hypot(error, found.hidden_kernel_change_1_stderr.values)
    wanted = found.hidden_kernel_change_1.values
    assert found.hidden_kernel_change_1.dims == ("layer", "time", "point", "point_")
    assert np.abs((value - wanted) / error).max() < 4.5
    # The change is seen, and half of it would not do.
    assert np.abs(wanted / error).max() > 10


def test_the_order_that_is_chosen():
    def order(net=NET, **options):
        options = {"covariance": "none", "method": "sampled", "samples": 64, **options}
        return pdlt.predict_training(net, X[:2], Y, X, [1.0], **options).attrs["order"]

    relu = pdlt.MLP(depth=2, width=8, activation="relu", C_W=2.0)
    assert order() == 1
    assert [order(relu), order(ridge=0.1), order(unresolved="freeze"), order(order=0)] == [0, 0, 0, 0]


def test_variances_are_diagonals():
    options = {"order": 1, "method": "exact"}
    found = pdlt.predict_training(NET, X[:2], Y, X, TIMES, covariance="variance", **options)
    assert np.allclose(found.variance_1, np.einsum("tppii->tpi", exact().covariance_1.values), rtol=1e-12)


def test_totals_are_sums_at_the_width_asked_for():
    found = pdlt.total(exact())  # n is the width of the last hidden layer, 32
    assert np.allclose(found["mean"], exact()["mean"] + exact().mean_1 / 32, rtol=1e-14)
    assert np.allclose(pdlt.total(exact(), 7).kernel_change, exact().kernel_change_1 / 7, rtol=1e-14)
    assert set(found) == {"mean", "covariance", "kernel_change", "alignment"}


def test_one_layer_is_exactly_a_kernel_machine():
    net = pdlt.MLP(depth=1, width=1, activation="tanh", C_b=0.1, lambda_b=0.2)
    found = pdlt.predict_training(net, X[:2], Y, X, TIMES, order=1, kernels="tangent")
    for name in ("mean_1", "covariance_1", "kernel_change_1", "alignment_1"):
        assert np.all(found[name] == 0), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 2}, "`order` must be an integer from 0 to 1, but got 2"),
        ({"ridge": 0.1}, "`ridge` must be 0 for order 1, but got 0.1"),
        ({"kernels": "hidden"}, "`kernels` must be one of none, tangent, all, but got 'hidden'"),
        ({"method": "tensors"}, "`method` must be one of auto, exact, sampled, but got 'tensors'"),
        ({"method": "exact", "kernels": "all"}, "`method` must be auto or sampled"),
        ({"method": "sampled", "samples": 100}, "`samples` must be a power of two times"),
        ({"method": "sampled", "seed": -1}, "`seed` must be an integer"),
    ],
)
def test_arguments(options, message):
    with pytest.raises(pdlt.PdltError, match=message):
        pdlt.predict_training(NET, X[:2], Y, X, [1.0], **{"order": 1, **options})


def test_kinks_have_no_order_one():
    relu = pdlt.MLP(depth=2, width=8, activation="relu", C_W=2.0)
    with pytest.raises(pdlt.PdltError, match=r"`order` must be 0 .* relu, which has a kink.*n\^\(-1/2\)"):
        pdlt.predict_training(relu, X[:2], Y, X, [1.0], order=1)


def test_frozen_modes_have_no_order_one():
    net = pdlt.MLP(depth=2, width=8, activation="linear")
    x = np.array([[1.0], [2.0], [3.0]])
    with pytest.raises(pdlt.PdltError, match="`unresolved` must be error for order 1"):
        pdlt.predict_training(net, x, [1.0, 2.0, 3.0], x, [np.inf], order=1, unresolved="freeze")


def test_nearly_equal_inputs_are_refused_where_rounding_counts():
    net = pdlt.MLP(depth=2, width=32, activation="tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
    x, y, point = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]]), [1.0, -0.5, 1.0], [[-0.7, 0.3, 0.8]]

    def mean_1(distance, time):
        data = np.vstack([x, x[:1] + [[distance, 0, 0]]])
        return pdlt.predict_training(net, data, y, point, [time], order=1, covariance="none").mean_1.item()

    # The limit is that of two equal inputs: 0.2005 at the end, 0.1167 at t = 1, linear in the distance.
    assert mean_1(1e-2, np.inf) == pytest.approx(0.2005, abs=3e-3)
    assert mean_1(1e-5, 1.0) == pytest.approx(0.1167, abs=1e-4)
    with pytest.raises(pdlt.PdltError, match="at time inf order 1 is lost in rounding.*eigenvalues from 2.8e-11"):
        mean_1(1e-5, np.inf)
    assert mean_1(1e-2, 1e308) == pytest.approx(mean_1(1e-2, np.inf), rel=1e-6)


def test_narrow_networks_and_large_labels_are_warned_of():
    net = pdlt.MLP(depth=3, width=4, activation="tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
    with pytest.warns(pdlt.TruncationWarning, match="At width 4 order 1 changes a mean output by"):
        pdlt.predict_training(net, X[:2], 5 * Y, X, TIMES, order=1, covariance="none")
    with pytest.raises(pdlt.PdltError, match="`y_train` must have no labels beyond 1e.80 for order 1"):
        pdlt.predict_training(net, X[:2], 1e90 * Y, X, TIMES, order=1)
