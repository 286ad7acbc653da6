"""Fisher metrics of a network with Gaussian output noise, and the tangent kernel that the natural gradient sees."""

from typing import Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.finite.natural import CUTOFF, KullbackLeibler
from pdlt.finite.network import Model, check_model
from pdlt.finite.training import check_labels

#: A metric of more parameters than this takes more than 3 GB.
MOST_PARAMETERS = 20_000


def fisher(model: Model, x: Any, *, noise: Any = 1.0, parameters: Any = None) -> np.ndarray:
    """Return the Fisher metric of p(y | x) = N(z(x), noise), in the standardised parameters xi.

    F = (1/N) sum over inputs of (dz/dxi)^T noise^-1 (dz/dxi). It is a mean over the inputs, and does not depend on
    labels.

    Args:
        model: a `FiniteNetwork` or its linearisation.
        x: the N inputs, shape (N, n_0).
        noise: sigma^2, or a covariance matrix of shape (n_L, n_L).
        parameters: shape (P,); default `model.start`.

    Returns:
        Shape (P, P); of rank N n_L at most.

    Raises:
        PdltError: for bad arguments, or more than `MOST_PARAMETERS` parameters.
    """
    _check_size(model)
    J = model.jacobian(x, parameters)
    rows = np.einsum("ij,ajp->aip", _whitening(model, noise), J).reshape(-1, J.shape[2])
    return rows.T @ rows / len(J)


def empirical_fisher(model: Model, x: Any, y: Any, *, noise: Any = 1.0, parameters: Any = None) -> np.ndarray:
    """Return the mean of g g^T over the training points, g = grad log p(y_alpha | x_alpha), of rank N at most.

    It is the Fisher metric only if the labels are drawn from the model itself, z + noise, and averaged over.

    Args:
        model, x, noise, parameters: as in `fisher`.
        y: labels, shape (N, n_L); a vector of length N for one output.

    Returns:
        Shape (P, P).

    Raises:
        PdltError: as `fisher`.
    """
    _check_size(model)
    J, outputs = model.jacobian(x, parameters), model(x, parameters)
    S = _whitening(model, noise)
    gradients = np.einsum("ai,aip->ap", (check_labels(y, *outputs.shape) - outputs) @ S @ S, J)
    return gradients.T @ gradients / len(J)


def natural_kernel(model: Model, x: Any, x2: Any = None, *, noise: Any = 1.0, parameters: Any = None) -> np.ndarray:
    """Return the natural tangent kernel J_2 F^+ J^T, by which outputs on x_2 move: z_2' = -(kernel) (z - y).

    On the training set itself, where J has full row rank, it is N times the noise: N sigma^2 times the identity,
    whatever the network. The P x P metric is not formed.

    Args:
        model, noise, parameters: as in `fisher`.
        x: the N training inputs, which make the metric.
        x2: inputs of shape (N_2, n_0) whose outputs are followed; default `x`.

    Returns:
        Shape (N_2, N, n_L, n_L): output i1 of x2 moved by residual i2 of x at [2, 1, i1, i2].

    Raises:
        PdltError: for bad arguments.
    """
    check_model(model)
    J = model.jacobian(x, parameters)
    points, outputs, size = J.shape
    J_2 = J if x2 is None else model.jacobian(model.check_x(x2, "x2"), parameters)
    S = _whitening(model, noise)
    rows = np.einsum("ij,ajp->aip", S, J).reshape(-1, size)
    moves = (J_2.reshape(-1, size) @ np.linalg.pinv(rows, rcond=CUTOFF)).reshape(len(J_2), outputs, points, outputs)
    return points * np.einsum("aibk,kj->abij", moves, np.linalg.inv(S))


def _whitening(model: Model, noise: Any) -> np.ndarray:
    try:
        return KullbackLeibler(noise).whitening(model.shape[1])
    except PdltError as error:
        raise PdltError(str(error).replace("`covariance`", "`noise`")) from None


def _check_size(model: Model) -> None:
    check_model(model)
    if model.start.size > MOST_PARAMETERS:
        raise PdltError(
            f"Argument `model` must have at most {MOST_PARAMETERS} parameters for its metric to be written out, "
            f"but has {model.start.size}; natural_kernel and train do not need the metric."
        )
