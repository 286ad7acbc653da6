"""`activation` turns anything a user may write into an `Activation`."""

import functools
import re
from collections.abc import Callable
from typing import Any

import sympy as sp

from pdlt.activations import kinks, limits, program, regularity, text
from pdlt.activations.activation import Activation
from pdlt.activations.builtin import ALIASES, KINKED, SMOOTH, name_of
from pdlt.activations.canonical import canonical
from pdlt.activations.functions import z
from pdlt.activations.rejected import Rejected
from pdlt.errors import PdltError, suggest

_LEAKY_RELU = re.compile(r"leaky_relu\s*\((.*)\)\s*", re.DOTALL)


def leaky_relu(slope: Any = "0.01") -> Activation:
    """Return z for z > 0 and `slope` z for z < 0; `slope` is a number or its text."""
    return _checked(f"leaky_relu({slope})", lambda: _leaky_relu(str(slope)))


def _row(name: str) -> Activation:
    if name in KINKED:
        return Activation(name, kinks.from_slopes(*KINKED[name]), KINKED[name])
    return Activation(name, SMOOTH[name])


BUILTIN: dict[str, Callable[..., Activation]] = {
    **{name: functools.partial(_row, name) for name in (*SMOOTH, *KINKED)},
    "leaky_relu": leaky_relu,
}
"""Name -> factory. `leaky_relu` takes a slope, the others nothing."""


def activation(spec: Any) -> Activation:
    """Return the activation that `spec` describes.

    Args:
        spec: a built-in's name ("gelu"), "leaky_relu(0.2)", text in the expression grammar
            ("z*tanh(log(1+exp(z)))"), a sympy expression in one symbol, or an `Activation`.

    Raises:
        PdltError: if it is none of these, is singular, complex or overflowing on the real line, or has kinks
            other than two straight lines meeting at the origin.
    """
    if isinstance(spec, Activation):
        return spec
    if isinstance(spec, str):
        return _from_text(spec)
    if isinstance(spec, sp.Expr):
        return _checked(spec, lambda: _from_sympy(spec))
    raise _error(spec, f"it is of type {type(spec).__name__}")


@functools.lru_cache(maxsize=256)
def _from_text(spec: str) -> Activation:
    return _checked(spec, lambda: _read(spec))


def _read(spec: str) -> Activation:
    name = ALIASES.get(spec.strip(), spec.strip())
    if name in BUILTIN:
        return BUILTIN[name]()
    if not name:
        raise Rejected("it is empty")
    if name.isidentifier() and len(name) > 1:
        # A lone word is a misspelt name far more often than the linear activation of a variable so called.
        raise Rejected(f"there is no activation of this name.{suggest(name, [*BUILTIN, *ALIASES])}")
    if match := _LEAKY_RELU.fullmatch(name):
        return _leaky_relu(match[1])
    return _finish(text.parse(name))


def _leaky_relu(slope: str) -> Activation:
    value = text.parse(slope)
    if value.has(z):
        raise Rejected("the slope of leaky_relu must be a number")
    return _finish(kinks.relu(z) - value * kinks.relu(-z))


def _from_sympy(expr: sp.Expr) -> Activation:
    symbols = expr.free_symbols
    if len(symbols) != 1 or not all(isinstance(s, sp.Symbol) and s.is_commutative for s in symbols):
        names = ", ".join(sorted(map(str, symbols))) or "none"
        raise Rejected(f"it must contain exactly one symbol, but contains {names}")
    if sum(1 for _ in sp.preorder_traversal(expr)) > limits.MAX_NODES:
        raise Rejected(f"it is too large: at most {limits.MAX_NODES} operations are accepted")
    return _finish(expr.xreplace({symbols.pop(): z}))


def _finish(expr: sp.Expr) -> Activation:
    """Bring an expression in z to canonical form, decide its kinks and check that it is usable."""
    expr, slopes = kinks.resolve(canonical(expr))
    if not expr.has(z):
        raise Rejected("it does not depend on its variable")
    if slopes is None:
        expr = canonical(expr)
    program.compile_expression(expr)
    limits.check_all(expr)
    if slopes is None:
        regularity.check(expr)
    return Activation(name_of(expr, slopes) or text.to_text(expr), expr, slopes)


def _checked(spec: Any, make: Callable[[], Activation]) -> Activation:
    try:
        return make()
    except Rejected as problem:
        raise _error(spec, str(problem)) from None


def _error(spec: Any, problem: str) -> PdltError:
    shown = repr(spec) if isinstance(spec, str) else str(spec)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return PdltError(
        f"Argument `activation` must be a name ({', '.join(BUILTIN)}), an expression in one variable such as "
        f"'z*tanh(log(1+exp(z)))', a sympy expression in one symbol or an Activation, but got {shown}: "
        f"{problem if problem.endswith('?') else problem.rstrip('.') + '.'}"
    )
