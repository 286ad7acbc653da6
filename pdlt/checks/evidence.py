"""What a claim returns: evidence that judges itself.

A verdict is one of three. "holds": the statement passed a test that it could have failed. "refuted": it failed.
"void": the test could not have told (nothing compared, both sides zero, no statistical power, not finite). A claim
must hold, and its negative control must be refuted; void is a failure of either.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar, Literal, Protocol

from pdlt.errors import PdltError

#: The levels, strongest first.
LEVELS = ("symbolic", "precision", "ensemble")

#: A tolerance above this is not high precision.
PRECISION_RTOL = 1e-8

#: Digits in which an `Agreement` is judged; more than any of its numbers is expected to have.
_DIGITS = 120


@dataclass(frozen=True)
class Verdict:
    """The outcome of a test and a sentence that says by how much."""

    status: Literal["holds", "refuted", "void"]
    message: str


class Evidence(Protocol):
    """What a claim's function returns.

    Attributes:
        level: the level of claim that this kind of evidence supports.
    """

    @property
    def level(self) -> str:  # noqa: D102
        ...

    def verdict(self) -> Verdict:
        """Judge the evidence."""
        ...


@dataclass(frozen=True)
class Identity:
    """Two expressions are equal after `pdlt.symbolic.expressions.canonical`: every label, coefficient and power.

    Args:
        lhs, rhs: sympy expressions (or numbers), or sequences of them that are compared one by one. Tensors are
            `tensor_symbol(name, j, args)`, averages are `Expectation`; see `pdlt.checks.textbook`.
    """

    lhs: Any
    rhs: Any
    level: ClassVar[str] = "symbolic"

    def verdict(self) -> Verdict:
        """Hold if the difference of every pair expands to zero; void if there is nothing but zeros."""
        import sympy

        from pdlt.symbolic.expressions import canonical

        left, right = _sequence(self.lhs), _sequence(self.rhs)
        if len(left) != len(right):
            return Verdict("refuted", f"{len(left)} expressions on the left, {len(right)} on the right")
        both = (side if isinstance(side, sympy.Basic) else sympy.Rational(side) for side in (*left, *right))
        sides = [canonical(side) for side in both]
        if any(side.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo) for side in sides):
            return Verdict("void", "an expression is not finite")
        if not any(sides):
            return Verdict("void", "both sides are zero" if sides else "nothing to compare")
        for i, (a, b) in enumerate(zip(sides[: len(left)], sides[len(left) :], strict=True)):
            difference = sympy.expand(a - b)
            if difference != 0:
                where = f" (expression {i + 1} of {len(left)})" if len(left) > 1 else ""
                return Verdict("refuted", f"left - right{where} = {_shortened(str(difference))}")
        terms = sum(len(sympy.Add.make_args(side)) for side in sides[: len(left)])
        return Verdict("holds", f"identical, {terms} term{'s' * (terms != 1)}")


@dataclass(frozen=True)
class Agreement:
    """Numbers agree with a witness: |value - witness| <= rtol * max(|value|, |witness|), one by one.

    Args:
        values, witness: numbers, or equally many of them in sequences or (nested) arrays: mpmath, sympy or Python
            rationals, floats.
        rtol: relative tolerance, at most 1e-8; 0 for exact rational arithmetic.
        why: where the tolerance comes from, one sentence.
    """

    values: Any
    witness: Any
    rtol: float
    why: str
    level: ClassVar[str] = "precision"

    def __post_init__(self) -> None:
        if not (isinstance(self.rtol, int | float) and 0 <= self.rtol <= PRECISION_RTOL):
            raise PdltError(
                f"Argument `rtol` must be a number from 0 to {PRECISION_RTOL:g} (this is high precision), "
                f"but got {self.rtol!r}."
            )
        if not isinstance(self.why, str) or not self.why.strip():
            raise PdltError(f"Argument `why` must say where the tolerance comes from, but got {self.why!r}.")

    def verdict(self) -> Verdict:
        """Hold if all pairs agree; void if a number is not finite or everything is zero."""
        import mpmath

        values, witness = list(_flat(self.values)), list(_flat(self.witness))
        if len(values) != len(witness):
            return Verdict("refuted", f"{len(values)} values, but {len(witness)} witnesses")
        with mpmath.workdps(_DIGITS):
            pairs = [_alike(_number(v), _number(w)) for v, w in zip(values, witness, strict=True)]
            if not all(isinstance(x, Fraction) or mpmath.isfinite(x) for pair in pairs for x in pair):
                return Verdict("void", "a number is not finite")
            if not any(number for pair in pairs for number in pair):
                return Verdict("void", "all numbers are zero" if pairs else "nothing to compare")
            errors = [abs(v - w) / max(abs(v), abs(w)) if v != w else 0 for v, w in pairs]
            worst = max(range(len(errors)), key=lambda i: float(errors[i]))
            size = f"largest relative difference {float(errors[worst]):.1e}"
            if errors[worst] <= self.rtol:
                count = f"{len(pairs)} number{'s' * (len(pairs) != 1)}"
                return Verdict("holds", f"{count}, {size} <= {self.rtol:g}" if self.rtol else f"{count}, equal")
            v, w = (mpmath.nstr(mpmath.mpf(_alike(x, mpmath.mpf(0))[0]), 12) for x in pairs[worst])
            return Verdict("refuted", f"{size} > {self.rtol:g}: number {worst + 1} is {v}, the witness {w}")


@dataclass(frozen=True)
class Scores:
    """A prediction against a measurement with standard errors, one by one.

    Args:
        prediction, measurement, stderr: numbers, or equally many of them in sequences or (nested) arrays.
        z_max: the largest |prediction - measurement| / stderr that passes; stated with the number of comparisons
            in mind.
        seed: the seed of the measurement, so that it can be repeated.
        effect: what is being tested, e.g. K_1/n when the prediction is K + K_1/n. Default: the prediction itself,
            as for V, whose value at infinite width (the null hypothesis) is zero.
        power: the number of standard errors by which the effect must be visible in half of the comparisons or
            more; otherwise the test is void.
    """

    prediction: Any
    measurement: Any
    stderr: Any
    z_max: float
    seed: int
    effect: Any = None
    power: float = 5.0
    level: ClassVar[str] = field(default="ensemble", init=False)

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise PdltError(f"Argument `seed` must be a non-negative integer, but got {self.seed!r}.")
        for name, value, low in (("z_max", self.z_max, 0.0), ("power", self.power, 2.0)):
            if not (isinstance(value, int | float) and math.isfinite(value) and value > low):
                raise PdltError(f"Argument `{name}` must be a finite number above {low:g}, but got {value!r}.")

    def verdict(self) -> Verdict:
        """Hold if all |z| <= z_max and the effect is visible; void without power or a positive standard error."""
        prediction, measurement, stderr = (
            [float(number) for number in _flat(side)] for side in (self.prediction, self.measurement, self.stderr)
        )
        effect = prediction if self.effect is None else [float(number) for number in _flat(self.effect)]
        lengths = {len(side) for side in (prediction, measurement, stderr, effect)}
        if len(lengths) != 1:
            return Verdict("refuted", f"unequal numbers of entries: {sorted(lengths)}")
        if lengths == {0}:
            return Verdict("void", "nothing to compare")
        if not all(math.isfinite(number) for side in (prediction, measurement, stderr, effect) for number in side):
            return Verdict("void", "a number is not finite")
        if min(stderr) <= 0:
            return Verdict("void", "a standard error is not positive")
        scores = [abs(p - m) / s for p, m, s in zip(prediction, measurement, stderr, strict=True)]
        sizes = sorted(abs(e) / s for e, s in zip(effect, stderr, strict=True))
        median = sizes[(len(sizes) - 1) // 2]
        count = f"{len(scores)} number{'s' * (len(scores) != 1)}"
        summary = f"{count}, largest |z| = {max(scores):.2f}, effect {median:.1f} standard errors"
        if max(scores) > self.z_max:
            return Verdict("refuted", f"{summary}; |z| may be at most {self.z_max:g} (seed {self.seed})")
        if median < self.power:
            return Verdict("void", f"{summary}: no power, {self.power:g} are needed (seed {self.seed})")
        return Verdict("holds", f"{summary} (seed {self.seed})")


def _sequence(side: Any) -> tuple:
    return tuple(side) if isinstance(side, list | tuple) else (side,)


def _flat(numbers: Any) -> Iterator[Any]:
    """Yield the entries of a number, a nested sequence or an array."""
    if hasattr(numbers, "tolist"):
        numbers = numbers.tolist()
    if isinstance(numbers, Iterable):
        for item in numbers:
            yield from _flat(item)
    else:
        yield numbers


def _number(value: Any) -> Any:
    """Return a rational number as Fraction, any other as mpf without loss; called at `_DIGITS` digits."""
    import mpmath
    import sympy

    if isinstance(value, sympy.Rational):
        return Fraction(int(value.p), int(value.q))
    if isinstance(value, sympy.Expr):
        return mpmath.mpf(str(value.evalf(_DIGITS)))
    return Fraction(value) if isinstance(value, int | Fraction) else mpmath.mpf(value)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Return two numbers in the same arithmetic: rationals stay exact if both are."""
    import mpmath

    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left, right
    if isinstance(left, Fraction):
        left = mpmath.mpf(left.numerator) / left.denominator
    if isinstance(right, Fraction):
        right = mpmath.mpf(right.numerator) / right.denominator
    return left, right


def _shortened(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else f"{text[:limit]} ... ({len(text)} characters)"
