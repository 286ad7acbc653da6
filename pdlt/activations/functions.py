"""The functions an activation may be made of: one row each, and the few that sympy lacks.

sympy spells the logistic function 1/(1 + exp(-z)), whose derivatives overflow or cancel in the tails.
`sigmoid`, `softplus` and `normal_cdf` are sympy functions of their own, with derivatives written so that
every term keeps its relative accuracy far out; `elementary` turns them into what any other tool knows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sympy as sp

z = sp.Symbol("z", real=True)
"""The variable of every activation's expression."""


class _Special(sp.Function):  # type: ignore[misc]
    """A positive function of one real argument with a known value at zero."""

    nargs = 1
    is_real = True
    is_positive = True
    at_zero: sp.Expr

    @classmethod
    def eval(cls, u: sp.Expr) -> sp.Expr | None:
        """Return the value at zero, None (sympy: leave unevaluated) elsewhere."""
        return cls.at_zero if u.is_zero else None


class sigmoid(_Special):
    """The logistic function 1/(1 + exp(-u))."""

    at_zero = sp.Rational(1, 2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return s(u) s(-u); s(u) (1 - s(u)) would lose all digits where s is nearly one."""
        return sigmoid(self.args[0]) * sigmoid(-self.args[0])

    def elementary(self) -> sp.Expr:
        """Return the definition."""
        return 1 / (1 + sp.exp(-self.args[0]))


class softplus(_Special):
    """log(1 + exp(u)), the antiderivative of `sigmoid`."""

    at_zero = sp.log(2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the derivative."""
        return sigmoid(self.args[0])

    def elementary(self) -> sp.Expr:
        """Return the definition."""
        return sp.log(1 + sp.exp(self.args[0]))


class normal_cdf(_Special):
    """The standard normal distribution function (1 + erf(u/sqrt(2)))/2."""

    at_zero = sp.Rational(1, 2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        """Return the standard normal density."""
        return sp.exp(-(self.args[0] ** 2) / 2) / sp.sqrt(2 * sp.pi)

    def elementary(self) -> sp.Expr:
        """Return the definition."""
        return (1 + sp.erf(self.args[0] / sp.sqrt(2))) / 2

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        body = rf"\Phi{{\left({printer.doprint(self.args[0])} \right)}}"
        return body if exp is None else rf"{body}^{{{exp}}}"


CUSTOM = (sigmoid, softplus, normal_cdf)


def elementary(expr: sp.Expr) -> sp.Expr:
    """Return `expr` in functions that sympy and every computer algebra system know."""
    return expr.replace(lambda e: isinstance(e, CUSTOM), lambda e: e.elementary())


def _mp_sigmoid(ctx: Any, u: Any) -> Any:
    if u < 0:
        return ctx.exp(u) / (1 + ctx.exp(u))
    return 1 / (1 + ctx.exp(-u))


def _mp_softplus(ctx: Any, u: Any) -> Any:
    return max(u, 0) + ctx.log1p(ctx.exp(-abs(u)))


def _mp_sech(ctx: Any, u: Any) -> Any:
    e = ctx.exp(-abs(u))
    return 2 * e / (1 + e * e)


def _mp_asinh(ctx: Any, u: Any) -> Any:
    # mpmath's plain-float context has no asinh.
    size = abs(u)
    value = ctx.log1p(size + size * size / (1 + ctx.sqrt(1 + size * size)))
    return value if u >= 0 else -value


def _mp_heaviside(ctx: Any, u: Any) -> Any:
    return ctx.mpf((u > 0) + (u >= 0)) / 2


@dataclass(frozen=True)
class Primitive:
    """A function of one argument: how the grammar, sympy, JAX and mpmath call it.

    Attributes:
        name: the name in the grammar and in programs.
        function: the sympy class.
        source: Python source with `{0}` for the argument; uses `jnp` and `jax.scipy.special` only.
        mpmath: callable (context, argument) -> value, where the context is `mpmath.mp` or `mpmath.fp`.
    """

    name: str
    function: Any
    source: str
    mpmath: Callable[[Any, Any], Any]


PRIMITIVES: tuple[Primitive, ...] = (
    Primitive("exp", sp.exp, "jnp.exp({0})", lambda ctx, u: ctx.exp(u)),
    Primitive("log", sp.log, "jnp.log({0})", lambda ctx, u: ctx.log(u)),
    Primitive("sin", sp.sin, "jnp.sin({0})", lambda ctx, u: ctx.sin(u)),
    Primitive("cos", sp.cos, "jnp.cos({0})", lambda ctx, u: ctx.cos(u)),
    Primitive("tan", sp.tan, "jnp.tan({0})", lambda ctx, u: ctx.tan(u)),
    Primitive("sinh", sp.sinh, "jnp.sinh({0})", lambda ctx, u: ctx.sinh(u)),
    Primitive("cosh", sp.cosh, "jnp.cosh({0})", lambda ctx, u: ctx.cosh(u)),
    Primitive("tanh", sp.tanh, "jnp.tanh({0})", lambda ctx, u: ctx.tanh(u)),
    Primitive("sech", sp.sech, "(1.0 / jnp.cosh({0}))", _mp_sech),
    Primitive("atan", sp.atan, "jnp.arctan({0})", lambda ctx, u: ctx.atan(u)),
    Primitive("asinh", sp.asinh, "jnp.arcsinh({0})", _mp_asinh),
    Primitive("erf", sp.erf, "jax.scipy.special.erf({0})", lambda ctx, u: ctx.erf(u)),
    Primitive("sigmoid", sigmoid, "jax.scipy.special.expit({0})", _mp_sigmoid),
    Primitive("softplus", softplus, "jnp.logaddexp({0}, 0.0)", _mp_softplus),
    Primitive(
        "normal_cdf",
        normal_cdf,
        "jax.scipy.special.ndtr({0})",
        lambda ctx, u: ctx.erfc(-u / ctx.sqrt(2)) / 2,
    ),
    Primitive("heaviside", sp.Heaviside, "jnp.heaviside({0}, 0.5)", _mp_heaviside),
    Primitive("relu", sp.Max, "jnp.maximum({0}, 0.0)", lambda ctx, u: max(u, 0 * u)),
    Primitive("abs", sp.Abs, "jnp.abs({0})", lambda ctx, u: abs(u)),
)

BY_NAME: dict[str, Primitive] = {row.name: row for row in PRIMITIVES}
BY_FUNCTION: dict[Any, Primitive] = {row.function: row for row in PRIMITIVES}
