"""The whole recursion, to order two, against exact moments of finite networks with polynomial activations.

Neither side knows of the other: the engine expands in cumulants, the witness (pdlt.checks.moments) evaluates the
moments of a network of widths n_l = r_l N exactly, as polynomials in 1/N. Rational arithmetic, so equal means equal.
"""

from fractions import Fraction
from functools import cache
from math import prod

import numpy as np
import pytest

import pdlt
from pdlt.checks.arithmetic import iterate, single_input
from pdlt.checks.gaussian import polynomial_averages
from pdlt.checks.moments import PolynomialNetwork
from pdlt.equations import variable
from pdlt.observables import identify, observable

QUADRATIC = (Fraction(1, 3), Fraction(1), Fraction(1, 2))
CUBIC = (Fraction(0), Fraction(1), Fraction(0), Fraction(-1, 6))
ONE = ((Fraction(2, 3),),)
TWO = ((Fraction(1), Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3)))
SIX = "1 2 | 3 4 | 5 6"


def network(sigma=QUADRATIC, gram=TWO) -> PolynomialNetwork:
    return PolynomialNetwork(
        sigma=sigma,
        gram=gram,
        ratios=(Fraction(2), Fraction(3), Fraction(1)),
        C_b=Fraction(1, 5),
        C_W=Fraction(1, 2),
        lambda_b=Fraction(1, 3),
        lambda_W=Fraction(3, 4),
    )


#: Derived together, so that a theory is iterated once.
TOGETHER = [("K", "V", SIX), ("Theta", "B", "D", "F", "A"), ("P", "Q"), ("R", "S", "T", "U")]


@cache
def recursion(names: tuple[str, ...], order: int, net: PolynomialNetwork) -> list:
    """Return all tensors at layers 1, 2, ... (four layers for the preactivations, three for derivatives)."""
    theory = pdlt.derive(list(names), order=order)
    steps = net.parameters()[: 3 if "K" in names else 2]
    return iterate(theory, *net.first_layer(), polynomial_averages(net.sigma), steps)


def both(name: str, order: int, net: PolynomialNetwork, layer: int, inputs: tuple[int, ...]) -> tuple[list, list]:
    """Return all coefficients of an observable up to an order: from the recursion, and exactly."""
    item = observable(name)
    place = dict(zip(item.axis_labels, inputs, strict=True))
    base, feed = identify(item.slots)
    arguments = tuple(place[item.labels[slot]] for slot in feed)
    names = next((group for group in TOGETHER if name in group), (name,))
    state = recursion(names, order, net)[layer - 1]
    terms = order - item.leading_order + 1
    values = [state[variable(base.name, j)][arguments] for j in range(terms)]
    return values, list(net.coefficients(item.spec, place, layer, terms))


@pytest.mark.parametrize(
    ("name", "layer", "inputs"),
    [
        ("K", 3, (0, 1)),
        ("K", 4, (0, 0)),
        ("K", 4, (0, 1)),
        ("V", 3, (0, 1, 0, 1)),
        ("V", 3, (0, 0, 0, 1)),
        (SIX, 3, (0, 1, 0, 1, 0, 1)),
        (SIX, 3, (0, 0, 0, 1, 1, 1)),
        ("Theta", 3, (0, 1)),
        ("D", 3, (0, 1, 1, 1)),
        ("F", 3, (0, 1, 1, 0)),
        ("B", 3, (0, 1, 1, 0)),
    ],
)
def test_order_two_on_two_inputs(name: str, layer: int, inputs: tuple[int, ...]) -> None:
    values, exact = both(name, 2, network(), layer, inputs)
    assert all(exact[:1])
    assert values == exact


@pytest.mark.parametrize("name", ["V", "A", "P", "Q", "a1 a2 | b3 b4 | 5 6", "a1 3 | a2 4 | 5 6"])
def test_order_two_on_one_input(name: str) -> None:
    net = network(gram=ONE)
    inputs = (0,) * len(observable(name).slots)
    values, exact = both(name, 2, net, 3, inputs)
    assert all(exact[:1])
    assert values == exact


def test_order_two_at_layer_four_with_all_its_feedback() -> None:
    values, exact = both("V", 2, network(gram=ONE), 4, (0,) * 4)
    assert values == exact
    assert exact[1] != 0


def test_order_three() -> None:
    net = network(gram=ONE)
    theory = pdlt.derive(["K"], order=3)
    kernel, tangent = (matrix[0][0] for matrix in net.first_layer())
    state = {**dict.fromkeys(theory.keys(), Fraction(0)), "K": kernel, "Theta": tangent}
    for parameters in net.parameters():
        average = single_average(net.sigma, state["K"])
        state = {e.key: single_input(e, state, average, parameters) for e in theory}
    exact = net.coefficients("1 2", {1: 0, 2: 0}, layer=4, terms=4)
    assert [state[key] for key in ("K", "K_1", "K_2", "K_3")] == list(exact)
    assert exact[3] != 0


def single_average(sigma, kernel):
    """Return the expectation of the p-th derivative of a product of derivatives of a polynomial."""

    @cache
    def average(orders: tuple[int, ...], p: int) -> Fraction:
        f = [Fraction(1)]
        for k in orders:
            f = list(object_convolve(f, derivative(list(sigma), k)))
        moments = (prod(range(1, m, 2)) * kernel ** (m // 2) if m % 2 == 0 else 0 for m in range(30))
        return sum((c * m for c, m in zip(derivative(f, p), moments, strict=False)), Fraction(0))

    return average


def derivative(coefficients: list, times: int) -> list:
    for _ in range(times):
        coefficients = [m * c for m, c in enumerate(coefficients)][1:]
    return coefficients or [Fraction(0)]


def object_convolve(f: list, g: list) -> np.ndarray:
    return np.convolve(np.array(f, dtype=object), np.array(g, dtype=object))


@pytest.mark.parametrize("name", ["R", "S", "T", "U"])
def test_third_derivatives_of_the_activation(name: str) -> None:
    values, exact = both(name, 1, network(CUBIC, ONE), 3, (0,) * 4)
    assert all(exact)
    assert values == exact


def test_an_unnamed_cumulant() -> None:
    spec = "ab1 ab2 | 3 4"
    values, exact = both(spec, 1, network(), 3, (0, 1, 1, 1))
    assert all(exact)
    assert values == exact


def test_the_comparison_notices_what_it_should() -> None:
    """Another width ratio, a dropped term, a swapped index: each changes the numbers."""
    values, exact = both("V", 2, network(), 3, (0, 0, 1, 1))
    assert values == exact
    assert both("V", 2, network(), 3, (0, 1, 0, 1))[0] != exact
    theory = pdlt.derive(["V"], order=1)
    net = network()
    equal = [{**p, "rho": Fraction(1)} for p in net.parameters()[:2]]
    wrong = iterate(theory, *net.first_layer(), polynomial_averages(net.sigma), equal)[-1]
    assert wrong["V"][0, 0, 1, 1] != exact[0]
