"""What functions ask of their arguments, with messages that name the argument, its value and what is accepted."""

import math
import numbers
from typing import Any

import numpy as np

from pdlt.errors import PdltError


def is_real(value: Any) -> bool:
    """Return whether a value is a real number, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def integer(name: str, value: Any, low: int, high: int, why: str = "", hint: str = "") -> int:
    """Return an integer from `low` to `high`; `why` and `hint` end the two halves of the message.

    Raises:
        PdltError: if it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or not low <= int(value) <= high:
        if isinstance(value, float) and value.is_integer() and low <= value <= high:
            hint = f" Write {int(value)}."
        raise PdltError(f"Argument `{name}` must be an integer from {low} to {high}{why}, but got {value!r:.60}.{hint}")
    return int(value)


def count(name: str, value: Any) -> int:
    """Return a positive integer.

    Raises:
        PdltError: if it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise PdltError(f"Argument `{name}` must be a positive integer, but got {value!r:.60}.")
    return int(value)


def positive(name: str, value: Any) -> float:
    """Return a positive finite number.

    Raises:
        PdltError: if it is something else.
    """
    if not is_real(value) or not 0 < float(value) < math.inf:
        raise PdltError(f"Argument `{name}` must be a positive number, but got {value!r:.60}.")
    return float(value)


def real_array(name: str, value: Any, wanted: str) -> np.ndarray:
    """Return an array of numbers as it is given, of any shape and type of real numbers.

    Masks, imaginary parts, dates and digits in quotes would be dropped or converted in silence: they are refused.

    Args:
        name: of the argument.
        value: what was given.
        wanted: what is accepted, for the message.

    Raises:
        PdltError: if it is ragged or holds something else.
    """
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError):
        raise PdltError(f"Argument `{name}` must be {wanted}, but its rows differ in length.") from None
    if isinstance(value, np.ma.MaskedArray) or raw.dtype.kind not in "iuf":
        raise PdltError(f"Argument `{name}` must be {wanted}, but got {type(value).__name__} of type {raw.dtype}.")
    return raw


def require_finite(name: str, array: np.ndarray, wanted: str) -> None:
    """Raise PdltError if an entry is infinite or undefined; the message names the first one."""
    if not np.isfinite(array).all():
        place = tuple(np.argwhere(~np.isfinite(array))[0])
        where = ", ".join(map(str, place))
        raise PdltError(f"Argument `{name}` must be {wanted}, but {name}[{where}] is {array[place]}.")
