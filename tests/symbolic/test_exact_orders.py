"""Any order in 1/width: derived recursions in rational arithmetic against exact finite networks.

The expectations are exact rationals (homogeneous activations), so a coefficient is right or wrong, not close.
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from finite_width_products import covariance_cumulants
from reference_systems import homogeneous_moments

import pdlt
from pdlt.checks.arithmetic import single_input
from pdlt.checks.gaussian import homogeneous_average
from pdlt.equations import Equation, Theory

#: (a_-, a_+); A_2 is rational.
SLOPES = {"linear": (1, 1), "relu": (0, 1), "leaky": (Fraction(1, 5), 1), "abs": (-1, 1)}
#: V, the six-point, the eight-point cumulant, ...
POINTS = ("K", "V", "1 2 | 3 4 | 5 6", "1 2 | 3 4 | 5 6 | 7 8", "1 2 | 3 4 | 5 6 | 7 8 | 9 10")
KERNEL = Fraction(3, 2)


def moment(slopes: Sequence[Fraction], m: int) -> Fraction:
    return Fraction(slopes[0] ** m + slopes[1] ** m) / 2


def iterated(
    theory: Theory, name: str, widths: Sequence[int], C_W: Fraction, lambda_W: Fraction = Fraction(0), g=None
) -> dict[str, Fraction]:
    """Return all tensors of a theory after the hidden layers, from their recursions."""
    kernel = KERNEL if g is None else C_W * g
    state = {e.key: Fraction(0) for e in theory} | {"K": kernel, "Theta": lambda_W * (g or 0)}
    # rho of the first step multiplies zeros: nothing fluctuates at layer 1.
    for last, width in pairwise([widths[0], *widths]):
        state = {e.key: stepped(e, state, name, Fraction(width, last), C_W, lambda_W) for e in theory}
    return state


def stepped(equation: Equation, state: dict, name: str, rho: Fraction, C_W: Fraction, lambda_W=Fraction(0)) -> Fraction:
    """Return the next value of one tensor."""
    parameters = {"C_b": 0, "lambda_b": 0, "C_W": C_W, "lambda_W": lambda_W, "rho": rho}
    return single_input(equation, state, averages(name, state["K"]), parameters)


@cache
def averages(name: str, kernel: Fraction):
    return cache(homogeneous_average(lambda m: moment(SLOPES[name], m), kernel))


def doubled(equation: Equation) -> list[Equation]:
    """Return the equation with one of its coefficients doubled, for every coefficient."""
    terms = equation.terms
    wrong = [replace(term, coefficient=2 * term.coefficient) for term in terms]
    return [replace(equation, terms=(*terms[:i], new, *terms[i + 1 :])) for i, new in enumerate(wrong)]


@cache
def preactivations(order: int) -> Theory:
    return pdlt.derive(POINTS[: order + 1], order=order)


def exact(name: str, widths: Sequence[int], C_W: Fraction, order: int) -> dict[str, Fraction]:
    """Return the same coefficients from the finite network's product formula."""
    A_2 = moment(SLOPES[name], 2)
    a = {m: moment(SLOPES[name], m) / A_2 ** (m // 2) for m in range(4, 2 * order + 4, 2)}
    ratios = [Fraction(n) for n in widths]
    kernel = KERNEL * (C_W * A_2) ** len(widths)
    table = covariance_cumulants(order + 1, a, ratios, kernel, order + 1)
    return {
        point if j == 0 else f"{point}_{j}": table[k][j]
        for k, point in enumerate(POINTS[: order + 1])
        for j in range(order - k + 1)
    }


CASES = [
    pytest.param("linear", [7] * 5, Fraction(1), id="linear-equal"),
    pytest.param("linear", [2, 5, 3, 7], Fraction(4, 3), id="linear-unequal-off-critical"),
    pytest.param("relu", [7] * 5, Fraction(2), id="relu-equal"),
    pytest.param("relu", [5, 2, 11, 3, 4], Fraction(2), id="relu-unequal"),
    pytest.param("leaky", [3, 4, 2, 5], Fraction(1, 2), id="leaky-relu-unequal-off-critical"),
    pytest.param("abs", [4, 1, 2], Fraction(1), id="abs-unequal"),
]


@pytest.mark.parametrize(("name", "widths", "C_W"), CASES)
def test_preactivations_to_order_four(name: str, widths: list[int], C_W: Fraction) -> None:
    found, wanted = iterated(preactivations(4), name, widths, C_W), exact(name, widths, C_W, 4)
    assert set(wanted) <= set(found)
    assert {key: found[key] for key in wanted} == wanted
    assert [found[f"K_{j}"] for j in range(1, 5)] == [0] * 4
    nonzero = [key for key in wanted if wanted[key] and key != "K"]
    assert len(nonzero) >= 6  # a network as deep as this one has nearly all of them


def test_unequal_widths_are_not_equal_ones() -> None:
    """The negative control of the ratios: the average width in every layer gives other numbers from V on."""
    found, wanted = iterated(preactivations(2), "relu", [4, 4], Fraction(2)), exact("relu", [2, 6], Fraction(2), 2)
    assert found["K"] == wanted["K"]
    assert all(found[key] != wanted[key] for key in ("V", "V_1", POINTS[2]))


@pytest.mark.parametrize("key", ["V", "V_1", "V_2", POINTS[2], POINTS[2] + "_1", POINTS[3]])
def test_a_wrong_coefficient_is_seen(key: str) -> None:
    widths, C_W = [5, 2, 11, 3], Fraction(2)
    theory, wanted = preactivations(3), exact("leaky", widths, C_W, 3)[key]
    state = iterated(theory, "leaky", widths[:-1], C_W)
    rho = Fraction(widths[-1], widths[-2])
    assert stepped(theory[key], state, "leaky", rho, C_W) == wanted
    wrong = [stepped(equation, state, "leaky", rho, C_W) for equation in doubled(theory[key])]
    # Terms with more derivatives than the integrand has powers do not contribute for this activation.
    assert sum(value != wanted for value in wrong) >= min(3, len(wrong))


@cache
def tangent(order: int) -> Theory:
    return pdlt.derive(["Theta", "V", "A", "B", "D", "F"], order=order)


@pytest.mark.parametrize(("name", "p"), [("relu", Fraction(1, 2)), ("linear", Fraction(1))])
def test_tangent_kernel_to_order_three(name: str, p: Fraction) -> None:
    C_W, lambda_W, g, depth = Fraction(5, 3), Fraction(3, 4), Fraction(6, 5), 5
    found = iterated(tangent(3), name, [9] * (depth - 1), C_W, lambda_W, g)
    wanted = homogeneous_moments(p, C_W, lambda_W, g, depth, terms=4)
    for tensor, coefficients in wanted.items():
        values = [found[tensor], found[f"{tensor}_1"], found[f"{tensor}_2"]]
        assert all(values)
        # The witness ends in floating point; its sums are exact.
        assert [float(v) for v in values] == coefficients[: len(values)]
    # Homogeneous activations: no correction to the mean tangent kernel, at any order.
    assert [found[f"Theta_{j}"] for j in (1, 2, 3)] == [0, 0, 0]


@pytest.mark.parametrize("key", ["A_1", "B_1", "D_1", "F_1"])
def test_tangent_kernel_notices_a_wrong_coefficient(key: str) -> None:
    C_W, lambda_W, g = Fraction(2), Fraction(1), Fraction(1)
    wanted = homogeneous_moments(Fraction(1, 2), C_W, lambda_W, g, 4, terms=3)[key[0]][1]
    state = iterated(tangent(2), "relu", [8, 8], C_W, lambda_W, g)
    assert float(stepped(tangent(2)[key], state, "relu", Fraction(1), C_W, lambda_W)) == wanted
    wrong = [stepped(e, state, "relu", Fraction(1), C_W, lambda_W) for e in doubled(tangent(2)[key])]
    assert sum(float(value) != wanted for value in wrong) >= 3


def test_generated_code_agrees_with_rational_arithmetic() -> None:
    widths = [5, 2, 11, 3]
    net = pdlt.MLP(5, widths, "relu", C_b=0.0, C_W=2.0)
    prediction = pdlt.predict(net, [[0.5, -1.0, 0.5]], ["K", "V", POINTS[2]], order=2).isel(layer=-1)
    wanted = exact("relu", widths, Fraction(2), 2)
    scale = float(prediction["K"].item()) / float(wanted["K"])
    for key in ("K", "V", "V_1", POINTS[2]):
        power = POINTS.index(key.removesuffix("_1")) + 1
        np.testing.assert_allclose(prediction[key].item(), float(wanted[key]) * scale**power, rtol=1e-12)


SLOPE_CASES = [
    pytest.param(pdlt.MLP(5, 8, "tanh", C_b=0.0, C_W=4.0, lambda_b=0.3), "B", [6, 8, 12], 200_000, id="tanh"),
    pytest.param(pdlt.MLP(5, 8, "sin", C_b=0.0, C_W=3.0, lambda_b=0.3), "B", [5, 7, 10], 200_000, id="sin"),
    pytest.param(pdlt.MLP(4, 8, "gelu", C_b=0.172922391, C_W=1.983058257), "V", [8, 12, 16], 500_000, id="gelu"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("net", "name", "widths", "samples"), SLOPE_CASES)
def test_measured_residual_falls_as_the_first_neglected_order(net, name, widths, samples) -> None:
    """What the leading coefficient leaves falls as 1/n, what the first correction leaves as 1/n^2.

    Networks this narrow see the order after that, too: it moves a fitted power by up to 0.3 (by the series itself).
    The parameters are such that both residuals stand out of the noise; the slope is nan if they do not.
    """
    x = [[0.8, -0.5, 1.3]]
    sweep = pdlt.sweep(net, x, [name], widths, samples=samples, seed=7, order=2)
    for row in sweep.slopes.itertuples():
        assert row.expected == row.order
        assert row.slope_stderr < 0.5
        assert abs(row.slope - row.expected) < 0.3 + 2 * row.slope_stderr
    # Planted: a first correction that is twice too large leaves a residual that falls as 1/n.
    prediction = sweep.predictions[net.depth].copy(deep=True)
    key = f"{name}_1"
    prediction[key] = (2 * prediction[key]).assign_attrs(prediction[key].attrs)
    wrong = replace(sweep, predictions={net.depth: prediction}).slopes.iloc[-1]
    assert wrong.order == 2 and wrong.slope + 2 * wrong.slope_stderr < 1.5
