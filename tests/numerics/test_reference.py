"""The slow twin itself: against closed forms at 25 digits, and the limits that it states."""

import mpmath
import numpy as np
import pytest

from pdlt.activations import activation
from pdlt.errors import PdltError
from pdlt.numerics.reference import averages

VALUE_VALUE = ((0, (0,)), (0, (0,)))


def test_twenty_five_digits_on_one_input() -> None:
    """<sin^2> = (1 - exp(-2K))/2 and <erf^2> = (2/pi) asin(2K/(1+2K)), at K = 3/4."""
    with mpmath.workdps(40):
        K = mpmath.mpf(3) / 4
        expected = {
            "sin": (1 - mpmath.exp(-2 * K)) / 2,
            "erf": 2 / mpmath.pi * mpmath.asin(2 * K / (1 + 2 * K)),
            "relu": K / 2,
        }
        for name, exact in expected.items():
            found = averages(activation(name), [[K]], [((0, (0, 0)),)], digits=25)[0]
            assert abs(found[0] - exact) < mpmath.mpf(10) ** -24 * exact, name


def test_two_inputs_against_mpmath_quad() -> None:
    """<tanh_1 tanh_2> at 17 digits against mpmath's own adaptive tanh-sinh rule in two dimensions."""
    kernel = [[0.5, 0.25], [0.25, 0.75]]
    found = averages(activation("tanh"), kernel, [VALUE_VALUE], digits=17)[0][0, 1]
    with mpmath.workdps(17):
        slope, rest = mpmath.mpf(0.5), mpmath.sqrt(mpmath.mpf(0.625))

        def inner(u: mpmath.mpf) -> mpmath.mpf:
            z = mpmath.sqrt(mpmath.mpf(0.5)) * u
            f = lambda v: mpmath.npdf(v) * mpmath.tanh(slope * z + rest * v)  # noqa: E731
            return mpmath.npdf(u) * mpmath.tanh(z) * mpmath.quad(f, [-8, 0, 8], maxdegree=4)

        expected = mpmath.quad(inner, [-8, 0, 8], maxdegree=4)
        assert abs(found - expected) < 1e-12


def test_derivatives_of_the_whole_product() -> None:
    """d/dz of the whole product is the sum over the factors (Leibniz), and is carried by the first of equal inputs."""
    tanh, kernel = activation("tanh"), [[0.5, 0.2], [0.2, 0.9]]
    outer, inner = averages(tanh, kernel, [((2, (0,)), (0, (1,))), ((0, (2,)), (0, (1,)))])
    assert outer[0, 1] == inner[0, 1]
    whole = averages(tanh, kernel, [((0, (2, 1)),), ((0, (1, 2)),), ((0, (0, 3)),)])
    assert outer[0, 0] == pytest.approx(whole[0][0] + 2 * whole[1][0] + whole[2][0], rel=1e-13)
    later = averages(tanh, kernel, [((0, (0,)), (1, (1,)))])[0]
    assert later[0, 0] == 0.0 != later[0, 1]


def test_singular_kernel() -> None:
    """Three equal inputs are one input."""
    gelu = activation("gelu")
    one = averages(gelu, [[0.7]], [((0, (0, 0, 1)),)])[0][0]
    three = averages(gelu, np.full((3, 3), 0.7), [((0, (0,)), (0, (0,)), (0, (1,)))])[0]
    np.testing.assert_allclose(three, one, rtol=1e-13)


@pytest.mark.parametrize(("name", "inputs"), [("tanh", 4), ("relu", 3)])
def test_too_many_inputs(name: str, inputs: int) -> None:
    with pytest.raises(PdltError, match="at most .* inputs for the slow twin"):
        averages(activation(name), np.eye(inputs), [((0, (0,)),) * 4])
