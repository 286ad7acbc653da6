"""erf, sin, cos and polynomials: exact expressions against published kernels, Wick's theorem and the slow twin."""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_systems import arcsine

from pdlt.activations import activation
from pdlt.numerics import error_function, rules, trigonometric
from pdlt.numerics.backends import Polynomial, choose, evaluate
from pdlt.numerics.reference import averages as slow_averages

KERNEL = np.array([[1.3, 0.4], [0.4, 0.8]])


def orders(*ks: int) -> tuple:
    """Return the expectation of prod sigma^(k) with one label per factor."""
    return tuple((0, (k,)) for k in ks)


def erf_averages(kernel: np.ndarray, wanted: list, level: int = 2) -> list[np.ndarray]:
    found = compiled(tuple(wanted))(jnp.asarray(kernel), rules.legendre(level))
    return [np.asarray(a) for a in found]


@functools.cache
def compiled(wanted: tuple) -> Callable[..., tuple]:
    return jax.jit(lambda kernel, rule: error_function.averages(kernel, wanted, rule))


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9, 0.999999])
def test_arcsine_kernel(rho: float) -> None:
    kernel = np.array([[2.0, rho * math.sqrt(1.4)], [rho * math.sqrt(1.4), 0.7]])
    value = erf_averages(kernel, [orders(0, 0)])[0]
    assert value[0, 1] == pytest.approx(arcsine(kernel), abs=1e-15)
    assert value[1, 1] == pytest.approx(arcsine(kernel[[[1], [1]], [[1, 1]]]), abs=1e-15)
    # Forgetting the 1 in 1 + 2K is the classical slip.
    assert abs(value[1, 1] - arcsine(1000 * kernel[[[1], [1]], [[1, 1]]])) > 0.1


@pytest.mark.parametrize("variance", [0.1, 1.0, 4.0, 100.0])
def test_fourth_moment_of_erf(variance: float) -> None:
    """<erf^4> on one input is a four-dimensional orthant; the witness is one trapezoidal sum.

    The sum has 4000 nodes; level 0 of the rule (24 nodes) is good to 1e-8 already, level 2 to rounding.
    """
    u = (np.arange(4000) - 1999.5) / 200
    erf = np.array([math.erf(math.sqrt(variance) * x) for x in u])
    expected = (np.exp(-(u**2) / 2) / math.sqrt(2 * math.pi) / 200) @ erf**4
    for level, tolerance in ((0, 1e-8), (2, 1e-12)):
        value = erf_averages(np.array([[variance]]), [orders(0, 0, 0, 0)], level)[0]
        assert float(value.reshape(())) == pytest.approx(expected, rel=tolerance)


def test_two_nodes_are_too_few() -> None:
    """The one integral matters: a rule of two nodes is off by more than the tolerances above."""
    wanted = (orders(0, 0, 0, 0),)
    coarse = compiled(wanted)(jnp.asarray([[1.0]]), np.polynomial.legendre.leggauss(2))[0]
    assert abs(float(coarse.reshape(())) - erf_averages(np.ones((1, 1)), list(wanted))[0].item()) > 1e-5


CASES = [orders(*ks) for ks in [(0, 0), (1, 1), (0, 2), (3, 1), (0, 1, 2, 0), (0, 0, 1, 1), (1, 1, 1, 1), (0, 2, 1, 1)]]


def test_erf_against_the_slow_twin() -> None:
    found = erf_averages(KERNEL, CASES)
    for average, fast, slow in zip(CASES, found, slow_averages(activation("erf"), KERNEL, CASES), strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-11, atol=1e-13, err_msg=str(average))


@pytest.mark.parametrize(("name", "phase"), [("sin", 0), ("cos", 1)])
def test_trigonometric_against_the_slow_twin(name: str, phase: int) -> None:
    found, other = (
        jax.jit(lambda kernel, p=p: trigonometric.averages(p, kernel, CASES))(jnp.asarray(KERNEL))
        for p in (phase, 1 - phase)
    )
    distance = 0.0
    for average, fast, slow, wrong in zip(
        CASES, found, slow_averages(activation(name), KERNEL, CASES), other, strict=True
    ):
        np.testing.assert_allclose(fast, slow, rtol=1e-12, atol=1e-14, err_msg=str(average))
        distance = max(distance, float(np.abs(wrong - slow).max()))
    assert distance > 0.1  # sin and cos are told apart


def isserlis(indices: tuple[int, ...], kernel: np.ndarray) -> float:
    """Return E prod z_i by summing over pairings."""
    if not indices:
        return 1.0
    first, *rest = indices
    return sum(kernel[first, j] * isserlis(tuple(rest[:i] + rest[i + 1 :]), kernel) for i, j in enumerate(rest))


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_polynomials_are_exact(degree: int) -> None:
    """sigma = z^m: sigma^(k) = m!/(m-k)! z^(m-k), and Wick's theorem gives every entry; rounding only."""
    sigma = activation("linear" if degree == 1 else f"z**{degree}")
    cases = [orders(0, 0), orders(1, 1), orders(0, 0, 1, 1)]
    backend = choose(sigma, 2, cases)
    assert isinstance(backend, Polynomial)
    values, errors = evaluate(backend, KERNEL, cases)
    for average, array, error in zip(cases, values, errors, strict=True):
        assert error.max() <= 1e-15 * np.abs(array).max()
        for entry in itertools.product(range(2), repeat=len(average)):
            powers = [degree - ks[0] for _, ks in average]
            factor = math.prod(math.perm(degree, ks[0]) for _, ks in average)
            indices = tuple(i for i, p in zip(entry, powers, strict=True) for _ in range(p))
            assert array[entry] == pytest.approx(factor * isserlis(indices, KERNEL), rel=1e-12, abs=1e-14)


def test_too_low_a_degree_is_seen() -> None:
    """The same Gauss-Hermite rule with one node less is wrong: exactness is not an accident of generous grids."""
    rule = rules.hermite(1, 12)
    short = rules.hermite(1, 10)
    assert rule.weights @ rule.nodes[:, 0] ** 12 == pytest.approx(10395)
    assert abs(short.weights @ short.nodes[:, 0] ** 12 - 10395) > 100
