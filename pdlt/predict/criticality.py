"""Critical initialisation: fixed points, universality class and exponents of any activation.

    taylor series at K = 0, integrals elsewhere   -> critical points          (fixed_points)
    recursion around a critical point             -> corrections, exponents   (expansion)
    critical points                               -> class, initialisation    (here)
    initialisation, depth                         -> learning rates           (learning_rates)

On one input, K' = C_b + C_W g(K) with g(K) = <sigma sigma>_K; chi_parallel = C_W g'(K) multiplies a perturbation of
the kernel's diagonal, chi_perp = C_W <sigma' sigma'>_K one that tells neighbouring inputs apart, and the NTK. A network
is critical if both are one at a fixed point K* (PDLT, arXiv:2106.10165, chapter 5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import mpmath
import sympy as sp

from pdlt.activations import Activation
from pdlt.activations import activation as read_activation
from pdlt.errors import PdltError
from pdlt.predict import expansion, fixed_points
from pdlt.predict.fixed_points import CriticalPoint

CLASSES = ("scale-invariant", "K*=0", "half-stable", "none")

_MIN_DIGITS, _MAX_DIGITS = 15, 100


@dataclass(frozen=True)
class Criticality:
    """What is known about the critical initialisation of an activation.

    Attributes:
        activation: the activation.
        universality_class: "scale-invariant" (every K is a fixed point), "K*=0" (kernels shrink to zero as a power of
            depth), "half-stable" (a K* > 0 that attracts from one side and repels to the other) or "none".
        reason: why, in words.
        C_b, C_W: the critical variances at initialisation; None if the class is "none".
        K_star: the fixed point; None if the class is "none", or if every K is one ("scale-invariant").
        chi_parallel, chi_perp: susceptibilities evaluated at the fixed point; None if the class is "none".
        corrections: what happens at a finite distance dK = K - K*: K' - K* = dK + a_1 dK^2 + a_2 dK^3 + ...,
            chi_parallel = 1 + 2 a_1 dK + 3 a_2 dK^2 + ..., chi_perp = 1 + b_1 dK + b_2 dK^2 + ...
        exponents: critical exponents in depth l at criticality: K ~ l^-p_0, K - K* ~ l^-p_approach; a perturbation of
            the kernel's diagonal decays as l^-p_parallel, the product of chi_perp (hence the NTK of early layers) as
            l^-p_perp. Empty if the class is "none"; a value is None where there is no power law.
        exact: sympy expressions of whatever has a closed form, by the names above.
        digits: C_b, C_W and K_star as decimal strings.
        stability: from where kernels flow to K*, in words.
        points: all critical points that were found, also unusable ones.
    """

    activation: Activation
    universality_class: str
    reason: str
    C_b: float | None = None
    C_W: float | None = None
    K_star: float | None = None
    chi_parallel: float | None = None
    chi_perp: float | None = None
    corrections: Mapping[str, float] = field(default_factory=dict)
    exponents: Mapping[str, float | None] = field(default_factory=dict)
    exact: Mapping[str, sp.Expr] = field(default_factory=dict)
    digits: Mapping[str, str] = field(default_factory=dict)
    stability: str = ""
    points: tuple[CriticalPoint, ...] = ()

    @property
    def input_square(self) -> float | None:
        """The x.x/n_0 of inputs whose kernel starts at K* > 0; None if there is no such K*."""
        if not self.K_star or self.C_b is None or self.C_W is None:
            return None
        return (self.K_star - self.C_b) / self.C_W

    def require(self) -> tuple[float, float]:
        """Return (C_b, C_W).

        Raises:
            PdltError: if the activation has no critical initialisation; the message says why.
        """
        if self.C_b is None or self.C_W is None:
            raise PdltError(
                "Argument `activation` must have a critical initialisation (pdlt.criticality), but "
                f"{self.activation.to_text()} has none: {self.reason}."
            )
        return self.C_b, self.C_W

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "schema": "pdlt.criticality/1",
            "activation": self.activation.to_text(),
            "universality_class": self.universality_class,
            "reason": self.reason,
            **{name: getattr(self, name) for name in ("C_b", "C_W", "K_star", "chi_parallel", "chi_perp")},
            "input_square": self.input_square,
            "digits": dict(self.digits),
            "corrections": dict(self.corrections),
            "exponents": dict(self.exponents),
            "exact": {name: str(value) for name, value in self.exact.items()},
            "stability": self.stability,
            "critical_points": [
                {
                    **{name: float(getattr(point, name)) for name in ("K_star", "C_b", "C_W")},
                    "usable": point.usable,
                    "remark": point.remark,
                }
                for point in self.points
            ],
        }


def criticality(activation: Any, digits: int = 30) -> Criticality:
    """Return the critical initialisation of an activation, its universality class and exponents.

    Where there are several critical points, K* = 0 is taken if it is stable, else the smallest K* > 0 with C_b >= 0;
    `points` lists all. K* > 0 is looked for between 1e-6 and 1e6, at changes of sign of <sigma sigma''>_K.

    Args:
        activation: a name, a string in the expression grammar, a sympy expression or an `Activation`.
        digits: significant digits in `.digits`, 15 to 100.

    Raises:
        PdltError: if `activation` is none of these, or its derivatives at the origin are too large to be worked out.
    """
    if isinstance(digits, bool) or not isinstance(digits, int) or not _MIN_DIGITS <= digits <= _MAX_DIGITS:
        raise PdltError(
            f"Argument `digits` must be an integer from {_MIN_DIGITS} to {_MAX_DIGITS}, but got {digits!r}."
        )
    return _criticality(read_activation(activation), digits)


@lru_cache(maxsize=256)
def _criticality(activation: Activation, digits: int) -> Criticality:
    slopes = activation.slopes
    if slopes is None and activation.polynomial_degree == 1:
        return _straight_line(activation, digits)
    if slopes is not None:
        return _scale_invariant(activation, (slopes[0] ** 2 + slopes[1] ** 2) / 2, digits)
    zero = fixed_points.at_zero(activation)
    above, seen = fixed_points.positive(activation, digits + 5)
    points = ([] if zero is None else [zero]) + above
    if zero is not None and zero.usable:
        exact = {"K_star": sp.Integer(0), "C_b": sp.Integer(0), "C_W": 1 / expansion.taylor(activation, 1)[1] ** 2}
        reason = f"sigma(0) = 0 and sigma'(0) = {mpmath.nstr(1 / mpmath.sqrt(zero.C_W), 6)}; {zero.remark}"
        return _at(activation, "K*=0", reason, zero, tuple(points), exact, digits)
    for point in above:
        if point.usable:
            reason = f"<sigma sigma''>_K vanishes at K* > 0 with C_b >= 0; {point.remark}"
            return _at(activation, "half-stable", reason, point, tuple(points), {}, digits)
    at_origin = _why_not_zero(activation) if zero is None else zero.remark
    elsewhere = "; ".join(point.remark for point in above) if above else f"K* > 0 is excluded because {seen}"
    return Criticality(activation, "none", f"{at_origin}; {elsewhere}", points=tuple(points))


def _at(
    activation: Activation,
    universality_class: str,
    reason: str,
    point: CriticalPoint,
    points: tuple[CriticalPoint, ...],
    exact: dict[str, sp.Expr],
    digits: int,
) -> Criticality:
    zero = universality_class == "K*=0"
    series = point.series
    powers = expansion.exponents(series, zero)
    exact = {**exact, **series.exact, **{name: p for name, p in powers.items() if isinstance(p, sp.Basic)}}
    corrections = {f"a_{m}": a for m, a in enumerate(series.a, 1)} | {f"b_{m}": b for m, b in enumerate(series.b, 1)}
    return Criticality(
        activation,
        universality_class,
        reason,
        C_b=float(point.C_b),
        C_W=float(point.C_W),
        K_star=float(point.K_star),
        chi_parallel=float(point.chi_parallel),
        chi_perp=float(point.chi_perp),
        corrections=MappingProxyType({name: float(value) for name, value in corrections.items()}),
        exponents=MappingProxyType({name: None if p is None else float(p) for name, p in powers.items()}),
        exact=MappingProxyType(exact),
        digits=_digits(digits, K_star=point.K_star, C_b=point.C_b, C_W=point.C_W),
        stability="attracts from above (kernels are not negative)" if zero else point.remark,
        points=points,
    )


def _scale_invariant(activation: Activation, A2: sp.Expr, digits: int) -> Criticality:
    C_W = 1 / A2
    with mpmath.workdps(digits + 10):
        number = mpmath.mpf(str(sp.N(C_W, digits + 10)))
    none = sp.Integer(0)
    powers = {name: none for name in ("p_0", "p_approach", "p_parallel", "p_perp")}
    corrections = {name: none for name in ("a_1", "a_2", "b_1", "b_2")}
    return Criticality(
        activation,
        "scale-invariant",
        f"sigma(c z) = c sigma(z) for c > 0, so that <sigma sigma>_K = A2 K with A2 = {A2}: every K is a fixed point",
        C_b=0.0,
        C_W=float(number),
        chi_parallel=1.0,
        chi_perp=1.0,
        corrections=MappingProxyType({name: 0.0 for name in corrections}),
        exponents=MappingProxyType({name: 0.0 for name in powers}),
        exact=MappingProxyType({"C_b": none, "C_W": C_W, **corrections, **powers}),
        digits=_digits(digits, C_b=mpmath.mpf(0), C_W=number),
        stability="neutral: every kernel stays where it is",
    )


def _straight_line(activation: Activation, digits: int) -> Criticality:
    offset, slope = (expansion.taylor(activation, k)[1] for k in (0, 1))
    if offset == 0:
        return _scale_invariant(activation, slope**2, digits)
    reason = (
        f"chi_perp = 1 needs C_W = 1/sigma'^2 = {1 / slope**2}, and then a fixed point needs "
        f"C_b = -C_W sigma(0)^2 = {-((offset / slope) ** 2)}, a negative variance"
    )
    return Criticality(activation, "none", reason)


def _why_not_zero(activation: Activation) -> str:
    value, _ = expansion.taylor(activation, 0)
    if value:
        return f"K* = 0 is excluded because sigma(0) = {mpmath.nstr(value, 6)} is not zero"
    return "K* = 0 is excluded because sigma'(0) = 0"


def _digits(count: int, **numbers: Any) -> Mapping[str, str]:
    with mpmath.workdps(count + 15):
        return MappingProxyType({name: mpmath.nstr(value, count) for name, value in numbers.items()})
