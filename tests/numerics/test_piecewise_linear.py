"""ReLU and its relatives: arc-cosine kernels, the slow twin, and the meaning of products at the kink."""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from reference_systems import arc_cosine

from pdlt.activations import activation
from pdlt.codegen.program import lower
from pdlt.numerics import piecewise_linear, rules
from pdlt.numerics.reference import averages as slow_averages
from pdlt.numerics.reference_kinked import atoms as sharpened_atoms
from pdlt.pipeline import derive

RULE = rules.legendre(1)
RELU = (0.0, 1.0)
LEAKY = (0.25, 1.0)
VALUE_VALUE = ((0, (0,)), (0, (0,)))
SLOPE_SLOPE = ((0, (1,)), (0, (1,)))


def averages(
    slopes: tuple[float, float], kernel: np.ndarray, wanted: list, pointwise: bool = False
) -> list[np.ndarray]:
    return [np.asarray(a) for a in compiled(slopes, tuple(wanted), pointwise)(jnp.asarray(kernel))]


@functools.cache
def compiled(slopes: tuple[float, float], wanted: tuple, pointwise: bool) -> Callable[[jax.Array], tuple]:
    return jax.jit(lambda kernel: piecewise_linear.averages(slopes, pointwise, kernel, wanted, RULE))


@pytest.mark.parametrize("rho", [0.0, 0.5, -0.9, 0.999])
def test_arc_cosine_kernels(rho: float) -> None:
    """Cho and Saul's kernels of degree 1 and 0; rounding only."""
    kernel = np.array([[1.7, rho * math.sqrt(1.7 * 0.6)], [rho * math.sqrt(1.7 * 0.6), 0.6]])
    value, slope = averages(RELU, kernel, [VALUE_VALUE, SLOPE_SLOPE])
    assert value[0, 1] == pytest.approx(arc_cosine(1, kernel), rel=1e-13)
    assert slope[0, 1] == pytest.approx(arc_cosine(0, kernel), rel=1e-13)
    np.testing.assert_allclose(value.diagonal(), kernel.diagonal() / 2, rtol=1e-15)
    np.testing.assert_allclose(slope.diagonal(), 0.5, rtol=1e-15)
    # The two degrees are far apart: exchanging them, or the sign of rho, would be seen.
    assert abs(value[0, 1] - arc_cosine(0, kernel)) > 1e-3
    if rho:
        assert abs(value[0, 1] - arc_cosine(1, kernel * (2 * np.eye(2) - 1))) > 1e-3


@pytest.mark.parametrize("distance", [1e-3, 1e-6, 1e-9, 1e-12])
def test_nearly_equal_inputs(distance: float) -> None:
    """With 1 - rho = distance the kernel is exact to rounding; taking arcsin and root apart loses up to 1e-9."""
    rho = 1 - distance
    kernel = np.array([[1.0, rho], [rho, 1.0]])
    value = averages(RELU, kernel, [VALUE_VALUE])[0][0, 1]
    with mpmath.workdps(40):
        angle = mpmath.acos(mpmath.mpf(rho))
        expected = (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.mpf(rho)) / (2 * mpmath.pi)
        assert abs(value - expected) < 2e-16


def kernel_of(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows)


@pytest.mark.parametrize(("slopes", "pointwise"), [(RELU, False), (RELU, True), (LEAKY, False)])
def test_all_expectations_of_the_theory_against_the_slow_twin(slopes: tuple[float, float], pointwise: bool) -> None:
    """Everything that the equations of order 1 ask for, two inputs: 16 patterns of coincidence, atoms included."""
    wanted = list(lower(derive(order=1), single=False, kinked=True).averages)
    kernel = kernel_of((1.2, -0.5), (-0.5, 0.7))
    name = {RELU: "relu", LEAKY: "leaky_relu(0.25)"}[slopes]
    expected = slow_averages(activation(name), kernel, wanted, pointwise=pointwise)
    for average, fast, slow in zip(wanted, averages(slopes, kernel, wanted, pointwise), expected, strict=True):
        np.testing.assert_allclose(fast, slow, rtol=1e-11, atol=1e-13, err_msg=str(average))


def test_three_inputs_contain_two() -> None:
    """Entries of a kernel of three inputs that involve two of them do not see the third."""
    wanted = list(lower(derive(order=1), single=False, kinked=True).averages)
    kernel = kernel_of((1.2, -0.5, 0.3), (-0.5, 0.7, 0.1), (0.3, 0.1, 0.9))
    pairs = averages(RELU, kernel[1:, 1:], wanted)
    for three, two in zip(averages(RELU, kernel, wanted), pairs, strict=True):
        np.testing.assert_allclose(three[(slice(1, None),) * three.ndim], two, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("slopes", [RELU, LEAKY])
def test_products_at_the_kink_are_limits_of_sharpened_activations(slopes: tuple[float, float]) -> None:
    """All products of up to four derivatives of order up to three.

    The twin integrates products of two families of smooth activations that sharpen to sigma in different ways: both
    must have the limit stated, and where nan is stated they must differ or diverge.
    """
    for orders in (o for n in range(1, 5) for o in itertools.combinations_with_replacement(range(4), n)):
        if max(orders) < 2:
            continue
        stated = piecewise_linear.product_atoms(slopes, 0, orders, pointwise=False)
        limit = sharpened_atoms(slopes, orders)
        if any(map(math.isnan, stated.values())):
            assert any(map(mpmath.isnan, limit)), orders
        else:
            found = {("delta", m): float(weight) for m, weight in enumerate(limit) if weight}
            assert found == pytest.approx({k: v for k, v in stated.items() if v}, abs=1e-12), orders


def test_well_known_products() -> None:
    """sigma'' sigma' = delta / 2 and sigma sigma'' = 0 for ReLU; sigma''^2 has no meaning."""
    assert piecewise_linear.product_atoms(RELU, 0, (2,), False) == {("delta", 0): 1.0}
    assert piecewise_linear.product_atoms(RELU, 0, (1, 2), False) == {("delta", 0): 0.5}
    assert piecewise_linear.product_atoms(RELU, 0, (0, 2), False) == {}
    assert math.isnan(next(iter(piecewise_linear.product_atoms(RELU, 0, (2, 2), False).values())))
    assert piecewise_linear.product_atoms(RELU, 0, (2, 2), True) == {}
    # Pointwise products lose their atoms, but derivatives of a whole product keep them: (sigma'^2)' = delta.
    assert piecewise_linear.product_atoms(RELU, 1, (1, 1), True) == {("delta", 0): 1.0}


def test_atoms_of_two_proportional_inputs_diverge() -> None:
    """<sigma''(z) sigma''(2 z)> is infinite and must not come out as a number; <sigma'(z) sigma'(2 z)> is 1/2."""
    kernel = kernel_of((1.0, 2.0), (2.0, 4.0))
    second = ((0, (2,)), (0, (2,)))
    value, slope = averages(RELU, kernel, [second, SLOPE_SLOPE])
    assert math.isnan(value[0, 1])
    assert slope[0, 1] == 0.5
    assert averages(RELU, kernel, [second], pointwise=True)[0][0, 1] == 0.0
