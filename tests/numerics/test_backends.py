"""Which method is chosen, what it refuses, and honesty of the statistical one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pdlt.activations import activation
from pdlt.errors import PdltError
from pdlt.numerics.backends import (
    ErrorFunction,
    PiecewiseLinear,
    Polynomial,
    QuasiMonteCarlo,
    Trigonometric,
    choose,
    evaluate,
    refine,
    relative_error,
)

WANTED = (((0, (0,)), (0, (0,))), ((0, (1,)), (0, (1,))), ((0, (0,)), (0, (0,)), (0, (1,)), (0, (1,))))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("relu", PiecewiseLinear),
        ("leaky_relu(0.2)", PiecewiseLinear),
        ("abs", PiecewiseLinear),
        ("erf", ErrorFunction),
        ("sin", Trigonometric),
        ("cos", Trigonometric),
        ("linear", Polynomial),
        ("z**3", Polynomial),
    ],
)
def test_closed_forms_are_chosen(name: str, kind: type) -> None:
    assert isinstance(choose(activation(name), 3, WANTED), kind)
    assert choose(activation(name), 3, WANTED).name == "closed"


def test_quadrature_while_affordable() -> None:
    tanh = activation("tanh")
    assert choose(tanh, 2, WANTED).name == "quadrature"
    assert choose(tanh, 30, WANTED).name == "qmc"
    assert choose(tanh, 30, WANTED[:2]).name == "quadrature"  # two labels need pairs only
    assert choose(tanh, 2, WANTED, method="qmc").name == "qmc"
    assert choose(activation("erf"), 2, (((0, (0,)),) * 5,)).name != "closed"  # five factors have no closed form


@pytest.mark.parametrize(
    ("name", "inputs", "wanted", "method", "message"),
    [
        ("tanh", 2, WANTED, "magic", "`method` must be one of auto, closed, quadrature, qmc, but got 'magic'"),
        ("tanh", 2, WANTED, "closed", "no closed form is known for tanh"),
        ("relu", 2, WANTED, "quadrature", "relu has a kink"),
        ("relu", 2, WANTED, "qmc", "relu has a kink"),
        ("relu", 5, (((0, (0,)),) * 5,), "auto", "up to four distinct inputs"),
        ("tanh", 5, (((0, (0,)),) * 5,), "quadrature", "not affordable; use 'qmc'"),
    ],
)
def test_refusals(name: str, inputs: int, wanted: tuple, method: str, message: str) -> None:
    with pytest.raises(PdltError, match=message):
        choose(activation(name), inputs, wanted, method)


def qmc_scores(replicates: int = 8, groups: int = 16) -> np.ndarray:
    """Return z-scores of independent groups of scramblings, shape (groups, entries), at a kernel with rho = 0.5."""
    tanh, kernel = activation("tanh"), jnp.asarray([[1.0, 0.5], [0.5, 0.8]])
    exact, _ = evaluate(choose(tanh, 2, WANTED), kernel, WANTED, rtol=1e-10)
    backend = QuasiMonteCarlo(tanh, log2_points=10, levels=replicates)
    averages = jax.jit(lambda data: backend.averages(kernel, WANTED, data))
    stack = [averages(backend.data(level, 2, WANTED)) for level in range(replicates * groups)]
    scores = []
    for group in range(groups):
        members = stack[group * replicates : (group + 1) * replicates]
        values, errors = refine(lambda level, m=members: [np.asarray(a) for a in m[level]], backend, 1e-8)
        scores.append([(v[0, 1] - e[0, 1]) / s[0, 1] for v, e, s in zip(values[:2], exact, errors, strict=False)])
    return np.array(scores)


def test_quasi_monte_carlo_errors_are_honest() -> None:
    """Eight scramblings give a standard error with seven degrees of freedom: E z^2 = 7/5.

    The mean of z^2 over 16 independent groups and two expectations has a standard deviation of about 0.6; the window
    is three of them wide on either side. Seeds are fixed by the rule itself.
    """
    square = np.mean(qmc_scores() ** 2)
    assert 0.3 < square < 3.2
    # Planted: a standard deviation where the standard error belongs, or the reverse, is outside.
    assert not 0.3 < square / 8 < 3.2
    assert not 0.3 < square * 8 < 3.2


def test_quasi_monte_carlo_converges_faster_than_monte_carlo() -> None:
    """8 * 1024 points: independent draws of tanh^2 would give 4e-3."""
    tanh = activation("tanh")
    _, errors = evaluate(QuasiMonteCarlo(tanh, log2_points=10), np.array([[1.0, 0.5], [0.5, 0.8]]), WANTED[:1])
    assert 0 < errors[0].max() < 4e-4


class Sequence:
    """A backend whose levels are given numbers."""

    name, statistical = "sequence", False

    def __init__(self, *values: float) -> None:
        self.values, self.levels = values, len(values)

    def at(self, level: int) -> list[np.ndarray]:
        return [np.array([self.values[level]])]


def test_refinement_stops_when_levels_agree() -> None:
    backend = Sequence(1.0, 1.1, 1.1001, 1.1001 + 1e-10, 7.0)
    values, errors = refine(backend.at, backend, rtol=1e-8)
    assert values[0] == 1.1001 + 1e-10
    assert errors[0] == pytest.approx(1e-10, rel=1e-3)


def test_refinement_extrapolates_only_at_the_end() -> None:
    """Differences 1e-2, 1e-4: the finest level is taken to be off by 1e-6; with two levels nothing is known."""
    backend = Sequence(1.0, 1.01, 1.0101)
    assert refine(backend.at, backend, rtol=1e-8)[1][0] == pytest.approx(1e-6, rel=1e-6)
    backend = Sequence(1.0, 1.01)
    assert refine(backend.at, backend, rtol=1e-8)[1][0] == pytest.approx(1e-2)
    backend = Sequence(1.0, 1.01, 1.04)  # differences that grow are not made smaller
    assert refine(backend.at, backend, rtol=1e-8)[1][0] == pytest.approx(3e-2)


def test_overflow_is_no_warning_here() -> None:
    backend = Sequence(np.inf, np.inf, np.inf)
    values, _ = refine(backend.at, backend, rtol=1e-8)
    assert np.isinf(values[0]).all()


def test_relative_error() -> None:
    value, error = np.array([[1.0, 100.0], [0.0, 0.0]]), np.array([[1e-3, 2e-3], [1e-9, 0.0]])
    assert relative_error(value, error) == pytest.approx(2e-5)
    assert relative_error(value, error, layered=True) == pytest.approx(2e-5)
    value[1, 0] = 1e-6  # a small layer counts by its own size
    assert relative_error(value, error, layered=True) == pytest.approx(1e-3)
    value[0, 1] = np.nan
    assert relative_error(value, error) == pytest.approx(1e-3)
