"""The built-in activations: one row each."""

from fractions import Fraction

import sympy as sp

from pdlt.activations import text
from pdlt.activations.functions import normal_cdf, sigmoid, softplus, z
from pdlt.activations.kinks import Slopes

SMOOTH: dict[str, sp.Expr] = {
    "linear": z,
    "tanh": sp.tanh(z),
    "sin": sp.sin(z),
    "cos": sp.cos(z),
    "erf": sp.erf(z),
    "gelu": z * normal_cdf(z),
    "silu": z * sigmoid(z),
    "softplus": softplus(z),
    "sigmoid": sigmoid(z),
}

KINKED: dict[str, Slopes] = {
    "relu": (sp.Integer(0), sp.Integer(1)),
    "abs": (sp.Integer(-1), sp.Integer(1)),
}
"""Slopes (s_minus, s_plus) left and right of the origin."""

ALIASES = {"swish": "silu", "logistic": "sigmoid"}


def name_of(expr: sp.Expr, slopes: Slopes | None) -> str | None:
    """Return the name that reads as this expression, "leaky_relu(0.2)" included, if there is one."""
    if slopes is None:
        return next((name for name, row in SMOOTH.items() if row == expr), None)
    for name, row in KINKED.items():
        if row == slopes:
            return name
    minus, plus = slopes
    return f"leaky_relu({_short(minus)})" if plus == 1 else None


def _short(number: sp.Expr) -> str:
    """Return a number's text: a decimal where that is exact."""
    if number.is_Rational and Fraction(repr(float(number))) == Fraction(number.p, number.q):
        return repr(float(number))
    return text.to_text(number)
