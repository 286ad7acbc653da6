"""The trapezoidal rule on smooth activations: values, and above all the error estimates, against the slow twin."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdlt.activations import activation
from pdlt.numerics import rules
from pdlt.numerics.backends import Quadrature, choose, refine
from pdlt.numerics.quadrature import square_root
from pdlt.numerics.reference import averages as slow_averages

#: Two, three and four labels; derivatives up to the fifth, which order 1 needs on one input.
WANTED = (
    ((0, (0,)), (0, (0,))),
    ((0, (1,)), (0, (1,))),
    ((0, (2,)), (0, (4,))),
    ((0, (0,)), (0, (0,)), (0, (1,)), (0, (1,))),
    ((0, (0,)), (0, (1,)), (0, (1,)), (0, (2,))),
)

#: What rounding leaves of sums of 10^4 terms, relative to the largest entry.
ROUNDING = 3e-13


def kernel_of(variance: float, rho: float) -> np.ndarray:
    return variance * np.array([[1.0, rho], [rho, 1.0]])


def run(backend: Quadrature, kernel: np.ndarray, rtol: float) -> tuple[list[np.ndarray], list[np.ndarray]]:
    def at(level: int) -> list[np.ndarray]:
        data = backend.data(level, len(kernel), WANTED)
        return [np.asarray(a) for a in compiled(backend)(jnp.asarray(kernel), data)]

    return refine(at, backend, rtol)


@functools.cache
def compiled(backend: Quadrature) -> Callable[..., tuple]:
    return jax.jit(lambda kernel, data: backend.averages(kernel, WANTED, data))


@functools.cache
def truth(name: str, variance: float, rho: float) -> list[np.ndarray]:
    return slow_averages(activation(name), kernel_of(variance, rho), WANTED)


POINTS = [(0.1, 0.5), (1.0, 0.0), (1.0, 0.99), (1.0, 1 - 1e-9), (4.0, -0.9)]


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "softplus", "sigmoid"])
def test_values_and_errors(name: str) -> None:
    """At the default accuracy 1e-8 is reached everywhere in the table, and the estimate bounds the true error."""
    for variance, rho in POINTS:
        backend = choose(activation(name), 2, WANTED)
        values, errors = run(backend, kernel_of(variance, rho), 1e-8)
        for value, error, exact in zip(values, errors, truth(name, variance, rho), strict=True):
            size = np.abs(exact).max()
            assert np.abs(value - exact).max() <= 1e-8 * size, (variance, rho)
            assert np.abs(value - exact).max() <= 2 * error.max() + ROUNDING * size, (variance, rho)


HARD = [("tanh", 25.0, 0.9), ("softplus", 9.0, 0.99)]


@pytest.mark.parametrize(("name", "variance", "rho"), HARD)
@pytest.mark.parametrize("levels", [2, 3, 6])
def test_estimates_bound_the_error_in_hard_corners(name: str, variance: float, rho: float, levels: int) -> None:
    """With too few levels the result is bad and says so: estimate within a factor 3 below the truth, never less.

    The estimate is the difference of the last two levels, extrapolated once if there are more than two.
    """
    backend = Quadrature(activation(name), levels=levels)
    values, errors = run(backend, kernel_of(variance, rho), 1e-15)
    for value, error, exact in zip(values, errors, truth(name, variance, rho), strict=True):
        assert np.abs(value - exact).max() <= 3 * error.max() + ROUNDING * np.abs(exact).max()


def test_a_hard_corner_is_hard() -> None:
    """Sibling of the tests above: on the coarse grids of two dimensions the true error exceeds any tolerance used."""
    kernel, backend = kernel_of(25.0, 0.9), Quadrature(activation("tanh"), levels=6)
    coarse = compiled(backend)(jnp.asarray(kernel), backend.data(0, 2, WANTED))
    errors = [np.abs(c - e).max() / np.abs(e).max() for c, e in zip(coarse, truth("tanh", 25.0, 0.9), strict=True)]
    assert max(errors) > 0.1


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
@pytest.mark.parametrize("wanted_with", [1, 2, 3, 4])
def test_every_level_is_finer_in_every_dimension(dimension: int, wanted_with: int) -> None:
    """Else the difference of two levels is zero where they share a grid, and the error estimate a lie."""
    wanted = [((0, (0,)),) * d for d in {dimension, wanted_with}]
    backend = choose(activation("tanh"), 4, wanted)
    assert isinstance(backend, Quadrature)
    sizes = [np.count_nonzero(backend.data(level, 4, wanted)[dimension][1]) for level in range(backend.levels)]
    assert sizes == sorted(set(sizes))
    assert backend.levels >= 3
    # Level 0 is padded so that it shares compiled code with level 1.
    shapes = [backend.data(level, 4, wanted)[dimension][1].shape for level in (0, 1)]
    assert shapes[0] == shapes[1]


def test_three_and_four_inputs_agree_with_pairs() -> None:
    """Entries that involve two inputs do not depend on the grid of three: 1e-9 at the finest level in 3 dimensions."""
    kernel = np.array([[0.8, 0.3, -0.2], [0.3, 1.0, 0.4], [-0.2, 0.4, 0.6]])
    backend = choose(activation("gelu"), 3, WANTED)
    data = backend.data(2, 3, WANTED)
    three = [np.asarray(a) for a in compiled(backend)(jnp.asarray(kernel), data)]
    pairs = slow_averages(activation("gelu"), kernel[1:, 1:], WANTED)
    for a, b in zip(three, pairs, strict=True):
        np.testing.assert_allclose(a[(slice(1, None),) * a.ndim], b, atol=1e-9 * np.abs(b).max())


def test_entry_of_three_different_inputs() -> None:
    """<gelu_1 gelu_2 gelu'_3>: no two labels coincide, against 1.6 million nodes of the slow twin's rule."""
    kernel = np.array([[0.8, 0.3, -0.2], [0.3, 1.0, 0.4], [-0.2, 0.4, 0.6]])
    wanted = (((0, (0,)), (0, (0,)), (0, (1,))),)
    line = (np.arange(120) - 59.5) * 0.15
    u = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    z = u @ np.linalg.cholesky(kernel).T
    weight = np.exp(-(u**2).sum(1) / 2) * (0.15 / np.sqrt(2 * np.pi)) ** 3
    gelu = activation("gelu")
    expected = float(weight @ np.asarray(gelu.jax(0)(z[:, 0]) * gelu.jax(0)(z[:, 1]) * gelu.jax(1)(z[:, 2])))
    backend = choose(gelu, 3, wanted)
    found = backend.averages(jnp.asarray(kernel), wanted, backend.data(3, 3, wanted))[0]
    assert float(found[0, 1, 2]) == pytest.approx(expected, rel=1e-10)
    assert abs(float(found[0, 2, 1]) - expected) > 1e-3  # the derivative on another input is another number


def test_square_root_of_singular_matrices() -> None:
    """Equal and proportional inputs have singular kernels; zero is one of them."""
    for matrix in (np.zeros((2, 2)), np.ones((3, 3)), np.array([[1.0, -2.0], [-2.0, 4.0]])):
        root = np.asarray(square_root(jnp.asarray(matrix)))
        np.testing.assert_allclose(root @ root.T, matrix, atol=1e-7)


def test_trapezoidal_rule_integrates_the_gaussian() -> None:
    for dimension in (1, 2, 3):
        rule = rules.trapezoid(dimension, 1)
        assert rule.weights.sum() == pytest.approx(1, abs=1e-12)
        second = (rule.weights[:, None, None] * rule.nodes[:, :, None] * rule.nodes[:, None, :]).sum(0)
        np.testing.assert_allclose(second, np.eye(dimension), atol=1e-11)


@pytest.mark.parametrize("activation, scale", [("gelu", 1e3), ("tanh", 1e4), ("tanh(1000000*z)", 1.0)])
def test_spikes_between_the_nodes_are_not_taken_for_zero(activation, scale):
    """A spike narrower than every grid cannot be integrated, but it must not pass for an exact zero either."""
    import pdlt

    net = pdlt.MLP(2, 20, activation, C_W=[scale**2, 1.0])
    with pytest.warns(UserWarning, match="rtol"):
        prediction = pdlt.predict(net, [[1.0]], ["Theta", "B"])
    assert prediction.attrs["rtol_reached"] == 0
