"""Eigenvalues on the circle, the sphere and the cube: closed forms, brute force, and datasets that grow."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import iv

import pdlt
from pdlt.learning.continuum import population_modes
from pdlt.learning.modes import modes
from pdlt.learning.spaces import Cube, Sphere

RELU = pdlt.MLP(depth=2, width=8, activation="relu", C_W=2.0)
DEEP = pdlt.MLP(depth=3, width=8, activation="relu", C_b=0.1, C_W=1.8, lambda_b=0.3, lambda_W=0.7)
#: K(t) = c exp(-c) sinh(c t), since <sin sin> = exp(-K) sinh(K t) at equal variances K.
C = 3.0
SINE = pdlt.MLP(depth=2, width=8, activation="sin", C_W=C)


def exponential_on_sphere(dimension: int, degree: int, c: float = C) -> float:
    """Return the eigenvalue of exp(c t): Gamma(d/2) (2/c)^(d/2-1) I_(k+d/2-1)(c), by Funk and Hecke."""
    half = dimension / 2
    return math.gamma(half) * (2 / c) ** (half - 1) * float(iv(degree + half - 1, c))


def exponential_on_cube(dimension: int, degree: int, c: float = C) -> float:
    """Return the eigenvalue of exp(c t): the kernel is a product over components."""
    return math.cosh(c / dimension) ** (dimension - degree) * math.sinh(c / dimension) ** degree


def arc_cosine_on_circle(degree: int) -> tuple[float, float]:
    """Return the Fourier coefficients of K and Theta of `RELU`, (2/pi) (sin + (pi-a) cos), (1/pi) (sin + 2 (pi-a) cos).

    From the integrals over 0 ... pi of sin(a) cos(ka), 2/(1-k^2), and of (pi-a) cos(a) cos(ka), 2 (k^2+1)/(k^2-1)^2,
    for even k; for odd k > 1 both vanish, and for k = 1 they are 0 and pi^2/4.
    """
    if degree == 1:
        return 0.5, 0.5
    if degree % 2:
        return 0.0, 0.0
    square = (degree**2 - 1) ** 2
    return 8 / math.pi**2 / square, (2 * degree**2 + 6) / math.pi**2 / square


@pytest.mark.parametrize(("place", "observable"), [(0, "K"), (1, "Theta")])
def test_arc_cosine_kernels_on_the_circle(place, observable):
    found = population_modes(RELU, "circle", degrees=12, observable=observable)
    exact = np.array([arc_cosine_on_circle(k)[place] for k in range(13)])
    difference = np.abs(found.eigenvalue.values - exact)
    # The estimated errors are errors, and they are small.
    assert (difference <= found.error.values).all()
    assert found.error.values.max() < 1e-13
    assert found.multiplicity.values.tolist() == [1] + 12 * [2]
    assert found.attrs["diagonal"] == pytest.approx(2.0, rel=1e-14)
    # A factor forgotten (Fourier coefficients over -pi ... pi without 1/2, say) is seen.
    assert (np.abs(2 * found.eigenvalue.values - exact) > 100 * found.error.values)[[0, 1, 2, 4]].all()


@pytest.mark.parametrize("dimension", [2, 3, 10, 300])
def test_sphere_against_bessel_functions(dimension):
    found = population_modes(SINE, "sphere", dimension, degrees=8, observable="K")
    exact = np.array([C * math.exp(-C) * exponential_on_sphere(dimension, k) * (k % 2) for k in range(9)])
    assert (np.abs(found.eigenvalue.values - exact) <= found.error.values).all()
    assert (found.error.values < 1e-13 / np.sqrt(found.multiplicity.values)).all()
    # The harmonics of a neighbouring dimension have other eigenvalues.
    wrong = np.array([C * math.exp(-C) * exponential_on_sphere(dimension + 1, k) * (k % 2) for k in range(9)])
    assert (np.abs(found.eigenvalue.values - wrong) > 100 * found.error.values)[[1, 3, 5]].all()


@pytest.mark.parametrize("dimension", [1, 2, 7, 60])
def test_cube_against_products(dimension):
    found = population_modes(SINE, "cube", dimension, degrees=60, observable="K")
    assert found.sizes["degree"] == dimension + 1
    exact = np.array([C * math.exp(-C) * exponential_on_cube(dimension, k) * (k % 2) for k in range(dimension + 1)])
    assert (np.abs(found.eigenvalue.values - exact) <= found.error.values).all()
    assert abs(found.attrs["remainder"]) <= found.attrs["remainder_error"]
    assert found.multiplicity.values[-1] == 1 and found.multiplicity.values.sum() == 2.0**dimension


def test_degrees_lost_to_rounding_say_so():
    found = population_modes(SINE, "cube", 60, degrees=60, observable="K")
    relative = found.error.values[1::2] / np.abs(found.eigenvalue.values[1::2])
    assert relative[0] < 1e-12 and relative[15] > 1


def test_all_corners_of_a_cube():
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=6)))
    values = modes(DEEP, corners).per_sample.values
    found = population_modes(DEEP, "cube", 6)
    repeated = np.repeat(found.eigenvalue.values, found.multiplicity.values.astype(int))
    np.testing.assert_allclose(values, np.sort(repeated)[::-1], rtol=1e-11)
    # The sum rule is the trace.
    assert found.power.values.sum() == pytest.approx(found.attrs["diagonal"], rel=1e-13)
    assert values.sum() == pytest.approx(found.attrs["diagonal"], rel=1e-13)


def test_equispaced_points_on_the_circle_alias():
    number = 7
    angles = 2 * np.pi * np.arange(number) / number
    x = math.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    values = modes(SINE, x, observable="K").per_sample.values
    eigenvalue = population_modes(SINE, "circle", degrees=60, observable="K").eigenvalue.values
    # A discrete Fourier mode k collects all frequencies equal to k modulo N.
    spectrum = np.concatenate([eigenvalue[:0:-1], eigenvalue])  # frequencies -60 ... 60
    frequencies = np.arange(-60, 61)
    aliased = [spectrum[frequencies % number == k].sum() for k in range(4)]
    expected = np.sort(np.repeat(aliased, [1, 2, 2, 2]))[::-1]
    np.testing.assert_allclose(values, expected, atol=1e-14)
    without = np.sort(np.repeat(eigenvalue[:4], [1, 2, 2, 2]))[::-1]
    assert np.abs(values - without).max() > 1e-4


def sampled(number: int, draws: int, seed: int = 0) -> np.ndarray:
    """Return eigenvalues over N of the closed-form Gram matrix on N random points of the circle, (draws, 4)."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (draws, number))
    grams = C * math.exp(-C) * np.sinh(C * np.cos(angles[:, :, None] - angles[:, None, :]))
    return np.linalg.eigvalsh(grams)[:, ::-1][:, :4] / number


