"""Expectations of pairs against closed forms at 60 digits: small angles keep their digits."""

import dataclasses

import mpmath
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.activations import activation
from pdlt.numerics.pairs import Pairs, choose
from pdlt.numerics.pairs.piecewise_linear import PiecewiseLinear

VARIANCES = (0.7, 1.9)
ANGLES = (1e-12, 1e-8, 1e-5, 1e-3, 0.3, 1.5, 1.6, 3.0, 3.1415)


def kernel(first, second, angles):
    """Pairs of two variances at each angle: rows have `first`, columns `second`, one column per angle."""
    scale, angles = float(np.sqrt(first * second)), np.array(angles)
    product = scale * np.cos(angles)
    excess = scale * 2 * np.sin(np.minimum(angles, np.pi - angles) / 2) ** 2
    return Pairs(np.array([first]), np.full(len(angles), second), product[None], excess[None])


def exact_separation(pairs, i):
    """1 - rho of a pair at mpmath's working precision, as its excess has it."""
    scale = mpmath.sqrt(mpmath.mpf(float(pairs.row[0])) * mpmath.mpf(float(pairs.column[i])))
    nearness = mpmath.mpf(float(pairs.excess[0, i])) / scale
    return nearness if pairs.product[0, i] >= 0 else 2 - nearness


def computed(name, k, pairs, level):
    with x64():
        rule = choose(activation(name))
        return rule.average(k, pairs, rule.data(level))


def arcsine(first, second, separation):
    """<erf erf> and <erf' erf'> (Williams 1998) at the working precision, 1 - rho given."""
    product = mpmath.sqrt(first * second) * (1 - separation)
    denominator = mpmath.sqrt((1 + 2 * first) * (1 + 2 * second))
    square = 2 / mpmath.pi * mpmath.asin(2 * product / denominator)
    slope = 4 / mpmath.pi / mpmath.sqrt(denominator**2 - 4 * product**2)
    return square, slope


def piecewise_linear(slopes, first, second, separation):
    """<sigma sigma> and <sigma' sigma'> at the working precision, from the arc-cosine kernels (Cho and Saul 2009).

    sigma(z) = plus relu(z) - minus relu(-z), and relu(z_1) relu(-z_2) is a pair at the angle pi - theta.
    """
    minus, plus = map(mpmath.mpf, slopes)
    theta = 2 * mpmath.asin(mpmath.sqrt(separation / 2))

    def relu(angle):
        scale = mpmath.sqrt(first * second)
        square = scale / (2 * mpmath.pi) * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle))
        return square, (mpmath.pi - angle) / (2 * mpmath.pi)

    same, other = relu(theta), relu(mpmath.pi - theta)
    square = (plus**2 + minus**2) * same[0] - 2 * plus * minus * other[0]
    return square, (plus**2 + minus**2) * same[1] + 2 * plus * minus * other[1]


@pytest.mark.parametrize("second", VARIANCES)
@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-1.0, 1.0), (0.2, 1.0), (-0.5, 1.0)])
def test_kinks_keep_all_digits_of_small_and_large_angles(slopes, second):
    first = VARIANCES[0]
    rule, pairs = PiecewiseLinear(*slopes), kernel(first, second, ANGLES)
    with x64():
        square, slope = (rule.average(k, pairs, rule.data(0)) for k in (0, 1))
    with mpmath.workdps(60):
        a, b = mpmath.mpf(first), mpmath.mpf(second)
        norm = mpmath.sqrt(a * b) * (mpmath.mpf(slopes[0]) ** 2 + mpmath.mpf(slopes[1]) ** 2) / 2
        for i, angle in enumerate(ANGLES):
            exact = piecewise_linear(slopes, a, b, exact_separation(pairs, i))
            # 1e-13 relative; where the sum itself cancels, rounding of its largest term.
            assert float(square.excess[0, i]) == pytest.approx(float(norm - abs(exact[0])), rel=1e-13), angle
            assert float(square.product[0, i]) == pytest.approx(float(exact[0]), rel=1e-13, abs=1e-15), angle
            assert float(slope.product[0, i]) == pytest.approx(float(exact[1]), rel=1e-13, abs=1e-15), angle


