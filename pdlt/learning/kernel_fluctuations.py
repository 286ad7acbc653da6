"""How the kernel of the last layer fluctuates from network to network, in the form in which inference contracts it."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.learning.data import require_memory
from pdlt.networks import MLP
from pdlt.predict import AccuracyWarning, predict

METHODS = ("auto", "exact", "sampled")

#: Up to so many inputs V takes seconds for any activation, and has all digits.
FEW = 4

#: Neurons drawn per hidden layer, by default.
SAMPLES = 2**14

#: Relative accuracy wanted of Gaussian expectations; the next order in 1/n is far larger.
_RTOL = 1e-8


@dataclass(frozen=True)
class Part:
    """A share of V: V_(12)(34) = sum over the parts of a layer and a replica of sum_r weights_r X_r,12 X_r,34.

    Attributes:
        layer, replica: what it belongs to.
        weights: shape (r,).
        X: symmetric matrices, shape (r, M, M).
    """

    layer: int
    replica: int
    weights: np.ndarray
    X: np.ndarray


@dataclass(frozen=True)
class KernelFluctuations:
    """Mean and covariance of the kernel Ghat on M inputs at order 1/n: E Ghat = K + K_1/n, cov(Ghat, Ghat) = V/n.

    Attributes:
        means: K_1 by layer, shape (M, M), with n = n_{layer-1}.
        replicas: independent estimates of V; a single one if it is exact.
        parts: yields all shares of V.
    """

    means: dict[int, np.ndarray]
    replicas: int
    parts: Callable[[], Iterator[Part]]


def kernel_fluctuations(
    net: MLP, x: np.ndarray, layers: Sequence[int], method: str, samples: int, seed: int
) -> KernelFluctuations:
    """Return the fluctuations of the kernel after some layers of a network, on inputs (M, n_0).

    Args:
        net: the network.
        x: inputs; rows may repeat.
        layers: numbers of layers, from 1.
        method: "exact" for the tensor V, "sampled" for single neurons drawn and propagated, which many inputs need, or
            "auto": sampled for more than four inputs and a smooth activation.
        samples, seed: of "sampled".

    Raises:
        PdltError: for a method of another name, a kinked activation that is to be sampled, and what does not fit into
            memory.
    """
    if method not in METHODS:
        raise PdltError(f"Argument `method` must be one of {', '.join(METHODS)}, but got {method!r}.")
    if method == "sampled" or (method == "auto" and len(x) > FEW and net.activation.is_smooth):
        return _sampled(net, x, layers, samples, seed)
    return _exact(net, x, layers)


def _exact(net: MLP, x: np.ndarray, layers: Sequence[int]) -> KernelFluctuations:
    require_memory(3 * net.depth * len(x) ** 4, f"Fluctuations of the kernel on {len(x)} inputs", "Use fewer inputs.")
    with warnings.catch_warnings():
        # Its own error is small against the next order in 1/n even where this accuracy is missed.
        warnings.simplefilter("ignore", AccuracyWarning)
        found = predict(net, x, ["K", "V"], order=1, rtol=_RTOL)
    means, tensors = found["K_1"].values, found["V"].values
    return KernelFluctuations(
        {layer: means[layer - 1] for layer in layers},
        1,
        lambda: (Part(layer, 0, *_factors(tensors[layer - 1])) for layer in layers),
    )


def _factors(V: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (R,) and symmetric matrices (R, M, M) with V_(12)(34) = sum_r w_r X_r,12 X_r,34."""
    m = len(V)
    rows, columns = np.triu_indices(m)
    pairs: Any = V[rows, columns][:, rows, columns]
    weights, vectors = np.linalg.eigh((pairs + pairs.T) / 2)
    # None is left out: nearly equal inputs amplify what is small.
    factors = np.zeros((len(weights), m, m))
    factors[:, rows, columns] = factors[:, columns, rows] = vectors.T
    return weights, factors


def _sampled(net: MLP, x: np.ndarray, layers: Sequence[int], samples: int, seed: int) -> KernelFluctuations:
    # What jits is loaded when needed.
    from pdlt.predict.fluctuations import fluctuations

    found = fluctuations(net, x, samples, seed)
    random = [layer for layer in layers if layer > 1]

    def parts() -> Iterator[Part]:
        for chunk in found.chunks([("", "")], random) if random else ():
            for layer in random:
                if layer > chunk.source:
                    X = np.asarray(chunk.values[layer, ("", "")])
                    # Chunks are weighted for the width before the last layer.
                    weight = chunk.weight * net.width[layer - 2] / net.width[-1]
                    yield Part(layer, chunk.replica, np.full(len(X), weight), X)

    return KernelFluctuations({layer: found.layers["K_1"][layer - 1] for layer in layers}, found.replicas, parts)