def test_random_points_approach_the_spectrum_at_the_right_rate():
    """Perturbation theory for N independent points on a space whose harmonics have sum of squares `multiplicity`.

    The mean over a degree shifts by (1/N) sum_l multiplicity_l v_k v_l / (v_k - v_l), the pair of one degree splits by
    v_k times |mean of exp(2 i k a)|, whose square is 1/N on average. Thresholds are 4 standard errors of 400 draws; the
    next orders are below that at these N.
    """
    found = population_modes(SINE, "circle", degrees=20, observable="K")
    value, power = found.eigenvalue.values, found.power.values
    others = [k for k in range(21) if k != 1]
    shift = sum(power[k] * value[1] / (value[1] - value[k]) for k in others)
    for number in (30, 60):
        pairs = sampled(number, 400)[:, :2]
        means = pairs.mean(axis=1) - value[1]
        error = means.std() / math.sqrt(len(means))
        assert means.mean() == pytest.approx(shift / number, abs=4 * error)
        # The shift is seen, and a shift that counts degrees only once is not what is seen.
        assert abs(shift / number) > 8 * error
        assert abs(means.mean() - shift / 2 / number) > 4 * error
        splitting = number * (np.diff(pairs, axis=1)[:, 0] / 2 / value[1]) ** 2
        assert splitting.mean() == pytest.approx(1, abs=4 * splitting.std() / math.sqrt(400) + 4 / number)
    angles = np.random.default_rng(1).uniform(0, 2 * np.pi, 50)
    x = math.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(modes(SINE, x, observable="K").per_sample.values[:4], sampled(50, 1, 1)[0], rtol=1e-10)


def test_sum_rule_of_a_kinked_kernel():
    """Powers of Theta on the sphere in three dimensions fall as k^-2, that is the remainder as 1/k."""
    remainders = [population_modes(DEEP, "sphere", 3, degrees=k).attrs["remainder"] for k in (50, 100)]
    assert remainders[0] / remainders[1] == pytest.approx(2, abs=0.1)


def test_multiplicities():
    assert [Sphere(2).multiplicity(k) for k in range(5)] == [1, 2, 2, 2, 2]
    assert [Sphere(3).multiplicity(k) for k in range(5)] == [1, 3, 5, 7, 9]
    assert [Sphere(4).multiplicity(k) for k in range(5)] == [1, 4, 9, 16, 25]
    assert [Cube(4).multiplicity(k) for k in range(5)] == [1, 4, 6, 4, 1]


@pytest.mark.parametrize("space", [Sphere(2), Sphere(3), Sphere(50), Cube(9), Cube(40)])
def test_polynomials_are_orthogonal(space):
    angles, weights = space.rule(9, 0)
    rows = space.polynomials(9, angles)
    number = np.array([space.multiplicity(k) for k in range(10)])
    np.testing.assert_allclose((rows * weights) @ rows.T, np.diag(1 / number), atol=1e-13)


def test_the_length_of_inputs_matters():
    v = 0.4
    found = population_modes(SINE, "circle", degrees=3, observable="K", variance=v)
    exact = [C * math.exp(-C * v) * exponential_on_sphere(2, k, C * v) * (k % 2) for k in range(4)]
    np.testing.assert_allclose(found.eigenvalue.values, exact, atol=1e-14)
    assert found.attrs["diagonal"] == pytest.approx(C * math.exp(-C * v) * math.sinh(C * v))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("torus",), "`distribution` must be circle, sphere or cube"),
        (("circle", 3), "`dimension` must be 2"),
        (("sphere",), "`dimension` must be given"),
        (("sphere", 1), "`dimension` must be an integer from 2"),
        (("cube", 0), "`dimension` must be an integer from 1"),
        (("cube", 3, -1), "`degrees` must be an integer from 0"),
        (("cube", 3, 2, "V"), "`observable` must be Theta or K"),
        (("cube", 3, 2, "K", 0.0), "`variance` must be a finite number, positive"),
        (("cube", 5000, 2000), "`degrees`: degree 2000 on the cube"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(pdlt.PdltError, match=message):
        population_modes(RELU, *arguments)