@pytest.mark.parametrize("second", VARIANCES)
def test_mehler_series_is_the_arcsine_kernel(second):
    first = VARIANCES[0]
    pairs = kernel(first, second, ANGLES)
    found = [computed("erf", k, pairs, 3) for k in (0, 1)]
    with mpmath.workdps(60):
        a, b = mpmath.mpf(first), mpmath.mpf(second)
        for i, angle in enumerate(ANGLES):
            values = arcsine(a, b, exact_separation(pairs, i))
            own = [arcsine(v, v, mpmath.mpf(0)) for v in (a, b)]
            for k in (0, 1):
                norm = mpmath.sqrt(own[0][k] * own[1][k])
                exact = float(norm - abs(values[k]))
                # Between different variances the excess does not vanish and is known to rounding of the norm; between
                # equal ones to rounding of itself at small angles, down to the square of rounding.
                tolerance = 1e-11 * exact + 1e-29 if second == first and angle < 3 else 1e-14 * float(norm)
                assert abs(float(found[k].excess[0, i]) - exact) <= tolerance, (k, angle)


def test_the_usual_correlation_fails_the_same_comparison():
    """Planted: 1 - rho by subtraction of numbers near one loses the digits that the tests above ask for."""
    pairs = kernel(0.7, 0.7, (1e-8,))
    correlation = pairs.product / pairs.scale
    spoiled = dataclasses.replace(pairs, excess=np.asarray(pairs.scale * (1 - correlation)))
    good, bad = (float(computed("relu", 0, p, 0).excess[0, 0]) for p in (pairs, spoiled))
    assert abs(bad / good - 1) > 1e-2


@pytest.mark.parametrize("name", ["tanh", "gelu", "sin", "softplus", "z**3 - z"])
@pytest.mark.parametrize("k", [0, 1])
def test_levels_of_the_series_converge_to_the_variance_on_the_diagonal(name, k):
    """<f f> at rho = 1 is <f^2>, and at rho = 0 is <f>^2, whatever is left out."""
    pairs = Pairs(np.array([1.3]), np.array([1.3, 1.3]), np.array([[1.3, 0.0]]), np.array([[0.0, 1.3]]))
    found = computed(name, k, pairs, 1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    weights = weights / weights.sum()
    with x64():
        values = np.asarray(activation(name).jax(k)(np.sqrt(1.3) * nodes))
    scale = float(weights @ values**2)
    # 180 nodes of Gauss and Hermite give tanh' at this variance to nine digits.
    assert np.asarray(found.product)[0] == pytest.approx([scale, float(weights @ values) ** 2], abs=1e-9 * scale)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("constant", [0.0, 1e-12, 0.3, 30.0])
def test_a_constant_is_added_exactly(constant, sign):
    """Pairs.affine against 50 digits, where the excess is 1e-20 of the moments, parallel and opposite."""
    first, second, excess = 1.0, 1.0 + 2**-40, 1e-20
    product = sign * np.array([[1.0 + 2**-41]])
    with x64():
        new = Pairs(np.array([first]), np.array([second]), product, np.array([[excess]])).affine(constant, 1.7)
    with mpmath.workdps(50):
        true = sign * (mpmath.sqrt(mpmath.mpf(second)) - mpmath.mpf(excess))
        row, column = (mpmath.mpf(constant) + mpmath.mpf(1.7) * mpmath.mpf(v) for v in (first, second))
        moved = mpmath.mpf(constant) + mpmath.mpf(1.7) * true
        exact = mpmath.sqrt(row * column) - abs(moved)
    # What is divided by was rounded, and a product that changes its sign is a difference.
    assert float(new.excess[0, 0]) == pytest.approx(float(exact), rel=1e-15 if moved * sign > 0 else 1e-14)
    assert float(new.row[0]) == pytest.approx(float(row), rel=2e-16)
