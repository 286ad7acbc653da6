"""The literature's notation: what a published formula is typed in, before it is compared with the derived one.

    published = C_W * mean(sigma(1) * sigma(2)) + C_b                        K' = C_b + C_W <sigma_1 sigma_2>
    published = sum_inputs(V(b1, b2, b3, b4) * mean(sigma(1) * sigma(2), b1, b2) * mean(..., b3, b4), b1, b2, b3, b4)

The first argument of `mean` may be any polynomial in sigmas; the angle brackets are linear. Everything returned is a
sympy expression in the classes of `pdlt.symbolic.expressions`.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

import sympy

from pdlt.errors import PdltError
from pdlt.pipeline import derive
from pdlt.symbolic.expressions import (
    C_W,
    C_b,
    Expectation,
    InputSum,
    Sigma,
    lambda_b,
    lambda_W,
    rho,
    tensor_symbol,
)

# fmt: off
__all__ = [
    "A", "B", "C_W", "C_b", "D", "F", "K_1", "Omega", "P", "Q", "R", "S", "T", "Theta", "Theta_1", "U", "V",
    "b1", "b2", "b3", "b4", "d", "derived", "lambda_W", "lambda_b", "mean", "relabelled", "rho", "sigma",
    "sum_inputs", "sum_over",
]
# fmt: on

#: Summation indices.
b1, b2, b3, b4 = sympy.symbols("b1:5")


def _tensor(name: str, order: int = 0) -> Callable[..., sympy.Indexed]:
    return lambda *args: tensor_symbol(name, order, args)


A, B, D, F, P, Q, R, S, T, U, V, Theta = map(_tensor, ("A", "B", "D", "F", "P", "Q", "R", "S", "T", "U", "V", "Theta"))
K_1, Theta_1 = _tensor("K", 1), _tensor("Theta", 1)


def sigma(label: int) -> sympy.Expr:
    """Return sigma at the preactivation on the input `label`."""
    return Sigma(0, label)


def d(label: int, times: int = 1) -> sympy.Expr:
    """Return the derivative of sigma at an input, of the stated order: sigma''_1 is the second one at input 1."""
    return Sigma(times, label)


def Omega(i: int, j: int) -> sympy.Expr:
    """Return PDLT's (8.74) up to normalisation: lambda_W sigma_i sigma_j + C_W Theta_ij sigma'_i sigma'_j."""
    return lambda_W * sigma(i) * sigma(j) + C_W * Theta(i, j) * d(i) * d(j)


def mean(f: sympy.Expr, *derivatives: sympy.Symbol) -> sympy.Expr:
    """Return <d_b1 d_b2 ... f>, linear in f; what is not a sigma is taken out of the brackets.

    Raises:
        PdltError: for a power of a sigma (labels in the literature's formulas are distinct) or no sigma at all.
    """
    total = sympy.S.Zero
    for term in sympy.Add.make_args(sympy.expand(f)):
        factors = sympy.Mul.make_args(term)
        inside = [x for x in factors if isinstance(x, Sigma)]
        outside = sympy.Mul(*(x for x in factors if not isinstance(x, Sigma)))
        if not inside or outside.has(Sigma):
            raise PdltError(f"Argument `f` must be a polynomial in sigmas, at most to the first power, but got {f}.")
        total += outside * Expectation(sympy.Mul(*inside), *derivatives)
    return total


def sum_inputs(f: sympy.Expr, *indices: sympy.Symbol) -> sympy.Expr:
    """Return the sum of f over indices that run through the inputs in the brackets they differentiate."""
    return sympy.Add(*(InputSum(term, *indices) for term in sympy.Add.make_args(sympy.expand(f))))


def sum_over(labels: Sequence[int], f: sympy.Expr, *indices: sympy.Symbol) -> sympy.Expr:
    """Return the sum of f with every index running through the stated inputs, whatever it differentiates."""
    choices = product(labels, repeat=len(indices))
    return sympy.Add(*(f.xreplace(dict(zip(indices, map(sympy.Integer, values), strict=True))) for values in choices))


@cache
def derived(key: str, order: int = 1) -> sympy.Expr:
    """Return the derived right-hand side of a coefficient such as "V" or "K_1", sums over inputs carried out."""
    return derive([key.partition("_")[0]], order=order)[key].expanded()


def relabelled(expression: sympy.Expr, labels: dict[int, int]) -> sympy.Expr:
    """Return an expression without summation indices with its data labels replaced, all at once."""
    table = {sympy.Integer(old): sympy.Integer(new) for old, new in labels.items()}

    def sigma_of(k: sympy.Expr, label: sympy.Expr) -> sympy.Expr:
        return Sigma(k, table.get(label, label))

    def tensor_of(node: sympy.Indexed) -> sympy.Expr:
        return node.base[tuple(table.get(i, i) for i in node.indices)]

    return expression.replace(Sigma, sigma_of).replace(lambda e: isinstance(e, sympy.Indexed), tensor_of)
