"""Running a program: laying arrays along axes, on numpy and on jax alike."""

import jax.numpy as jnp
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.codegen.execute import along, step
from pdlt.codegen.program import Product, Program, Update, View

CASES = [
    ((0,), 1),
    ((1,), 3),
    ((0, 1), 2),
    ((1, 0), 2),
    ((2, 0), 4),
    ((0, 0), 2),
    ((1, 1, 0), 2),
    ((3, 0, 2, 1), 4),
    ((2, 0, 2, 1), 4),
]


@pytest.mark.parametrize(("axes", "rank"), CASES)
@pytest.mark.parametrize("xp", [np, jnp])
def test_along(axes: tuple[int, ...], rank: int, xp: object) -> None:
    """Entry (i_0, i_1, ...) of the output is entry (i_axes[0], i_axes[1], ...) of the array."""
    with x64():
        array = np.random.default_rng(1).normal(size=(3,) * len(axes))
        laid = np.broadcast_to(np.asarray(along(xp, xp.asarray(array), axes, rank)), (3,) * rank)  # type: ignore[attr-defined]
    for entry in np.ndindex(*laid.shape):
        assert laid[entry] == array[tuple(entry[a] for a in axes)]


def test_a_number_needs_no_axes() -> None:
    assert along(np, np.float64(2.0), (), 4) == 2.0


def test_transposed_axes_are_not_the_same() -> None:
    array = np.arange(9.0).reshape(3, 3)
    assert not np.array_equal(along(np, array, (0, 1), 2), along(np, array, (1, 0), 2))


PROGRAM = Program(
    single=False,
    averages=(((0, (0,)), (0, (0,))),),
    updates=(
        Update(
            "K", 2, (Product(1.0, (1, 0, 0, 0, 0), ()), Product(0.5, (0, 0, 2, 0, 1), (View("average", 0, (1, 0)),)))
        ),
        Update("X", 1, (Product(-2.0, (0, 1, 0, 1, 0), (View("tensor", 0, (0, 0)), View("tensor", 1, (0,)))),)),
    ),
)


@pytest.mark.parametrize("xp", [np, jnp])
def test_step_by_hand(xp: object) -> None:
    """K' = C_b + rho C_W^2/2 <..>^T, X'_i = -2 lambda_b lambda_W K_ii X_i."""
    parameters = {"C_b": 0.1, "lambda_b": 0.3, "C_W": 2.0, "lambda_W": 0.7, "rho": 1.5}
    kernel, vector = np.array([[1.0, 0.2], [0.4, 2.0]]), np.array([3.0, -1.0])
    average = np.array([[5.0, 6.0], [7.0, 8.0]])
    with x64():
        state = [xp.asarray(kernel), xp.asarray(vector)]  # type: ignore[attr-defined]
        new = [np.asarray(a) for a in step(PROGRAM, xp, state, [xp.asarray(average)], parameters)]  # type: ignore[attr-defined]
    np.testing.assert_allclose(new[0], 0.1 + 1.5 * 4.0 / 2 * average.T, rtol=1e-15)
    np.testing.assert_allclose(new[1], -2 * 0.3 * 0.7 * kernel.diagonal() * vector, rtol=1e-15)
    assert not np.allclose(new[0], 0.1 + 1.5 * 4.0 / 2 * average)
