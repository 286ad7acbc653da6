"""Expressions as straight-line programs, and the three ways to run one: JAX, mpmath, Python source.

`compile_expression` walks a sympy expression once and lists its operations; a subexpression that occurs
twice becomes one operation. Everything outside the table of primitives is refused, so nothing is ever
handed to a printer that might guess. No text is evaluated anywhere.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import sympy as sp

from pdlt.activations.functions import BY_FUNCTION, BY_NAME, PRIMITIVES, z
from pdlt.activations.rejected import Rejected

_HALF = sp.Rational(1, 2)


@dataclass(frozen=True)
class Operation:
    """One step: `kind` is variable, number, add, mul, pow, sqrt or a primitive's name.

    `args` are indices of earlier steps; `value` is the number of a number step and the exponent of a pow.
    """

    kind: str
    args: tuple[int, ...] = ()
    value: Any = None


Program = tuple[Operation, ...]


@functools.lru_cache(maxsize=2048)
def compile_expression(expr: sp.Expr, floats: bool = False) -> Program:
    """Return the program of `expr`; its last step is the value.

    With `floats` every constant subexpression becomes one float, correctly rounded; without, numbers stay
    exact so that the program can run at any precision.

    Raises:
        Rejected: if `expr` contains a function outside the table of primitives.
    """
    steps: list[Operation] = []
    known: dict[sp.Expr, int] = {}

    def visit(e: sp.Expr) -> int:
        if e not in known:
            constant = floats and not e.has(z)
            steps.append(Operation("number", value=to_float(e)) if constant else _operation(e, visit, floats))
            known[e] = len(steps) - 1
        return known[e]

    visit(expr)
    return tuple(steps)


def _operation(e: sp.Expr, visit: Callable[[sp.Expr], int], floats: bool) -> Operation:
    if e == z:
        return Operation("variable")
    if e.is_Rational or e in (sp.pi, sp.E):
        return Operation("number", value=e)
    if e.is_Add or e.is_Mul:
        constant, rest = e.as_independent(z, as_Add=e.is_Add)
        neutral = 0 if e.is_Add else 1
        terms = list(e.func.make_args(rest)) if floats and rest != neutral else list(e.args)
        if floats and constant != neutral:
            terms = [constant, *terms]
        return Operation("add" if e.is_Add else "mul", tuple(visit(a) for a in terms))
    if e.is_Pow and e.exp == _HALF:
        return Operation("sqrt", (visit(e.base),))
    if e.is_Pow and e.exp.is_Rational:
        exponent = (int(e.exp) if e.exp.is_Integer else to_float(e.exp)) if floats else e.exp
        return Operation("pow", (visit(e.base),), exponent)
    if e.func not in BY_FUNCTION:
        accepted = ", ".join(row.name for row in PRIMITIVES)
        raise Rejected(f"it contains {str(e)[:60]}; accepted are arithmetic and the functions {accepted}")
    return Operation(BY_FUNCTION[e.func].name, (visit(_argument(e)),))


def _argument(e: sp.Expr) -> sp.Expr:
    """Return u of Max(0, u), of Heaviside(u, 1/2) and of functions of one argument."""
    if isinstance(e, sp.Max) and len(e.args) == 2 and 0 in e.args:
        return next(a for a in e.args if a != 0)
    if len(e.args) == 1 or isinstance(e, sp.Heaviside):
        return e.args[0]
    raise Rejected(f"it contains {str(e)[:60]}; Max is accepted only as Max(0, u)")


def run_mpmath(program: Program, x: Any, ctx: Any = mpmath.mp) -> Any:
    """Run a program at `x` in an mpmath context (`mpmath.mp`, or `mpmath.fp` for plain floats)."""
    values: list[Any] = []
    for step in program:
        values.append(_mpmath_step(step, [values[i] for i in step.args], x, ctx))
    return values[-1]


def _mpmath_step(step: Operation, args: list[Any], x: Any, ctx: Any) -> Any:
    match step.kind:
        case "variable":
            return x
        case "number":
            return _mpmath_number(step.value, ctx)
        case "add":
            return functools.reduce(lambda a, b: a + b, args)
        case "mul":
            return functools.reduce(lambda a, b: a * b, args)
        case "sqrt":
            return ctx.sqrt(args[0])
        case "pow":
            return args[0] ** (int(step.value) if step.value.is_Integer else _mpmath_number(step.value, ctx))
        case name:
            return BY_NAME[name].mpmath(ctx, args[0])


def _mpmath_number(value: sp.Expr, ctx: Any) -> Any:
    if value.is_Rational:
        return ctx.mpf(int(value.p)) / int(value.q)
    return +(ctx.pi if value == sp.pi else ctx.e)


@functools.lru_cache(maxsize=4096)
def to_float(expr: sp.Expr) -> float:
    """Return a constant expression as a float (30 digits inside)."""
    with mpmath.workdps(30):
        return float(run_mpmath(compile_expression(expr), mpmath.mpf(0)))


def jax_function(expr: sp.Expr) -> Callable[[Any], Any]:
    """Return a function of an array that evaluates `expr` elementwise, in the array's own float dtype."""
    import jax.numpy as jnp

    program = compile_expression(expr, floats=True)
    table = _jax_table()

    def evaluate(x: Any) -> Any:
        x = jnp.asarray(x)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            x = x.astype(float)
        values: list[Any] = []
        for step in program:
            args = [values[i] for i in step.args]
            if step.kind == "variable":
                values.append(x)
            elif step.kind == "number":
                values.append(step.value)
            elif step.kind == "pow":
                values.append(args[0] ** step.value)
            else:
                values.append(table[step.kind](*args))
        # A constant derivative (linear, relu, powers) is still one value per element.
        return values[-1] if expr.has(z) else jnp.full_like(x, values[-1])

    return evaluate


