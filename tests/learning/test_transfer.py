"""One task, then another: what the first leaves in the tangent kernel, predicted and in really trained networks."""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

import pdlt
from pdlt.finite import FiniteNetwork, train
from pdlt.learning.training import predict_training
from pdlt.trained import simulate_training

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "transfer.py"

#: An odd activation without biases on orthogonal inputs: Theta is a multiple of the unit matrix, and the tasks "the
#: first label" and "the second label" are equal in everything at infinite width.
X, FIRST, LEARNED = np.eye(2), np.array([1.5, 0.0]), 25.0
WIDTHS = (16, 32)


def network(width):
    return pdlt.MLP(3, width, "erf", C_W=1.2, lambda_W=0.8)


def along_tasks(kernel):
    return np.diagonal(kernel[..., 0, 0])


@cache
def predicted():
    """Coefficients of 1/n of the change of the kernel along both tasks, and their standard errors."""
    found = predict_training(
        network(16),
        X,
        FIRST,
        X,
        [0, np.inf],
        order=1,
        kernels="tangent",
        covariance="none",
        method="sampled",
        samples=2**14,
    )
    np.testing.assert_allclose(found.kernel_change_1.values[0], 0, atol=1e-12)
    return along_tasks(found.kernel_change_1.values[1]), along_tasks(found.kernel_change_1_stderr.values[1])


@cache
def measured():
    """Change of the kernel of networks trained on the first task, and its standard error, (widths, tasks) each."""
    runs = [
        simulate_training(
            network(width), X, FIRST, X, [LEARNED], observables=["kernel_change"], samples=800, seed=3, progress=False
        )
        for width in WIDTHS
    ]
    names = ("kernel_change", "kernel_change_stderr")
    return [np.array([along_tasks(run[name].values[0]) for run in runs]) for name in names]


def test_infinitely_wide_networks_have_nothing_to_transfer():
    """The tangent kernel of the kernel machine, a linearised network, is what it was after any training."""
    Theta = pdlt.kernel(network(16), X, observables="Theta").Theta.values[0]
    np.testing.assert_allclose(Theta, Theta[0, 0] * np.eye(2), atol=1e-12)
    real = FiniteNetwork(network(16), 2, 1, seed=0)
    for model, moves in ((real.linearised(), False), (real, True)):
        kernels = train(model, X, FIRST, [0.0, LEARNED], tolerance=1e-6).ntk(X)
        assert (np.abs(kernels[1] - kernels[0]).max() > 1e-3) == moves


def test_change_of_the_kernel_along_tasks():
    """Two widths, combined so that the next order cancels, within 4 standard errors."""
    change, uncertain = predicted()
    (narrow, wide), (narrow_error, wide_error) = measured()
    n = WIDTHS[0]
    value = 2 * (2 * n) * wide - n * narrow
    error = np.sqrt((4 * n * wide_error) ** 2 + (n * narrow_error) ** 2 + uncertain**2)
    assert (np.abs(value - change) < 4 * error).all()
    # The effect is seen, and the tasks are told from each other.
    assert (np.abs(change) > 5 * error).all()
    assert (np.abs(value - change[::-1]) > 5 * error).all()


def test_second_task_after_the_first():
    """Networks trained on the first task, then on either one: how much faster they start than the same, untrained."""
    spec = importlib.util.spec_from_file_location("transfer_of_the_docs", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    problem = {"x": X, "first": FIRST, "residuals": tuple(np.eye(2)), "learned": LEARNED}
    _, (added, error) = script.starting_rates(network(16), 200, **problem)
    values, errors = measured()
    # Against the tangent kernel of other networks of this width, to all orders.
    combined = np.hypot(error, errors[0])
    assert (np.abs(added - values[0]) < 4 * combined).all() and (np.abs(values[0]) > 5 * combined).all()
    # The first task slows down what continues it (erf saturates), and speeds up what is new.
    change, _ = predicted()
    assert (np.sign(added) == np.sign(change)).all() and change[0] < 0 < change[1]
