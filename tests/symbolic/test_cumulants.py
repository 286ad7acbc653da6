"""The two expansions of the engine: a Gaussian expectation in its covariance, a cumulant of products in cumulants."""

from fractions import Fraction
from functools import cache
from itertools import product
from math import factorial, prod

import pytest
import sympy

from pdlt.symbolic.cumulants import (
    outer_cumulants,
    partitions_of,
    single_neuron_cumulant,
    tuples_up_to,
    variations,
    wick,
)
from pdlt.symbolic.jets import Jet, Monomial

t = sympy.Symbol("t")
SIGMA = (1, 2, -1, 3)  # sigma(z) = 1 + 2 z - z^2 + 3 z^3
FIELDS: list[Jet] = [("", 1), ("", 2), ("a", 1), ("a", 2), ("ab", 1)]
PLAIN = [jet for jet in FIELDS if not jet[0]]

# Leading kernel: block diagonal in the directions. Its perturbation: anything symmetric.
LEADING = {
    **{(("", 1), ("", 1)): 2, (("", 1), ("", 2)): 1, (("", 2), ("", 2)): 3},
    **{(("a", 1), ("a", 1)): 5, (("a", 1), ("a", 2)): -2, (("a", 2), ("a", 2)): 4, (("ab", 1), ("ab", 1)): 7},
}


def kernel(first: Jet, second: Jet) -> int:
    return LEADING.get((first, second), LEADING.get((second, first), 0))


def delta(first: Jet, second: Jet) -> int:
    i, j = sorted((FIELDS.index(first), FIELDS.index(second)))
    return (3 * i + 5 * j + i * j) % 7 - 3


def polynomial(sigmas, jets) -> sympy.Poly:
    """Return prod sigma^(k)(z) * prod jets as a polynomial in the fields."""
    symbols = {jet: sympy.Symbol(f"z{jet[0]}{jet[1]}") for jet in FIELDS}
    value = sympy.Mul(*(symbols[jet] for jet in jets))
    for label, k in sigmas:
        z = symbols["", label]
        value *= sympy.diff(sum(c * z**m for m, c in enumerate(SIGMA)), z, k)
    return sympy.Poly(value, *symbols.values())


def average(f: sympy.Poly, covariance) -> sympy.Expr:
    """Isserlis, by recursion: E[z_i g] = sum_j C_ij E[d_j g]."""

    @cache
    def moment(exponents: tuple[int, ...]) -> sympy.Expr:
        if not any(exponents):
            return sympy.Integer(1)
        i = next(i for i, e in enumerate(exponents) if e)
        rest = tuple(e - (k == i) for k, e in enumerate(exponents))
        return sympy.expand(
            sum(
                covariance(FIELDS[i], FIELDS[j]) * e * moment(tuple(x - (k == j) for k, x in enumerate(rest)))
                for j, e in enumerate(rest)
                if e
            )
        )

    return sympy.expand(sum(c * moment(exponents) for exponents, c in f.terms()))


def taylor_term(monomial: Monomial, count: int) -> sympy.Expr:
    """Return the engine's expansion with the sums over plain inputs carried out."""
    total = sympy.Integer(0)
    for variation, weight in variations(monomial, count).items():
        slots = [slot for pair in variation.deltas for slot in pair]
        summed = [i for i, slot in enumerate(slots) if slot is None]
        for choice in product(PLAIN, repeat=len(summed)):
            chosen = list(slots)
            f = polynomial(variation.monomial.sigmas, variation.monomial.jets)
            for i, jet in zip(summed, choice, strict=True):
                chosen[i] = jet
                f = f.diff(f.gens[FIELDS.index(jet)])
            deltas = prod(delta(*pair) for pair in zip(chosen[::2], chosen[1::2], strict=True))
            total += sympy.Rational(weight.numerator, weight.denominator) * deltas * average(f, kernel)
    return total


MONOMIALS = [
    Monomial((1, 0), ((1, 0), (2, 0)), ()),
    Monomial((1, 0), ((1, 1), (2, 1)), (("a", 1), ("a", 2))),
    Monomial((1, 0), ((1, 0), (2, 1)), (("a", 2),)),
    Monomial((1, 0), ((1, 1),), (("a", 1), ("a", 1), ("a", 2), ("ab", 1))),
]


@pytest.mark.parametrize("monomial", MONOMIALS, ids=lambda m: f"{m.sigmas}{m.jets}")
@pytest.mark.parametrize("count", [0, 1, 2])
def test_variations_are_the_taylor_terms_of_a_gaussian_expectation(monomial: Monomial, count: int) -> None:
    f = polynomial(monomial.sigmas, monomial.jets)
    exact = average(f, lambda a, b: kernel(a, b) + t * delta(a, b))
    assert taylor_term(monomial, count) == exact.coeff(t, count)


