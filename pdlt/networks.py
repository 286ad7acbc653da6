"""What is studied: a network as data that validates itself."""

import hashlib
import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt._arguments import count, is_real, real_array, require_finite
from pdlt.activations import Activation, activation
from pdlt.errors import PdltError

#: Depths and widths beyond this are typing errors; their lists of layers would fill the memory.
LARGEST = 10**9


@dataclass(frozen=True, init=False)
class MLP:
    """A multilayer perceptron with Gaussian initialisation and the tensorial learning rate.

    z^(1) = b^(1) + W^(1) x and z^(l+1) = b^(l+1) + W^(l+1) sigma(z^(l)), with E[b b] = C_b,
    E[W W] = C_W / n_{l-1}, and learning rates lambda_b for biases, lambda_W / n_{l-1} for weights
    (PDLT, arXiv:2106.10165, chapters 2 and 8).

    Args:
        depth: number L of weight layers; the preactivations are z^(1) ... z^(L).
        width: hidden width n_1 = ... = n_{L-1}, or a sequence of the L - 1 hidden widths.
        activation: a name, a string in the expression grammar, a sympy expression or an `Activation`.
        C_b, C_W: variances at initialisation, one number or one per layer.
        lambda_b, lambda_W: learning-rate scales, one number or one per layer.

    Attributes:
        width: tuple of the L - 1 hidden widths.
        C_b, C_W, lambda_b, lambda_W: tuples of L floats, layer 1 first.

    Raises:
        PdltError: if an argument is out of range; the message names it.
    """

    depth: int
    width: tuple[int, ...]
    activation: Activation
    C_b: tuple[float, ...]
    C_W: tuple[float, ...]
    lambda_b: tuple[float, ...]
    lambda_W: tuple[float, ...]

    def __init__(
        self,
        depth: int,
        width: int | Sequence[int],
        activation: Any,
        C_b: float | Sequence[float] = 0.0,
        C_W: float | Sequence[float] = 1.0,
        lambda_b: float | Sequence[float] = 0.0,
        lambda_W: float | Sequence[float] = 1.0,
    ) -> None:
        depth = _positive_int("depth", depth)
        fields = {
            "depth": depth,
            "width": _widths(width, depth),
            "activation": _activation(activation),
            "C_b": _per_layer("C_b", C_b, depth),
            "C_W": _per_layer("C_W", C_W, depth),
            "lambda_b": _per_layer("lambda_b", lambda_b, depth),
            "lambda_W": _per_layer("lambda_W", lambda_W, depth),
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def critical(
        cls,
        activation: Any,
        depth: int,
        width: int | Sequence[int],
        lambda_b: float | Sequence[float] = 0.0,
        lambda_W: float | Sequence[float] = 1.0,
    ) -> "MLP":
        """Return the network with the critical C_b and C_W of its activation, see `pdlt.criticality`.

        Args:
            activation, depth, width, lambda_b, lambda_W: as in `MLP`.

        Raises:
            PdltError: if an argument is out of range, or the activation has no critical initialisation (the message
                says why).
        """
        # A door that opens when called: predict is downstream of networks.
        from pdlt.predict.criticality import criticality

        # Everything else is checked first: the search for a critical point takes seconds.
        net = cls(depth, width, activation, lambda_b=lambda_b, lambda_W=lambda_W)
        C_b, C_W = criticality(net.activation).require()
        return cls(depth, width, net.activation, C_b, C_W, lambda_b, lambda_W)

    def fan_in(self, layer: int, n_0: int) -> int:
        """Return n_{layer-1}, the number of inputs of weight layer `layer` (1 ... depth)."""
        return n_0 if layer == 1 else self.width[layer - 2]

    def describe(self) -> dict[str, Any]:
        """Return the network as plain data: what results carry as their provenance."""
        return {
            "kind": "MLP",
            "depth": self.depth,
            "width": list(self.width),
            "activation": self.activation.to_text(),
            **{name: list(getattr(self, name)) for name in ("C_b", "C_W", "lambda_b", "lambda_W")},
        }

    def __repr__(self) -> str:
        def short(values: tuple[Any, ...]) -> str:
            return repr(values[0]) if len(set(values)) == 1 else repr(values)

        scales = ", ".join(f"{name}={short(getattr(self, name))}" for name in ("C_b", "C_W", "lambda_b", "lambda_W"))
        return f"MLP(depth={self.depth}, width={short(self.width)}, activation={self.activation.name!r}, {scales})"


def check_network(net: Any) -> MLP:
    """Return the network.

    Raises:
        PdltError: if it is none.
    """
    if not isinstance(net, MLP):
        raise PdltError(f"Argument `net` must be a pdlt.MLP, but got {type(net).__name__}.")
    return net


def check_inputs(x: Any, name: str = "x") -> np.ndarray:
    """Return the inputs as a float64 array of shape (N, n_0); `name` is what messages call them.

    Raises:
        PdltError: if they are ragged, not two-dimensional, empty, not numeric or not finite.
    """
    wanted = "a two-dimensional array of finite numbers, one row per input"
    array = real_array(name, x, wanted).astype(np.float64)
    if array.ndim != 2 or array.size == 0:
        raise PdltError(f"Argument `{name}` must be {wanted}, but got an array of shape {array.shape}.")
    require_finite(name, array, wanted)
    return array


def sha256(x: np.ndarray) -> str:
    """Return the hash by which results know their inputs."""
    return hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()


def _activation(spec: Any) -> Activation:
    return activation(spec)


def _positive_int(name: str, value: Any) -> int:
    if count(name, value) > LARGEST:
        raise PdltError(f"Argument `{name}` must be at most {LARGEST}, but got {str(value)[:60]}.")
    return int(value)


def _widths(width: Any, depth: int) -> tuple[int, ...]:
    if isinstance(width, numbers.Number):
        return (_positive_int("width", width),) * (depth - 1)
    try:
        widths = tuple(width)
    except TypeError:
        raise PdltError(
            f"Argument `width` must be a positive integer or a sequence of them, but got {width!r}."
        ) from None
    if len(widths) != depth - 1:
        raise PdltError(
            f"Argument `width` must be one integer or {depth - 1} of them (the hidden layers of depth {depth}), "
            f"but got {len(widths)}."
        )
    return tuple(_positive_int("width", n) for n in widths)


def _per_layer(name: str, value: Any, depth: int) -> tuple[float, ...]:
    wanted = f"a non-negative number or {depth} of them, one per layer"
    if is_real(value):
        value = (value,) * depth
    if not isinstance(value, list | tuple | np.ndarray) or not all(map(is_real, value)):
        raise PdltError(f"Argument `{name}` must be {wanted}, but got {str(value)[:60]}.")
    try:
        values = tuple(float(v) for v in value)
    except OverflowError:
        raise PdltError(f"Argument `{name}` must be {wanted}, but got a number beyond the range of floats.") from None
    if len(values) != depth:
        raise PdltError(f"Argument `{name}` must be {wanted}, but got {len(values)} numbers.")
    for v in values:
        if not math.isfinite(v) or v < 0:
            raise PdltError(f"Argument `{name}` must be {wanted}, but got {v}.")
    return values
