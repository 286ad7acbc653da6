"""What the functions of eigenmodes and labels ask of their arguments."""

import numbers
from typing import Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.networks import MLP

#: The kernels that have modes.
KERNELS = ("Theta", "K")


def network(net: Any) -> MLP:
    """Return the network.

    Raises:
        PdltError: if it is none.
    """
    if not isinstance(net, MLP):
        raise PdltError(f"Argument `net` must be a pdlt.MLP, but got {type(net).__name__}.")
    return net


def kernel_name(observable: Any) -> str:
    """Return the name of a kernel.

    Raises:
        PdltError: if it is neither Theta nor K.
    """
    if observable not in KERNELS:
        raise PdltError(f"Argument `observable` must be Theta or K, but got {observable!r}.")
    return str(observable)


def integer(name: str, value: Any, smallest: int, largest: int) -> int:
    """Return an integer between two others.

    Raises:
        PdltError: if it is none.
    """
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not smallest <= int(value) <= largest:
        raise PdltError(f"Argument `{name}` must be an integer from {smallest} to {largest}, but got {value!r}.")
    return int(value)


def real(name: str, value: Any, positive: bool = False) -> float:
    """Return a finite number that is not negative, or positive.

    Raises:
        PdltError: if it is none.
    """
    fine = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_) and np.isfinite(float(value))
    if not fine or value < 0 or (positive and value == 0):
        wanted = "positive" if positive else "not negative"
        raise PdltError(f"Argument `{name}` must be a finite number, {wanted}, but got {value!r}.")
    return float(value)
