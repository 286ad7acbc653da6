"""The class `Activation`: one sympy expression, from which everything else follows."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import mpmath
import sympy as sp

from pdlt.activations import calculus, program, text
from pdlt.activations.builtin import name_of
from pdlt.activations.functions import elementary, z
from pdlt.activations.kinks import KINKED, Slopes
from pdlt.errors import PdltError


@dataclass(frozen=True, repr=False)
class Activation:
    """An activation function sigma(z). Make one with `activation`, which checks more than this class does.

    Two activations are equal when their expressions are, whatever they are called.

    Attributes:
        name: what to call it in results.
        expr: sympy expression in the real symbol `pdlt.activations.z`.
        slopes: None for a smooth activation; (s_minus, s_plus) for one with a kink at the origin,
            sigma(z) = s_plus z for z > 0 and s_minus z for z < 0.

    Raises:
        PdltError: if `expr` is not a sympy expression in z alone, or has kinks while `slopes` is None.
    """

    name: str = field(compare=False)
    expr: sp.Expr
    slopes: Slopes | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.expr, sp.Expr) or self.expr.free_symbols != {z}:
            raise PdltError(
                "Argument `expr` must be a sympy expression in the symbol pdlt.activations.z "
                f"(pdlt.activation accepts any symbol), but got {self.expr!r}."
            )
        if (self.slopes is None) == self.expr.has(*KINKED):
            raise PdltError(
                "Argument `slopes` must be (s_minus, s_plus) for an expression with a kink and None for a "
                f"smooth one (pdlt.activation finds them), but got {self.slopes!r} for {self.expr}."
            )

    @property
    def is_smooth(self) -> bool:
        """Whether there is no kink at the origin."""
        return self.slopes is None

    @property
    def homogeneous_slopes(self) -> Slopes | None:
        """(s_minus, s_plus) if sigma(c z) = c sigma(z) for all c > 0 and sigma is not zero, else None."""
        if self.slopes is not None:
            return self.slopes if any(self.slopes) else None
        slope = self.expr.coeff(z)  # may contain z itself: GELU is z Phi(z)
        linear = slope and not slope.has(z) and sp.expand(self.expr - slope * z) == 0
        return (slope, slope) if linear else None

    @property
    def parity(self) -> int | None:
        """+1 for an even function, -1 for an odd one, None otherwise."""
        return _parity(self.expr)

    @property
    def polynomial_degree(self) -> int | None:
        """The degree of a polynomial activation, None for all others."""
        return int(sp.degree(self.expr, z)) if self.expr.is_polynomial(z) else None

    def derivative(self, k: int) -> sp.Expr:
        """Return the k-th pointwise derivative as a sympy expression in z.

        At a kink the first derivative is the mean of both slopes and higher ones vanish: the Dirac atoms
        that expectations need (sigma'' contains (s_plus - s_minus) delta(z)) are not part of a pointwise
        derivative.

        Raises:
            PdltError: if `k` is not a non-negative integer, or the derivative has thousands of terms.
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 0:
            raise PdltError(f"Argument `k` must be a non-negative integer, but got {k!r}.")
        if self.slopes is None or k == 0:
            return calculus.derivative(self.expr, k)
        minus, plus = self.slopes
        return minus + (plus - minus) * sp.Heaviside(z) if k == 1 else sp.Integer(0)

    def jax(self, k: int = 0) -> Callable[[Any], Any]:
        """Return the k-th pointwise derivative as a function of an array of any shape; same shape and dtype.

        The same function object is returned every time, so that jit caches hit. It is accurate in the tails,
        where differentiating it again by autodiff may not be: for a higher derivative ask for a higher `k`.
        """
        return _jax(self.derivative(k))

    def mpmath(self, k: int = 0) -> Callable[[Any], Any]:
        """Return the k-th pointwise derivative as a function of a number, at mpmath's working precision."""
        return _mpmath(self.derivative(k))

    def jax_source(self, k: int = 0) -> str:
        """Return the k-th pointwise derivative as Python source: one expression in an array `z`.

        It uses the names `jnp` and `jax.scipy.special` and nothing else.
        """
        return program.source(self.derivative(k))

    def elementary(self) -> sp.Expr:
        """Return the expression in functions that other computer algebra systems know."""
        return elementary(self.expr)

    def to_text(self) -> str:
        """Return text that `activation` reads back as an equal activation: a name or an expression."""
        return name_of(self.expr, self.slopes) or text.to_text(self.expr)

    def __repr__(self) -> str:
        shown = self.to_text()
        return f"Activation({shown!r})" if self.name == shown else f"Activation({self.name!r}: {shown})"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle \sigma(z) = {sp.latex(self.expr)}$"


@functools.lru_cache(maxsize=1024)
def _jax(expr: sp.Expr) -> Callable[[Any], Any]:
    return program.jax_function(expr)


@functools.lru_cache(maxsize=1024)
def _mpmath(expr: sp.Expr) -> Callable[[Any], Any]:
    steps = program.compile_expression(expr)
    return lambda x: program.run_mpmath(steps, mpmath.mpmathify(x))


@functools.lru_cache(maxsize=1024)
def _parity(expr: sp.Expr) -> int | None:
    """Compare sigma(z) with sigma(-z) at 50 digits: sympy cannot see that softplus(z) - z/2 is even."""
    value = _mpmath(expr)
    with mpmath.workdps(50):
        pairs = [(value(x), value(-x)) for x in (mpmath.sqrt(n) / 3 for n in (2, 3, 5, 17, 41, 101))]
        for parity in (1, -1):
            if all(abs(a - parity * b) <= mpmath.mpf(10) ** -40 * (abs(a) + abs(b)) for a, b in pairs):
                return parity
    return None
