"""The engine's equations for scale-invariant activations and one input: linear recursions with known coefficients.

For sigma(z) = a_+ z (z > 0), a_- z (z < 0) and C_b = 0 every expectation is a number times a power of the kernel,

    <d^p (sigma^i sigma'^j)>_K = A_(i+j) i!/(i-p)! (i-p-1)!! K^((i-p)/2),   A_m = (a_+^m + a_-^m) / 2,

with Dirac atoms at the kink dropped from products of derivatives. With chi = C_W A_2 the coefficients of the
recursions are polynomials in chi, lambda_b, lambda_W A_2 and the ratios a_m = A_m / A_2^(m/2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial
from typing import Any

import sympy
from sympy.polys.rings import PolyElement, PolyRing, ring

from pdlt.equations import Equation, Term
from pdlt.symbolic import depth_series
from pdlt.symbolic.depth_series import Series
from pdlt.symbolic.expressions import lambda_b, lambda_W
from pdlt.symbolic.widths import PowerSums

#: Depth, the index of summation over layers, the kernel of layer 1, and A_2 = (a_+^2 + a_-^2) / 2.
ell, layer = sympy.symbols("ell m", integer=True, positive=True)
K, A_2 = sympy.symbols("K A_2", positive=True)
#: chi = C_W A_2, the factor by which a layer multiplies the kernel, and chi^(m - 1), the kernel of layer m over K.
chi, GROWTH = sympy.symbols("chi growth", positive=True)

#: (name, order) of a coefficient -> its value as a function of depth.
Known = Mapping[tuple[str, int], Series]

KERNEL = ("K", 0)


def normalised(order: int) -> dict[int, sympy.Symbol]:
    """Return m -> the symbol a_m, as many as occur: order + 1 components bring 2 (order + 1) activations."""
    return {m: sympy.Symbol(f"a_{m}", positive=True) for m in range(4, 2 * order + 3, 2)}


def power_sum(r: int) -> sympy.Symbol:
    """Return the symbol of the sum of n_m^-r over the hidden layers m < ell."""
    return sympy.Symbol(f"p_{r}", positive=True)


@dataclass(frozen=True)
class Parameters:
    """The ring of the coefficients and its elements.

    Attributes:
        ring: polynomials over the rationals or, off criticality, over the rational functions of chi.
        kernel, bias, weight: the kernel of layer 1, lambda_b, and lambda_W A_2 (under the name of lambda_W).
        layer, growth: m and chi^(m - 1) for the response to the fluctuations of layer m.
        moments: m -> a_m.
        widths: 1 / n_l and power sums of inverse widths.
        chi: an element of the ring's field: 1 at criticality.
    """

    ring: PolyRing
    kernel: PolyElement
    bias: PolyElement
    weight: PolyElement
    layer: PolyElement
    growth: PolyElement
    moments: dict[int, PolyElement]
    widths: PowerSums
    chi: Any


@lru_cache(maxsize=16)
def parameters(order: int, critical: bool) -> Parameters:
    """Return the parameters that occur to an order in 1/n."""
    field = sympy.QQ if critical else sympy.QQ.frac_field(chi)
    names = normalised(order)
    sums = [power_sum(r) for r in range(1, order + 1)]
    symbols = [K, lambda_b, lambda_W, layer, GROWTH, *names.values(), sympy.Symbol("x"), *sums]
    coefficients, kernel, bias, weight, m, growth, *others = ring(symbols, field)
    moments = {2: coefficients.one, **dict(zip(names, others, strict=False))}
    inverse, *powers = others[len(names) :]
    return Parameters(
        ring=coefficients,
        kernel=kernel,
        bias=bias,
        weight=weight,
        layer=m,
        growth=coefficients.one if critical else growth,
        moments=moments,
        widths=PowerSums(inverse, tuple(powers)),
        chi=field.one if critical else field.gens[0],
    )


def split(
    equation: Equation, known: Known, p: Parameters, terms: Sequence[Term], weight: int | None = None
) -> tuple[Any, Series]:
    """Return the coefficient of the unknown itself, an element of the field, and the sum of all other terms.

    Args:
        equation: the recursion.
        known: the tensors on the right-hand side, except the unknown.
        p: the parameters.
        terms: those of the equation that count.
        weight: None if ratios of widths do not count; otherwise the tensors are without their powers of
            n = n_(l-1), the cumulant's power of 1 / n_l is `weight`, and a term has as many less as it inherits.

    Raises:
        ArithmeticError: if the recursion is not linear with constant coefficients; this is an error in pdlt.
    """
    unknown = (equation.name, equation.order)
    if unknown == KERNEL:
        # C_W <sigma sigma> = C_W A_2 K is the only term.
        return p.chi, {}
    own: list[Series] = []
    others: list[Series] = []
    for term in terms:
        value = _prefactor(term, p, known)
        if not value:
            continue
        if weight is not None:
            value = depth_series.product(value, {(0, 0): p.widths.inverse ** (weight - term.powers[4])})
        tensors = [(t.name, t.order) for t in term.tensors]
        for key in tensors:
            if key != unknown:
                value = depth_series.product(value, known[key])
        (own if unknown in tensors else others).append(value)
    coefficient = depth_series.total(own)
    number = coefficient.pop((0, 0), p.ring.zero)
    if coefficient or not number.is_ground:
        raise ArithmeticError(f"the recursion of {equation.key} is not linear with constant coefficients")
    return number.coeff(1), depth_series.total(others)


def _prefactor(term: Term, p: Parameters, known: Known) -> Series:
    """Return a term without its tensors: parameters and expectations."""
    c_b, biases, c_w, weights, _ = term.powers
    if c_b:
        return {}
    acting = [0] * len(term.expectations)
    for tensor in term.tensors:
        for arg in tensor.args:
            if arg < 0:
                acting[-1 - arg] += 1
    # C_W A_2 = chi; the generator called lambda_W stands for lambda_W A_2, and A_m = a_m A_2^(m/2).
    number = p.ring.domain.convert(sympy.QQ(term.coefficient.numerator, term.coefficient.denominator), sympy.QQ)
    value: Series = {(0, 0): p.bias**biases * p.weight**weights * (number * p.chi**c_w)}
    for factors, derivatives in zip(term.expectations, acting, strict=True):
        orders = [k for _, k in factors]
        power = orders.count(0)
        if max(orders) > 1 or derivatives > power:
            return {}
        remaining = power - derivatives
        if remaining % 2 or len(orders) % 2:
            raise ArithmeticError(f"the expectation {factors} with {derivatives} derivatives is not a power of K")
        half = remaining // 2
        moment = factorial(power) // (2**half * factorial(half))
        value = depth_series.product(value, {(0, 0): p.moments[len(orders)] * moment})
        for _ in range(half):
            value = depth_series.product(value, known[KERNEL])
    return value
