"""The suite's exact solutions: against each other, products known by hand, and brute force."""

import math

import numpy as np
import pytest

from pdlt.activations import activation
from pdlt.calibration import layerwise, shallow
from pdlt.ensemble.specs import NAMED
from pdlt.networks import MLP

SCALES = {"C_b": (0.3, 0.2), "C_W": (1.1, 0.8), "lambda_b": (0.5, 0.7), "lambda_W": (0.9, 1.3)}
TWO = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]])


@pytest.mark.parametrize("name, x", [("linear", TWO), ("leaky_relu(0.3)", TWO[:1]), ("abs", TWO[:1])])
def test_both_solutions_agree_where_both_apply(name, x):
    net = MLP(2, 7, name, **SCALES)
    first, second = layerwise.moments(net, x), shallow.moments(net, x)
    assert set(first) == set(second) == set(NAMED)
    for key, value in first.items():
        np.testing.assert_allclose(second[key], value, rtol=1e-12, atol=1e-13, err_msg=key)


#: Permutations of the axes that the definitions allow, e.g. U = "ab1 c4 | ac2 b3": exchange the components, b and c.
SYMMETRIES = (("VABFTU", "cdab"), ("VD", "bacd"), ("VAR", "abdc"), ("S", "badc"), ("P", "acbd"))


@pytest.mark.parametrize("solution, net", [(layerwise, MLP(4, (7, 5, 6), "linear")), (shallow, MLP(2, 7, "gelu"))])
def test_index_symmetries(solution, net):
    """An index in the wrong place breaks them: the first version had U_1423 transposed, which `path` found."""
    found = solution.moments(net, np.vstack([TWO, [[0.4, 0.3, 0.8]]]))
    for name, permuted in ((name, permuted) for names, permuted in SYMMETRIES for name in names):
        np.testing.assert_allclose(found[name], np.einsum(f"{permuted}->abcd", found[name]), rtol=1e-10, err_msg=name)
    assert not np.allclose(found["U"], np.einsum("abdc->abcd", found["U"]), rtol=1e-3)


def test_deep_linear_products():
    """E G^k = (E G)^k prod_l prod_j<k (1 + 2j/n_l)."""
    widths, kernel = (5, 9, 6), 1.3**4 * float(np.mean(TWO[0] ** 2))
    net = MLP(4, widths, "linear", C_W=1.3)
    second = math.prod(1 + 2 / n for n in widths)
    third = math.prod((1 + 2 / n) * (1 + 4 / n) for n in widths)
    fourth = math.prod((1 + 2 / n) * (1 + 4 / n) * (1 + 6 / n) for n in widths)
    x = TWO[:1]
    assert layerwise.covariance_cumulant(net, x, 1) == pytest.approx(kernel, rel=1e-13)
    assert layerwise.covariance_cumulant(net, x, 2) == pytest.approx(6 * kernel**2 * (second - 1), rel=1e-12)
    assert layerwise.covariance_cumulant(net, x, 3) == pytest.approx(
        36 * kernel**3 * (third - 3 * second + 2), rel=1e-12
    )
    fourth_cumulant = fourth - 4 * third - 3 * second**2 + 12 * second - 6
    assert layerwise.covariance_cumulant(net, x, 4) == pytest.approx(216 * kernel**4 * fourth_cumulant, rel=1e-11)


def test_critical_relu_product():
    net = MLP(4, (6, 4, 9), "relu", C_W=2.0)
    kernel = 2 * float(np.mean(TWO[0] ** 2))
    expected = 9 * kernel**2 * (math.prod(1 + 5 / n for n in (6, 4, 9)) - 1)
    assert layerwise.moments(net, TWO[:1])["V"].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["linear", "leaky_relu(-0.5)"])
def test_second_cumulant_is_the_four_point_vertex_with_biases(name):
    net = MLP(4, (5, 9, 6), name, C_b=(0.2, 0.1, 0.3, 0.4), C_W=(1.1, 0.9, 1.2, 0.7))
    both = layerwise.moments(net, TWO[:1])["V"].item(), layerwise.covariance_cumulant(net, TWO[:1], 2)
    assert both[0] == pytest.approx(both[1], rel=1e-12)


@pytest.mark.parametrize("name", list(shallow.SMOOTH))
def test_derivatives_written_by_hand(name):
    """Against the activation's own, which the samplers use and this table does not."""
    points = np.linspace(-4, 4, 9) + 0.1
    for k, values in enumerate(shallow.SMOOTH[name](points)):
        exact = [float(activation(name).mpmath(k)(float(p))) for p in points]
        np.testing.assert_allclose(values, exact, rtol=1e-11, atol=1e-13)


def test_quadrature_of_a_kink_on_two_inputs():
    """E relu relu of two inputs: the arc-cosine kernel of Cho and Saul."""
    net = MLP(2, 5, "relu", C_W=(1.2, 0.7))
    g = 1.2 * TWO @ TWO.T / 3
    angle = math.acos(g[0, 1] / math.sqrt(g[0, 0] * g[1, 1]))
    mean = math.sqrt(g[0, 0] * g[1, 1]) * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / (2 * math.pi)
    assert shallow.moments(net, TWO)["K"][0, 1] == pytest.approx(0.7 * mean, rel=1e-12)


def test_what_cannot_be_solved_is_known():
    assert not layerwise.solvable(MLP(3, 4, "tanh"), 1)
    assert not layerwise.solvable(MLP(3, 4, "gelu"), 1)
    assert not layerwise.solvable(MLP(3, 4, "relu"), 2)
    assert not shallow.solvable(MLP(3, 4, "tanh"), TWO)
    assert not shallow.solvable(MLP(2, 4, "relu"), np.eye(3))
    assert shallow.solvable(MLP(2, 4, "relu"), np.array([[1.0, 0], [0, 1], [1, 1]]))
