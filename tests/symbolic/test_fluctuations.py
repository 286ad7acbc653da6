"""Components' sources and responses against the derived equations of the tensors: exact."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest

from pdlt.equations import expand_terms
from pdlt.errors import PdltError
from pdlt.observables import NAMED, cumulant, identify
from pdlt.symbolic.cumulants import wick
from pdlt.symbolic.fluctuations import close, factors, free_directions, responses, sources
from pdlt.symbolic.recursion import derive_equation

TENSORS = [name for name, item in NAMED.items() if item.components == 2]

#: Also cumulants that have no name.
SPECS = ["a1 2 | 3 a4", "a1 b2 | b3 a4", "ab1 b2 | a3 4"]


def theta(labels, places):
    return ("Theta", 0, tuple(sorted(places[i - 1] for i in labels)))


def tensor(first, second):
    """The cumulant of two components, each a pair of directions and its two data labels."""
    inside = set(second[0][0]) & set(second[0][1])  # averaged: no relation to equal names in the other component
    apart = ["".join(sorted(c.upper() if c in inside else c for c in word)) for word in second[0]]
    item, feed = identify((*first[0], *apart))
    arguments = (*first[1], *second[1])
    return (item.name, 0, item.canonical(tuple(arguments[slot] for slot in feed)))


def averages(*groups):
    """(label, k) pairs of expectations, labels as data labels."""
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def at(sigmas, places):
    return [(places[label - 1], k) for label, k in sigmas]


def add(terms, powers, expectations, tensors, weight):
    key = (powers, expectations, tuple(sorted(tensors)))
    terms[key] = terms.get(key, Fraction(0)) + weight


def places_of(observable, factor):
    return tuple(observable.axis_labels[axis] for axis in factor.axes)


def equation(observable, respond=responses):
    """The recursion of a cumulant of two components, put together from what this package says about each of them."""
    one, two = factors(observable)
    here, there = places_of(observable, one), places_of(observable, two)
    terms = {}
    for (p, v), (q, w) in product(respond(one.pair), respond(two.pair)):
        a, b = p.coefficient, q.coefficient
        moved = tensor(*((r.pair, tuple(x[i - 1] for i in r.labels)) for r, x in ((p, here), (q, there))))
        kernels = [theta(labels, here) for labels in a.kernels] + [theta(labels, there) for labels in b.kernels]
        powers = (0, 0, a.powers[0] + b.powers[0], a.powers[1] + b.powers[1], 1)
        add(terms, powers, averages(at(a.sigmas, here), at(b.sigmas, there)), [moved, *kernels], v * w)
    for (p, v), (q, w) in product(sources(one.pair), sources(two.pair)):
        a, b = p.coefficient, q.coefficient
        kernels = [theta(labels, here) for labels in a.kernels] + [theta(labels, there) for labels in b.kernels]
        powers = (0, 0, a.powers[0] + b.powers[0], a.powers[1] + b.powers[1], 0)
        jets = [(d, here[i - 1]) for d, i in p.jets] + [(d, there[i - 1]) for d, i in q.jets]
        for pairing in wick(tuple(jets)):
            pairs = [theta((1, 2), (x[1], y[1])) for x, y in pairing]
            add(terms, powers, averages(at(a.sigmas, here) + at(b.sigmas, there)), kernels + pairs, v * w)
        if not jets:
            add(terms, powers, averages(at(a.sigmas, here), at(b.sigmas, there)), kernels, -v * w)
    return {key: weight for key, weight in terms.items() if weight}


@pytest.mark.parametrize("name", TENSORS + SPECS)
def test_sources_and_responses_are_the_derived_equation(name):
    observable = cumulant(NAMED[name].spec if name in NAMED else name)
    assert equation(observable) == expand_terms(derive_equation(observable, 0).terms)


@pytest.mark.parametrize("name", TENSORS)
def test_any_wrong_factor_in_a_response_would_be_seen(name):
    observable = NAMED[name]
    expected = expand_terms(derive_equation(observable, 0).terms)
    for factor in factors(observable):
        for wrong, _ in responses(factor.pair):

            def respond(pair, factor=factor, wrong=wrong):
                return [(r, 2 * w if (pair, r) == (factor.pair, wrong) else w) for r, w in responses(pair)]

            assert equation(observable, respond) != expected, wrong


def test_a_wrong_place_would_be_seen():
    def respond(pair):
        return [(replace(r, labels=r.labels[::-1]), w) for r, w in responses(pair)]

    assert equation(NAMED["P"], respond) != expand_terms(derive_equation(NAMED["P"], 0).terms)


def test_components_are_few_and_closed():
    pairs = close({factor.pair for name in TENSORS for factor in factors(NAMED[name])})
    assert pairs == (
        ("", ""), ("a", ""), ("a", "a"), ("a", "b"), ("ab", ""),
        ("ab", "b"), ("ab", "c"), ("ac", "b"), ("abc", "c"), ("ac", "bc"),
    )  # fmt: skip
    assert [free_directions(pair) for pair in pairs] == ["", "a", "", "ab", "ab", "a", "abc", "abc", "ab", "ab"]
    for pair in pairs:  # every term is linear in the derivatives along each free direction: their signs will do
        assert all("".join(sorted(d for d, _ in s.jets)) == free_directions(pair) for s, _ in sources(pair))
        assert {free_directions(r.pair) for r, _ in responses(pair)} == {free_directions(pair)}


@pytest.mark.parametrize("spec", ["ab1 2 | ab3 4", "abc1 a2 | bc3 4", "ab1 ab2 | 3 4", "1 2 | 3 4 | 5 6", "1 2"])
def test_cumulants_that_need_more_are_refused(spec):
    with pytest.raises(PdltError, match=r"is not a cumulant of two components .* accepted are V, A, B"):
        factors(cumulant(spec))


@pytest.mark.parametrize(
    "spec, name",
    [
        ("ab1 c4 | bc2 a3", "U"), ("c1 ab4 | ac2 b3", "U"), ("b2 c1 | bca3 a4", "R"), ("b1 a2 | a3 b4", "B"),
        ("a1 2 | b3 ba4", "Q"), ("ca1 c2 | ba3 b4", "T"), ("cb1 ab2 | c3 a4", "S"),
    ],
)  # fmt: skip
def test_cumulants_that_differ_by_names_have_the_same_components(spec, name):
    assert {f.pair for f in factors(cumulant(spec))} == {f.pair for f in factors(NAMED[name])}
