"""Training at order 1/n against brute force: the truncated hierarchy on all composite indices (pdlt.checks.hierarchy).

The witness knows no eigenbasis and no formula of what it compares with: only the tensors at initialisation are shared,
which have witnesses of their own. That it describes real networks is measured in derivations/17_end_of_training.py.
"""

from functools import cache

import numpy as np
import pytest

import pdlt
from pdlt.checks.hierarchy import Trained, trained_moments
from pdlt.learning.training import predict_training

X = np.array([[0.9, -0.4], [0.1, 1.3], [-1.1, 0.3]])
Y = np.array([[1.0, -0.3, 0.8], [-1.5, 0.6, 0.2], [0.4, 0.9, -0.5]])
NET = pdlt.MLP(3, (16, 32), "erf", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
CORRECTIONS = ("K_1", "Theta_1", *"ABDFPQRSTU")
PARTS = {
    "NTK mean": ("Theta_1",),
    "NTK fluctuations": ("A", "B"),
    "dNTK": ("P", "Q"),
    "ddNTK": ("R", "S", "T", "U"),
}
#: Training inputs (indices of X), outputs, times, learning rate of descent or None.
CASES = {
    "flow, one output": ((0, 1), 1, (0.0, 0.5, 2.0, np.inf), None),
    "flow, two outputs": ((0, 1), 2, (0.7, np.inf), None),
    "descent, two outputs": ((0, 1), 2, (1.0, 2.0, 7.0, np.inf), 0.2),
    "descent, three outputs": ((0, 1), 3, (3.0, np.inf), 0.2),
    "equal inputs, unequal labels": ((0, 1, 0), 2, (0.0, 0.5, 2.0), None),
}


@cache
def tensors() -> dict[str, np.ndarray]:
    # The same request as the package's own, so that nothing is compiled twice.
    prediction = pdlt.predict(NET, X, ["K", "Theta", *"ABDFPQRSTU"], order=1, rtol=1e-6).isel(layer=-1)
    return {name: prediction[name].values for name in ("K", "Theta", *CORRECTIONS)}


def witness(case: str, kept: tuple[str, ...] = CORRECTIONS) -> Trained:
    """The brute force, with some corrections only; the points of the results are all of X."""
    training, outputs, times, eta = CASES[case]
    given = {name: x * (name not in CORRECTIONS or name in kept) for name, x in tensors().items()}
    rule = ("flow", None) if eta is None else ("gd", eta)
    return trained_moments(given, training, Y[: len(training), :outputs], range(len(X)), times, *rule)


@cache
def predicted(case: str):
    training, outputs, times, eta = CASES[case]
    rule = {} if eta is None else {"rule": "gd", "learning_rate": eta}
    labels = Y[: len(training), :outputs]
    return predict_training(NET, X[list(training)], labels, X, times, order=1, kernels="tangent", **rule)


def close(found, expected) -> bool:
    """Equal to 1e-7 of the largest entry: the tensors are the same to rounding, the integration is good to 1e-10."""
    return np.abs(np.asarray(found) - expected).max() < 1e-7 * np.abs(expected).max()


@pytest.mark.parametrize("case", CASES)
def test_moments(case: str) -> None:
    found, expected = predicted(case), witness(case)
    for name in ("mean", "covariance", "mean_1", "covariance_1", "kernel_change_1"):
        assert close(found[name], getattr(expected, name)), name


@pytest.mark.parametrize("case", ["flow, one output", "descent, three outputs"])
def test_parts_of_the_mean(case: str) -> None:
    parts = predicted(case).mean_1_parts
    for name, kept in PARTS.items():
        assert close(parts.sel(part=name), witness(case, kept).mean_1), name
    assert close(parts.sum("part"), predicted(case).mean_1)


@pytest.mark.parametrize("left_out", CORRECTIONS)
def test_every_tensor_counts(left_out: str) -> None:
    """What the comparison could miss if a tensor did not matter: each one is seen in mean or covariance."""
    found = predicted("descent, two outputs")
    without = witness("descent, two outputs", tuple(name for name in CORRECTIONS if name != left_out))
    assert not (close(found.mean_1, without.mean_1) and close(found.covariance_1, without.covariance_1))


@pytest.mark.parametrize("case", ["flow, two outputs", "descent, three outputs"])
def test_second_moment_at_the_end(case: str) -> None:
    """All networks fit their labels, so the correction to E z_a z_j tends to y_a m_j on training times any points."""
    training, outputs, _, _ = CASES[case]
    end = predicted(case).isel(time=-1)
    mean, mean_1 = end["mean"].values, end.mean_1.values
    second = end.covariance_1.values + np.einsum("ai,bj->abij", mean, mean_1) + np.einsum("ai,bj->abij", mean_1, mean)
    limit = np.einsum("ai,bj->abij", Y[: len(training), :outputs], mean_1)
    assert close(second[list(training)], limit)
    # A cancellation: none of the terms is small.
    assert np.abs(end.covariance_1.values[2, 2]).max() > 0.1


def test_alignment_of_the_mean_kernel() -> None:
    """The derivative of y.H.y / (|y|^2 |H|) at the leading kernel along the witness's correction, on two outputs."""
    case = "flow, two outputs"
    training, outputs, times, _ = CASES[case]
    index = np.ix_(training, training)
    one, y = np.eye(outputs), Y[: len(training), :outputs].ravel()

    def composite(kernel: np.ndarray) -> np.ndarray:
        return kernel.transpose(0, 2, 1, 3).reshape(len(y), len(y))

    H = np.kron(tensors()["Theta"][index], one)
    value = y @ H @ y / (y @ y * np.linalg.norm(H))
    found, change = predicted(case), witness(case).kernel_change_1
    for k in range(len(times)):
        H_1 = np.kron(tensors()["Theta_1"][index], one) + composite(change[k][index])
        slope = y @ H_1 @ y / (y @ y * np.linalg.norm(H)) - value * np.sum(H * H_1) / np.linalg.norm(H) ** 2
        assert np.isclose(found.alignment.values[k], value, rtol=1e-9)
        assert np.isclose(found.alignment_1.values[k], slope, rtol=1e-6)
