"""The layer map against brute force: perturb a network along directions, multiply out, average over fresh weights."""

from itertools import combinations
from math import factorial

import pytest
import sympy

from pdlt.symbolic.jets import Monomial, activation_jet, layer_map, product, set_partitions

ALPHA, BETA = 1, 2


def eps(s: str) -> sympy.Symbol:
    return sympy.Symbol(f"eps_{s}")


def field(block: str, label: int) -> sympy.Symbol:
    return sympy.Symbol(f"z_{block}{label}")


def slope(k: int, label: int) -> sympy.Symbol:
    return sympy.Symbol(f"s{k}_{label}")


def subsets(directions: str) -> list[str]:
    return ["".join(c) for k in range(1, len(directions) + 1) for c in combinations(directions, k)]


def coefficient(expression: sympy.Expr, directions: str) -> sympy.Expr:
    """Return the mixed derivative along all directions at zero."""
    for s in directions:
        expression = sympy.expand(expression).coeff(eps(s), 1)
    return expression


def perturbed_activation(directions: str, label: int) -> sympy.Expr:
    """Return sigma(z(eps)), expanded around z: sum_k sigma^(k)(z) shift^k / k!."""
    shift = sum(sympy.Mul(*map(eps, block)) * field(block, label) for block in subsets(directions))
    return sum(slope(k, label) * shift**k / factorial(k) for k in range(len(directions) + 1))


def brute_force(first: tuple[str, int], second: tuple[str, int]) -> sympy.Expr:
    """Return the covariance of two jets of the next layer per neuron, from z'(eps) = W(eps) sigma(z(eps))."""
    letters = sorted(set(first[0] + second[0]))
    weight = {s: sympy.Symbol(f"W_{s}") for s in ["", *letters]}

    def jet(directions: str, label: int) -> sympy.Expr:
        perturbed = weight[""] + sum(eps(s) * weight[s] for s in directions)
        return coefficient(perturbed * perturbed_activation(directions, label), directions)

    products = sympy.expand(jet(*first) * jet(*second))
    rates = {"": sympy.Symbol("C_W"), **dict.fromkeys(letters, sympy.Symbol("lambda_W"))}
    return sympy.expand(sum(rates[s] * products.coeff(w, 2) for s, w in weight.items()))


def expression(terms) -> sympy.Expr:
    return sympy.expand(sum(sympy.Rational(c.numerator, c.denominator) * _monomial(m) for m, c in terms))


def _monomial(m: Monomial) -> sympy.Expr:
    cw, lw = sympy.Symbol("C_W") ** m.powers[0], sympy.Symbol("lambda_W") ** m.powers[1]
    return cw * lw * sympy.Mul(*(slope(k, i) for i, k in m.sigmas), *(field(s, i) for s, i in m.jets))


JETS = ["", "a", "b", "ab", "ac", "abc", "bcd"]


@pytest.mark.parametrize("second", JETS)
@pytest.mark.parametrize("first", JETS)
def test_layer_map_is_the_covariance_of_a_perturbed_layer(first: str, second: str) -> None:
    one, two = (first, ALPHA), (second, BETA)
    assert expression(layer_map(one, two)) == brute_force(one, two)


def test_the_comparison_notices_a_missing_learning_rate() -> None:
    terms = [(m, c) for m, c in layer_map(("ab", ALPHA), ("a", BETA)) if not m.powers[1]]
    assert expression(terms) != brute_force(("ab", ALPHA), ("a", BETA))


@pytest.mark.parametrize("directions", [*JETS, "abcd"])
def test_chain_rule(directions: str) -> None:
    found = expression((m, sympy.Integer(1)) for m in activation_jet(directions, ALPHA))
    assert found == sympy.expand(coefficient(perturbed_activation(directions, ALPHA), directions))


@pytest.mark.parametrize(("size", "bell"), list(enumerate([1, 1, 2, 5, 15, 52, 203, 877])))
def test_set_partitions_are_counted_by_bell_numbers(size: int, bell: int) -> None:
    partitions = list(set_partitions(tuple(range(size))))
    assert len(partitions) == bell
    assert len({frozenset(map(frozenset, p)) for p in partitions}) == bell
    assert all(sorted(sum(map(list, p), [])) == list(range(size)) for p in partitions)


def test_products_of_polynomials_are_products() -> None:
    factors = (layer_map(("a", 1), ("", 2)), layer_map(("a", 3), ("b", 4)))
    multiplied = sympy.expand(expression(factors[0]) * expression(factors[1]))
    assert expression(product(factors).items()) == multiplied
