"""The recursion of the kernel around a fixed point: exact series at K* = 0, numerical ones elsewhere, exponents.

At criticality, with dK = K - K*:

    K' - K* = dK + a_1 dK^2 + a_2 dK^3 + ...,  chi_parallel = 1 + 2 a_1 dK + 3 a_2 dK^2 + ...,
    chi_perp = 1 + b_1 dK + b_2 dK^2 + ...
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, factorial
from typing import Any

import mpmath
import sympy as sp

from pdlt.activations import Activation, z
from pdlt.activations.functions import elementary
from pdlt.errors import PdltError
from pdlt.predict.one_input import OneInput

_DECISION_DIGITS = 60
_ZERO = mpmath.mpf(10) ** -40
_MAX_ORDER = 4
_MAX_OPERATIONS = 60


@dataclass(frozen=True)
class Series:
    """Coefficients of the critical recursion around a fixed point.

    Attributes:
        a: a_1, a_2, ... as mpmath numbers.
        b: b_1, b_2, ... as mpmath numbers.
        exact: sympy expressions of some of them, by name ("a_1", ...); empty where there is no closed form.
    """

    a: tuple[Any, ...]
    b: tuple[Any, ...]
    exact: dict[str, sp.Expr]

    @property
    def leading(self) -> int | None:
        """The smallest m with a_m != 0, None if there is none among the known ones."""
        return next((m for m, a in enumerate(self.a, start=1) if a), None)


def taylor(activation: Activation, k: int) -> tuple[Any, sp.Expr]:
    """Return the k-th derivative at the origin: an mpmath number (zero if it is zero) and a sympy expression."""
    with mpmath.workdps(_DECISION_DIGITS):
        value = activation.mpmath(k)(0)
    if abs(value) < _ZERO:
        return mpmath.mpf(0), sp.Integer(0)
    return value, elementary(activation.derivative(k).xreplace({z: sp.Integer(0)}))


def at_zero(activation: Activation) -> Series:
    """Return the series around K* = 0 for sigma(0) = 0, sigma'(0) != 0, from the activation's Taylor coefficients.

    <z^(2n)>_K = (2n-1)!! K^n turns sigma^2 and sigma'^2 into series in K; with sigma_k the k-th derivative at the
    origin, a_1 = sigma_3/sigma_1 + (3/4)(sigma_2/sigma_1)^2 and b_1 = sigma_3/sigma_1 + (sigma_2/sigma_1)^2 (PDLT
    section 5.3.3). Two orders are returned, more if the leading ones vanish.
    """
    numbers, symbols = [mpmath.mpf(0)], [sp.Integer(0)]
    a: list[Any] = []
    b: list[Any] = []
    exact: dict[str, sp.Expr] = {}
    for m in range(1, _MAX_ORDER + 1):
        try:
            while len(numbers) < 2 * m + 2:
                number, symbol = taylor(activation, len(numbers))
                numbers.append(number)
                symbols.append(symbol)
        except PdltError:
            # Its higher derivatives are too large to be worked out: the series ends here.
            if not any(a):
                raise
            break
        with mpmath.workdps(_DECISION_DIGITS):
            for name, list_, shift, n in ((f"a_{m}", a, 0, m + 1), (f"b_{m}", b, 1, m)):
                value = _moment_series(numbers, shift, n) / numbers[1] ** 2
                zero = abs(value) < _ZERO
                list_.append(mpmath.mpf(0) if zero else value)
                expression = _moment_series(symbols, shift, n) / symbols[1] ** 2
                if zero or expression.count_ops() <= _MAX_OPERATIONS:
                    exact[name] = sp.Integer(0) if zero else sp.simplify(expression)
        if m >= 2 and any(a):
            break
    return Series(tuple(a), tuple(b), exact)


def around(mean: OneInput, C_W: Any, K: Any) -> Series:
    """Return the series around a fixed point K > 0, two orders, numerically."""
    a = tuple(C_W * mean.mean((0, 0), K, n + 1) / factorial(n + 1) for n in (1, 2))
    b = tuple(C_W * mean.mean((1, 1), K, n) / factorial(n) for n in (1, 2))
    return Series(a, b, {})


def exponents(series: Series, zero: bool) -> dict[str, Any]:
    """Return the critical exponents that a series implies; exact sympy numbers where the series is exact.

    dK' = dK + a_m dK^(m+1) is solved at large depth by |dK| ~ (m |a_m| l)^(-1/m) on the side where it decays. Along
    it, the product of chi_parallel = 1 + (m+1) a_m dK^m is l^(-(1+1/m)), that of chi_perp = 1 + b_m dK^m is
    l^(-b_m/(m a_m)); if a lower power of dK came with it, it would not be a power of l.

    Args:
        series: with a leading coefficient.
        zero: whether K* = 0, where dK is K itself.

    Returns:
        p_0 (K ~ l^-p_0), p_approach (K - K* ~ l^-p_approach), p_parallel and p_perp (perturbations of the kernel along
        and across the inputs' difference); p_perp is None where it is no power of l.
    """
    m = series.leading
    if m is None:
        return {}
    approach = sp.Rational(1, m)
    result = {"p_0": approach if zero else sp.Integer(0), "p_approach": approach, "p_parallel": 1 + approach}
    if any(series.b[: m - 1]):
        return {**result, "p_perp": None}
    names = (f"a_{m}", f"b_{m}")
    if all(name in series.exact for name in names):
        a, b = (series.exact[name] for name in names)
        return {**result, "p_perp": sp.simplify(b / (m * a))}
    return {**result, "p_perp": series.b[m - 1] / (m * series.a[m - 1])}


def _moment_series(derivatives: Sequence[Any], shift: int, n: int) -> Any:
    """Return the coefficient of K^n in <f f>_K, f being the `shift`-th derivative of sigma and sigma(0) = 0."""
    last = 2 * n + 2 * shift
    total = sum(comb(2 * n, i - shift) * derivatives[i] * derivatives[last - i] for i in range(1, last))
    return total / (2**n * factorial(n))
