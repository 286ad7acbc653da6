"""Kinks: which expressions with abs, relu, Max, ... are a pair of slopes, which are smooth after all.

An expression is followed on both half-lines, with z = p and z = -p for a positive p. It is accepted if both
branches are one smooth function, or if each is a multiple of p: then sigma(z) = s_plus z for z > 0 and
s_minus z for z < 0, the only kinks whose Gaussian expectations (with their Dirac atoms) the package knows.
"""

import sympy as sp

from pdlt.activations import program
from pdlt.activations.functions import z
from pdlt.activations.rejected import Rejected

Slopes = tuple[sp.Expr, sp.Expr]

_p = sp.Symbol("p", positive=True)


class relu(sp.Function):  # type: ignore[misc]
    """max(u, 0), left alone until `resolve`: sympy's own Max compares, which can take long."""

    nargs = 1


KINKED = (relu, sp.Abs, sp.Max, sp.Min, sp.sign, sp.Heaviside, sp.Piecewise)


class _Unsupported(Exception):
    """A kink away from the origin, or one whose sign cannot be decided."""


def resolve(expr: sp.Expr) -> tuple[sp.Expr, Slopes | None]:
    """Return (expression, slopes): slopes None if smooth, else the canonical expression of the two slopes.

    Raises:
        Rejected: for kinks that are not piecewise linear at the origin.
    """
    if not expr.has(*KINKED):
        return expr, None
    try:
        right, left = sp.expand(_branch(expr, _p)), sp.expand(_branch(expr, -_p))
    except _Unsupported:
        raise _error() from None
    if sp.expand(right - left.xreplace({_p: -_p})) == 0:
        return right.xreplace({_p: z}), None
    s_plus, s_minus = sp.expand(right / _p), sp.expand(-left / _p)
    if s_plus.has(_p) or s_minus.has(_p):
        raise _error()
    return from_slopes(s_minus, s_plus), (s_minus, s_plus)


def from_slopes(s_minus: sp.Expr, s_plus: sp.Expr) -> sp.Expr:
    """Return the canonical expression of the activation with these slopes left and right of the origin."""
    if s_minus == -s_plus:
        return s_plus * sp.Abs(z)
    return s_plus * sp.Max(0, z) - s_minus * sp.Max(0, -z)


def _error() -> Rejected:
    return Rejected(
        "only piecewise-linear kinks at the origin are supported (two straight lines through it, such as "
        "relu(z), abs(z) or relu(z) - 0.1*relu(-z)); a smooth approximation such as softplus(10*z)/10 or "
        "gelu(z) can be used instead"
    )


def _branch(e: sp.Expr, value: sp.Expr) -> sp.Expr:
    """Return `e` with z replaced by p or -p and every kink decided."""
    if e == z:
        return value
    if not e.args:
        return e
    args = [_branch(a, value) for a in e.args]
    if isinstance(e, relu):
        return _relu(args[0])
    if isinstance(e, sp.Abs):
        return _relu(args[0]) + _relu(-args[0])
    if isinstance(e, sp.sign):
        return sp.Integer(_sign(args[0]))
    if isinstance(e, sp.Heaviside):
        return (1 + sp.Integer(_sign(args[0]))) / 2
    if isinstance(e, sp.Max | sp.Min):
        side = 1 if isinstance(e, sp.Max) else -1
        result = args[0]
        for other in args[1:]:
            result = result + side * _relu(side * (other - result))
        return result
    result = e.func(*args)
    if isinstance(result, sp.Piecewise):
        raise _Unsupported
    return result


def _relu(u: sp.Expr) -> sp.Expr:
    return u if _sign(u) > 0 else sp.Integer(0)


def _sign(u: sp.Expr) -> int:
    """Return the sign of u for all p > 0."""
    u = sp.expand(u)
    if not sp.expand(u / _p).has(_p):
        u = sp.expand(u / _p)
    if not u.has(_p):
        value = program.to_float(u)
        return (value > 0) - (value < 0)
    if u.is_nonnegative:
        return 1
    if u.is_nonpositive:
        return -1
    raise _Unsupported