def test_the_comparison_notices_a_forgotten_half() -> None:
    monomial = MONOMIALS[0]
    f = polynomial(monomial.sigmas, monomial.jets)
    exact = average(f, lambda a, b: kernel(a, b) + t * delta(a, b)).coeff(t, 1)
    assert exact != 0
    assert 2 * taylor_term(monomial, 1) != exact


@pytest.mark.parametrize("pairs", range(5))
def test_wick_pairings_of_one_direction_are_double_factorials(pairs: int) -> None:
    jets = tuple(("a", i) for i in range(2 * pairs))
    found = list(wick(jets))
    assert len(found) == factorial(2 * pairs) // (2**pairs * factorial(pairs))
    assert len({frozenset(map(frozenset, pairing)) for pairing in found}) == len(found)


def test_wick_pairs_only_equal_directions() -> None:
    assert list(wick((("a", 1), ("b", 2)))) == []
    assert list(wick((("a", 1),))) == []
    assert len(list(wick((("a", 1), ("b", 2), ("a", 3), ("b", 4))))) == 1
    assert len(list(wick(tuple(("a", i) for i in range(4)) + tuple(("ab", i) for i in range(4))))) == 9


def test_wick_is_isserlis_under_the_leading_kernel() -> None:
    jets = (("a", 1), ("a", 1), ("a", 2), ("a", 2), ("ab", 1), ("ab", 1))
    summed = sum(prod(kernel(*pair) for pair in pairing) for pairing in wick(jets))
    assert summed == average(polynomial((), jets), kernel)


@pytest.mark.parametrize("size", range(1, 5))
def test_single_neuron_cumulants_have_moebius_signs(size: int) -> None:
    # The cumulant of one constant variable with itself vanishes beyond the first.
    components = tuple((("", 2 * i), ("", 2 * i + 1)) for i in range(size))
    assert sum(sign for sign, _ in single_neuron_cumulant(components)) == (size == 1)
    assert len(list(single_neuron_cumulant(components))) == len(partitions_of(size))


def numbers_of(found) -> list:
    """Return (cells, orders) of each outer cumulant with its multiplicity."""
    return sorted((sorted((len(cell), j) for cell, j in cells), n) for cells, n in found.items())


def plain(*names: str):
    """Return deltas of plain slots, told apart by the labels of their summation slots."""
    return tuple((("", -2 * i - 1), ("", -2 * i - 2)) for i, _ in enumerate(names))


def test_the_mean_of_one_delta_begins_at_order_one() -> None:
    (one,) = plain("x")
    assert numbers_of(outer_cumulants(((0, one),), 1, 1)) == [([(1, 1)], 1)]
    assert numbers_of(outer_cumulants(((0, one),), 1, 0)) == []


def test_the_mean_of_two_deltas_is_their_covariance_and_at_the_next_order_more() -> None:
    x, y = plain("x", "y")
    both = ((0, x), (0, y))
    assert numbers_of(outer_cumulants(both, 1, 1)) == [([(2, 0)], 1)]
    # kappa(x, y) at its first correction, and E[x] E[y].
    assert numbers_of(outer_cumulants(both, 1, 2)) == [([(1, 1), (1, 1)], 1), ([(2, 1)], 1)]


def test_a_joint_cumulant_has_only_linking_terms() -> None:
    x, y, z = plain("x", "y", "z")
    assert numbers_of(outer_cumulants(((0, x), (1, y)), 2, 1)) == [([(2, 0)], 1)]
    # kappa(xy, z) = kappa(x, y, z) + E[x] kappa(y, z) + E[y] kappa(x, z): E[z] kappa(x, y) does not link z.
    found = numbers_of(outer_cumulants(((0, x), (0, y), (1, z)), 2, 2))
    assert found == [([(1, 1), (2, 0)], 1), ([(1, 1), (2, 0)], 1), ([(3, 0)], 1)]


def test_odd_directions_are_left_out() -> None:
    mixed = (("", -1), ("a", 2))
    assert numbers_of(outer_cumulants(((0, mixed),), 1, 1)) == []
    assert len(outer_cumulants(((0, mixed), (0, (("", -2), ("a", 3)))), 1, 1)) == 1


def test_tuples_up_to() -> None:
    assert sorted(tuples_up_to(2, 2)) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    assert list(tuples_up_to(3, 0)) == [()]


def test_rational_weights_sum_like_an_exponential() -> None:
    # With delta = K the expansion rescales the covariance, <z^2>_(1+t)K: only the first order is not zero.
    monomial = Monomial((0, 0), (), (("a", 1), ("a", 1)))
    assert sum(variations(monomial, 1).values()) - Fraction(1, 2) == 3  # (None, jet) twice, (jet, jet) once
