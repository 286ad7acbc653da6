"""Lowering: from equations to array operations, without losing or double-counting a term."""

import numpy as np
import pytest

from pdlt.activations import activation
from pdlt.codegen.execute import step
from pdlt.codegen.program import Program, Update, lower
from pdlt.equations import PARAMETERS
from pdlt.numerics.reference import averages
from pdlt.pipeline import derive

THEORY = derive(order=1)
SCALES = {"C_b": 0.3, "lambda_b": 0.7, "C_W": 1.4, "lambda_W": 1.1, "rho": 0.6}


def update(program: Program, key: str) -> Update:
    return program.updates[program.keys.index(key)]


def test_kernel_on_one_input_is_written_out() -> None:
    """K' = C_b + C_W <sigma^2>: two products, one expectation of a single label."""
    program = lower(derive(["K"], order=0), single=True, kinked=False)
    (kernel,) = program.updates
    assert kernel.rank == 0
    assert sorted((p.coefficient, p.powers, len(p.views)) for p in kernel.products) == [
        (1.0, (0, 0, 1, 0, 0), 1),
        (1.0, (1, 0, 0, 0, 0), 0),
    ]
    assert program.averages == (((0, (0, 0)),),)


@pytest.mark.parametrize("single", [True, False])
@pytest.mark.parametrize("kinked", [True, False])
def test_every_tensor_once_and_every_average_used(single: bool, kinked: bool) -> None:
    program = lower(THEORY, single, kinked)
    assert program.keys == THEORY.keys()
    used = {v.index for u in program.updates for p in u.products for v in p.views if v.kind == "average"}
    assert used == set(range(len(program.averages)))
    assert len(set(program.averages)) == len(program.averages)
    assert all(len(PARAMETERS) == len(p.powers) for u in program.updates for p in u.products)
    assert all(u.rank == (0 if single else len(e.labels)) for u, e in zip(program.updates, THEORY, strict=True))


def test_smooth_programs_carry_no_derivative_of_whole_expectations() -> None:
    smooth, kinked = lower(THEORY, False, False), lower(THEORY, False, True)
    assert all(p == 0 for average in smooth.averages for p, _ in average)
    assert any(p > 0 for average in kinked.averages for p, _ in average)
    assert len(smooth.averages) < len(kinked.averages)


def run(program: Program, inputs: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Run one layer on tensors with the symmetries of the theory: those made by one earlier layer."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(inputs, 3))
    kernel = 0.2 + x @ x.T / 3
    shape = lambda array: array[0, 0] if program.single else array  # noqa: E731
    start = {"K": shape(kernel), "Theta": shape(0.5 + kernel)}
    state = [
        np.asarray(start.get(u.key, np.zeros((inputs,) * u.rank if not program.single else ())))
        for u in program.updates
    ]
    for _ in range(2):
        kernel = np.asarray(state[program.keys.index("K")]).reshape(inputs, inputs)
        found = averages(activation("tanh"), kernel, program.averages)
        state = step(program, np, state, [a.reshape(()) if program.single else a for a in found], SCALES)
    return dict(zip(program.keys, map(np.asarray, state), strict=True))


def test_both_lowerings_agree_on_a_smooth_activation() -> None:
    """Kept apart for kinked activations or merged: the same numbers, equal and different inputs alike."""
    merged, apart = run(lower(THEORY, False, False), 2), run(lower(THEORY, False, True), 2)
    for key in merged:
        size = np.abs(merged[key]).max()
        np.testing.assert_allclose(apart[key], merged[key], atol=1e-12 * size, err_msg=key)


@pytest.mark.parametrize("kinked", [True, False])
def test_one_input_is_many_inputs_with_one(kinked: bool) -> None:
    single, many = run(lower(THEORY, True, kinked), 1), run(lower(THEORY, False, kinked), 1)
    for key in single:
        np.testing.assert_allclose(single[key], many[key].reshape(()), rtol=1e-11, atol=1e-13, err_msg=key)


def test_a_lost_term_is_seen() -> None:
    """Sibling of the agreements above: dropping the smallest-looking product of any tensor changes its number."""
    program = lower(THEORY, True, False)
    whole = run(program, 1)
    for i, (key, u) in enumerate(zip(program.keys, program.updates, strict=True)):
        if len(u.products) < 2:
            continue
        cut = Update(u.key, u.rank, u.products[:-1])
        broken = Program(True, program.averages, (*program.updates[:i], cut, *program.updates[i + 1 :]))
        assert abs(run(broken, 1)[key] - whole[key]) > 1e-6, key
