"""The rules of training a linearised network: how far a mode of the tangent kernel has come after a time."""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.learning.arguments import real

RULES = ("flow", "gd")

#: Numbers of steps beyond this are not exact as floats.
_LARGEST = 2**53


@dataclass(frozen=True)
class Relaxation:
    """Gradient flow or full-batch gradient descent on 1/2 sum (z - y)^2, with a ridge towards the initial parameters.

    A mode of the tangent kernel with eigenvalue s relaxes at the rate q = s + ridge. With a(0) = 0,

        flow: a' = -q a + 1,                         a(t) = (1 - exp(-q t)) / q
        gd:   a(k+1) = a(k) + eta (1 - q a(k)),      a(k) = (1 - (1 - eta q)^k) / q

    and a(inf) = 1/q. The residual y - z of the mode is multiplied by 1 - s a (derived in docs/regression.md).

    Attributes:
        rule: "flow" or "gd".
        learning_rate: eta of gd, None for flow.
        ridge: the strength r of the penalty.
    """

    rule: str
    learning_rate: float | None
    ridge: float

    @classmethod
    def of(cls, rule: Any, learning_rate: Any, ridge: Any) -> "Relaxation":
        """Check the arguments of a rule.

        Raises:
            PdltError: if one is out of range, or a learning rate is missing or superfluous.
        """
        if rule not in RULES:
            raise PdltError(f"Argument `rule` must be flow or gd, but got {rule!r}.")
        if rule == "flow" and learning_rate is not None:
            raise PdltError(f"Argument `learning_rate` must be left out for rule flow, but got {learning_rate!r}.")
        if rule == "gd" and learning_rate is None:
            raise PdltError("Argument `learning_rate` must be given for rule gd, but got None.")
        rate = None if learning_rate is None else real("learning_rate", learning_rate, positive=True)
        return cls(rule, rate, real("ridge", ridge))

    def times(self, times: Any) -> np.ndarray:
        """Return times as an array of floats, shape (T,); for gd they count steps.

        Raises:
            PdltError: if one is negative or nan, or no integer for gd.
        """
        whole = self.rule == "gd"
        wanted = f"non-negative {'integers (numbers of steps)' if whole else 'numbers'} or inf"
        several = isinstance(times, list | tuple | range) or (isinstance(times, np.ndarray) and times.ndim > 0)
        # An array without dimensions is a number.
        given = list(times) if several else [times[()] if isinstance(times, np.ndarray) else times]
        if not given:
            raise PdltError(f"Argument `times` must be {wanted}, at least one, but got none.")
        for t in given:
            time = float(t) if isinstance(t, numbers.Real) and not isinstance(t, bool | np.bool_) else math.nan
            countable = time == math.inf or (time.is_integer() and time <= _LARGEST)
            if not time >= 0 or (whole and not countable):
                raise PdltError(f"Argument `times` must be {wanted}, but got {t!r}.")
        return np.array(given, dtype=np.float64)

    def bound(self, largest: float) -> float:
        """Return the learning rate from which gradient descent no longer converges: 2/(largest eigenvalue + ridge)."""
        rate = float(largest) + self.ridge
        return 2.0 / rate if rate > 0 else math.inf

    def require_stable(self, largest: float) -> None:
        """Refuse gradient descent that diverges.

        Raises:
            PdltError: if the learning rate is not below the bound.
        """
        bound = self.bound(largest)
        if self.learning_rate is not None and self.learning_rate >= bound:
            raise PdltError(
                f"Argument `learning_rate` must be below 2/(lambda_max + ridge) = {bound:.6g}, beyond which gradient "
                f"descent diverges, but got {self.learning_rate:g}."
            )

    def progress(self, values: np.ndarray, time: float) -> np.ndarray:
        """Return a of every eigenvalue (N,) at a time; it is infinite for eigenvalue and ridge 0 at time inf."""
        q = values + self.ridge
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            limit = 1.0 / q
            if time == math.inf:
                return limit
            if self.learning_rate is None:
                return np.where(q > 0, -np.expm1(-q * time) * limit, time)
            x = self.learning_rate * q
            # Small steps need log1p; beyond x = 1 the sign of what is left alternates.
            done = np.where(x < 1, -np.expm1(time * np.log1p(-np.minimum(x, 1.0))), 1 - (1 - x) ** time)
            return np.where(q > 0, done * limit, self.learning_rate * time)

    def overshoot(self, values: np.ndarray, time: float) -> np.ndarray:
        """Return |d(q a)/dq| of the modes that descent carries beyond their goal at every step, 0 for others, (N,).

        It is k eta |1 - eta q|^(k-1). For modes that approach their goal from one side a itself exceeds it; near the
        largest learning rate, eta q = 2, it grows with the number of steps and a does not.
        """
        if self.learning_rate is None or time in (0.0, math.inf):
            return np.zeros_like(values)
        x = self.learning_rate * (values + self.ridge)
        return np.where(x > 1, time * self.learning_rate * np.abs(1 - np.maximum(x, 1.0)) ** (time - 1), 0.0)

    def learning_times(self, values: np.ndarray) -> np.ndarray:
        """Return the time, or number of steps, after which what a mode has yet to learn has fallen by a factor e."""
        q = values + self.ridge
        with np.errstate(divide="ignore", over="ignore"):
            if self.learning_rate is None:
                return 1.0 / q
            x = self.learning_rate * q
            return np.abs(1.0 / np.where(x < 1, np.log1p(-np.minimum(x, 1.0)), np.log(np.abs(1 - x))))