@functools.cache
def _jax_table() -> dict[str, Callable[..., Any]]:
    """Return what each operation is in JAX; a primitive's row names it as source, such as jnp.tanh({0})."""
    import jax.numpy as jnp
    import jax.scipy.special

    def chain(operator: Callable[[Any, Any], Any]) -> Callable[..., Any]:
        return lambda *args: functools.reduce(operator, args)

    table: dict[str, Callable[..., Any]] = {
        "add": chain(lambda a, b: a + b),
        "mul": chain(lambda a, b: a * b),
        "sqrt": jnp.sqrt,
        "sech": lambda u: 1.0 / jnp.cosh(u),
        "softplus": lambda u: jnp.logaddexp(u, 0.0),
        "relu": lambda u: jnp.maximum(u, 0.0),
        "heaviside": lambda u: jnp.heaviside(u, 0.5),
    }
    modules = {"jnp": jnp, "jax.scipy.special": jax.scipy.special}
    for row in PRIMITIVES:
        if row.name not in table:
            module, _, name = row.source.removesuffix("({0})").rpartition(".")
            table[row.name] = getattr(modules[module], name)
    return table


def source(expr: sp.Expr) -> str:
    """Return `expr` as one Python expression in an array `z`, using `jnp` and `jax.scipy.special`."""
    program = compile_expression(expr, floats=True)
    texts: list[str] = []
    for step in program:
        args = [texts[i] for i in step.args]
        if step.kind == "variable":
            texts.append("z")
        elif step.kind == "number":
            texts.append(repr(step.value) if step.value >= 0 else f"({step.value!r})")
        elif step.kind in ("add", "mul"):
            texts.append(f"({(' + ' if step.kind == 'add' else ' * ').join(args)})")
        elif step.kind == "pow":
            texts.append(f"{args[0]}**{step.value}" if step.value >= 0 else f"{args[0]}**({step.value})")
        elif step.kind == "sqrt":
            texts.append(f"jnp.sqrt({args[0]})")
        else:
            texts.append(BY_NAME[step.kind].source.format(args[0]))
    return texts[-1] if expr.has(z) else f"jnp.full_like(z, {texts[-1]})"
