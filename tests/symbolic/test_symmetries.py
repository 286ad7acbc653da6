"""Index symmetries: those that `Observable.canonical` uses are those that the numbers have, no more and no fewer."""

from fractions import Fraction
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest

import pdlt
from pdlt.checks.arithmetic import iterate
from pdlt.checks.gaussian import polynomial_averages
from pdlt.observables import NAMED, Observable, cumulant, identify, vanishes

INPUTS = np.array([[0.9, -0.4, 1.1], [0.3, 0.8, -0.5], [-0.7, 0.2, 0.6]])
SPECS = ("ab1 ab2 | 3 4", "1 2 | 3 4 | 5 6")


@cache
def exact(name: str) -> np.ndarray:
    """Return a tensor at layer 3 on three generic inputs, as rational numbers."""
    gram = [[Fraction(round(100 * g), 100) for g in row] for row in INPUTS @ INPUTS.T / 3]
    kernel = [[Fraction(1, 5) + g / 2 for g in row] for row in gram]
    tangent = [[Fraction(1, 3) + g * 3 / 4 for g in row] for row in gram]
    parameters = {"C_b": Fraction(1, 5), "C_W": Fraction(1, 2), "lambda_b": Fraction(1, 3), "lambda_W": Fraction(3, 4)}
    sigma = (Fraction(0), Fraction(1), Fraction(1, 2), Fraction(-1, 6))
    item = observed(name)
    theory = pdlt.derive([name], order=item.leading_order)
    steps = [{**parameters, "rho": Fraction(1)}] * 2
    if item.components > 2:
        steps = steps[:1]
    base, feed = identify(item.slots)
    values = iterate(theory, kernel, tangent, polynomial_averages(sigma), steps)[-1][base.name]
    array = np.empty((3,) * len(item.slots), dtype=object)
    for inputs in product(range(3), repeat=len(item.slots)):
        slots = dict(zip(item.axes, inputs, strict=True))
        array[inputs] = values[tuple(slots[slot] for slot in feed)]
    return array


def observed(name: str) -> Observable:
    return NAMED[name] if name in NAMED else cumulant(name)


def claimed(item: Observable) -> set[tuple[int, ...]]:
    """Return the permutations of axes that `canonical` identifies."""
    axes = tuple(range(len(item.slots)))
    return {p for p in permutations(axes) if item.canonical(p) == item.canonical(axes)}


@pytest.mark.parametrize("name", [*NAMED, SPECS[0]])
def test_symmetries_are_exactly_those_of_the_numbers(name: str) -> None:
    array = exact(name)
    found = {p for p in permutations(range(array.ndim)) if (array.transpose(p) == array).all()}
    inverse = {tuple(int(i) for i in np.argsort(p)) for p in claimed(observed(name))}
    assert found == inverse


def test_six_point_cumulant_has_its_48_symmetries() -> None:
    array, item = exact(SPECS[1]), observed(SPECS[1])
    assert len(claimed(item)) == 48
    for p in claimed(item):
        assert (array.transpose(p) == array).all()
    assert not (array.transpose(0, 2, 1, 3, 4, 5) == array).all()


@pytest.mark.parametrize("name", ["V", "F", "P", "R"])
def test_predictions_have_them_too(name: str) -> None:
    net = pdlt.MLP(depth=3, width=10, activation="sin", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
    array = pdlt.predict(net, INPUTS, observables=[name])[name].values[-1]
    allowed = claimed(observed(name))
    for p in permutations(range(4)):
        same = np.allclose(array.transpose(np.argsort(p)), array, rtol=1e-7, atol=1e-9 * abs(array).max())
        assert same == (p in allowed)


def test_canonical_is_constant_on_classes_and_idempotent() -> None:
    for item in NAMED.values():
        axes = tuple(range(len(item.slots)))
        for p in permutations(axes):
            smallest = item.canonical(p)
            assert item.canonical(smallest) == smallest <= p


def test_selection_rule() -> None:
    assert vanishes(("a", ""))
    assert vanishes(("ab", "", "a", ""))
    assert not vanishes(("ab", "", "a", "b"))
    for item in NAMED.values():
        assert not vanishes(item.slots)


@pytest.mark.parametrize(
    ("slots", "name", "feed"),
    [
        (("", "", "b", "b"), "D", (0, 1, 2, 3)),
        (("c", "c", "", ""), "D", (2, 3, 0, 1)),
        (("x", "", "", "x"), "F", (1, 0, 2, 3)),
        (("b", "c", "bc", ""), "P", (2, 0, 1, 3)),
    ],
)
def test_renamed_and_reordered_cumulants_are_recognised(slots, name: str, feed: tuple[int, ...]) -> None:
    item, found = identify(slots)
    assert item.name == name
    assert item.canonical(found) == item.canonical(feed)


def test_different_pairings_of_the_same_letters_are_different_tensors() -> None:
    assert cumulant("a1 b3 | a2 b4").name == "B"
    assert cumulant("a1 a3 | b2 b4").name == "A"
    assert len({cumulant(o.spec).name for o in NAMED.values()}) == len(NAMED)
