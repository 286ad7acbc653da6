"""Search for critical points of the kernel recursion: fixed points K* with chi_parallel = chi_perp = 1.

Both susceptibilities are one iff <sigma sigma''>_{K*} = 0, C_W = 1/<sigma'^2>_{K*} and C_b = K* - C_W <sigma^2>_{K*};
C_b is a variance, so it must not be negative.
"""

from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np

from pdlt.activations import Activation
from pdlt.errors import PdltError
from pdlt.predict import expansion
from pdlt.predict.one_input import OneInput, scan

#: Where K* is looked for, and how densely.
LOWEST, HIGHEST, PER_DECADE = 1e-6, 1e6, 25


@dataclass(frozen=True)
class CriticalPoint:
    """A solution K* of <sigma sigma''>_{K*} = 0 with <sigma'^2>_{K*} > 0, usable or not.

    Attributes:
        K_star, C_b, C_W: mpmath numbers; C_b may be negative, then there is no such network.
        chi_parallel, chi_perp: susceptibilities at K*, chi_parallel from d<sigma^2>/dK.
        series: the recursion around K*.
        stable: whether the kernel comes to rest at K*, at least from one side.
        remark: one sentence.
    """

    K_star: Any
    C_b: Any
    C_W: Any
    chi_parallel: Any
    chi_perp: Any
    series: expansion.Series
    stable: bool
    remark: str

    @property
    def usable(self) -> bool:
        """Whether a network can be initialised there, and stays there."""
        return self.stable and bool(self.C_b >= 0)


def at_zero(activation: Activation) -> CriticalPoint | None:
    """Return the critical point at K* = 0 of a smooth activation: it exists iff sigma(0) = 0 and sigma'(0) != 0."""
    (value, _), (slope, _) = expansion.taylor(activation, 0), expansion.taylor(activation, 1)
    if value or not slope:
        return None
    series = expansion.at_zero(activation)
    m = series.leading
    with mpmath.workdps(60):
        C_W = 1 / slope**2
    if m is None:
        remark, stable = "K' - K vanishes to the orders examined, so that stability is undecided", False
    else:
        stable = bool(series.a[m - 1] < 0)
        power = f"K' = K + a_{m} K^{m + 1} + ... with a_{m} = {mpmath.nstr(series.a[m - 1], 6)}"
        remark = f"{power}: " + ("kernels shrink to zero as a power of depth" if stable else "K* = 0 is unstable")
    one = mpmath.mpf(1)
    return CriticalPoint(mpmath.mpf(0), mpmath.mpf(0), C_W, one, one, series, stable, remark)


def positive(activation: Activation, digits: int) -> tuple[list[CriticalPoint], str]:
    """Return all critical points with K* > 0 that were found, in ascending order, and what was seen on the way.

    <sigma sigma''>_K is scanned in double precision for changes of sign, each of which is refined in `digits` digits.

    Returns:
        The points, and a clause such as "<sigma sigma''>_K is negative for all K from 1e-06 to 1e+06".
    """
    kernels = np.geomspace(LOWEST, HIGHEST, round(PER_DECADE * np.log10(HIGHEST / LOWEST)) + 1)
    values, errors = scan(activation, kernels)
    resolved = np.flatnonzero(np.abs(values) > 10 * errors)
    if len(resolved) == 0:
        return [], "<sigma sigma''>_K is not resolved at any K"
    mean = OneInput(activation, digits)
    points = []
    for i, j in zip(resolved[:-1], resolved[1:]):
        if np.sign(values[i]) != np.sign(values[j]):
            root = _root(mean, kernels[i], kernels[j], digits)
            if root is not None:
                points.append(_point(mean, root, digits))
    low, high = (f"{kernels[i]:.4g}" for i in resolved[[0, -1]])
    if points:
        return points, f"<sigma sigma''>_K changes sign {len(points)} time(s) for K from {low} to {high}"
    sign = "negative" if values[resolved[0]] < 0 else "positive"
    return [], f"<sigma sigma''>_K is {sign} for all K from {low} to {high}"


def _root(mean: OneInput, low: float, high: float, digits: int) -> Any:
    """Return the zero of <sigma sigma''>_K in a bracket by Newton's method, kept inside by bisection."""
    with mpmath.workdps(digits + 10):
        a, b = mpmath.mpf(low), mpmath.mpf(high)
        try:
            rising = mean.mean((0, 2), b) > 0
            if rising == (mean.mean((0, 2), a) > 0):
                return None
            K = (a + b) / 2
            for _ in range(8 * digits):
                value = mean.mean((0, 2), K)
                a, b = (a, K) if (value > 0) == rising else (K, b)
                step = value / mean.mean((0, 2), K, 1)
                if abs(step) <= mpmath.mpf(10) ** -(digits - 1) * K:
                    return K - step
                K = K - step if a < K - step < b else (a + b) / 2
        except (PdltError, ZeroDivisionError):
            # Double precision saw a change of sign where the integral cannot be resolved: no evidence of a root.
            return None
    return None


def _point(mean: OneInput, K: Any, digits: int) -> CriticalPoint:
    with mpmath.workdps(digits + 10):
        slopes = mean.mean((1, 1), K)
        C_W = 1 / slopes
        C_b = K - C_W * mean.mean((0, 0), K)
        parallel = C_W * mean.mean((0, 0), K, 1)
        series = expansion.around(mean, C_W, K)
        small = mpmath.mpf(10) ** -(digits // 2)
        if abs(C_b) < small * K:
            C_b = mpmath.mpf(0)
        stable = abs(series.a[0]) * K > small
        shown = mpmath.nstr(K, 8)
        if C_b < 0:
            remark = f"K* = {shown} would need C_b = {mpmath.nstr(C_b, 6)}, a negative variance"
        elif not stable:
            remark = f"K* = {shown} is degenerate: K' - K* has no quadratic term"
        else:
            inside, outside = ("below", "above") if series.a[0] > 0 else ("above", "below")
            remark = f"K* = {shown} attracts kernels from {inside} and repels them from {outside}"
        return CriticalPoint(K, C_b, C_W, parallel, C_W * slopes, series, stable, remark)
