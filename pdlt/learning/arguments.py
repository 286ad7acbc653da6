"""What the functions of eigenmodes and labels ask of their arguments."""

from typing import Any

import numpy as np

from pdlt._arguments import is_real
from pdlt.errors import PdltError

#: The kernels that have modes.
KERNELS = ("Theta", "K")


def kernel_name(observable: Any) -> str:
    """Return the name of a kernel.

    Raises:
        PdltError: if it is neither Theta nor K.
    """
    if observable not in KERNELS:
        raise PdltError(f"Argument `observable` must be Theta or K, but got {observable!r}.")
    return str(observable)


def real(name: str, value: Any, positive: bool = False) -> float:
    """Return a finite number that is not negative, or positive.

    Raises:
        PdltError: if it is none.
    """
    fine = is_real(value) and np.isfinite(float(value))
    if not fine or value < 0 or (positive and value == 0):
        wanted = "positive" if positive else "not negative"
        raise PdltError(f"Argument `{name}` must be a finite number, {wanted}, but got {value!r}.")
    return float(value)
