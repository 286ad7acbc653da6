"""Derived equations as sympy formulas: two routes to the same canonical form, sizes, speed."""

import subprocess
import sys
from pathlib import Path

import pytest
import sympy

import pdlt
from pdlt.symbolic.expressions import Expectation, InputSum, Sigma, canonical, tensor_symbol

ROOT = Path(__file__).resolve().parents[2]
FIRST = pdlt.derive(order=1)
SECOND = pdlt.derive(["K", "V"], order=2)

#: Number of terms of each equation in textbook form.
TERMS = {
    **{"K": 2, "Theta": 3, "K_1": 2, "Theta_1": 7, "V": 3, "A": 17, "B": 2, "D": 7, "F": 2},
    **{"P": 3, "Q": 5, "R": 7, "S": 5, "T": 13, "U": 2},
}
TERMS_SECOND = {"K": 2, "K_1": 2, "V": 3, "K_2": 6, "V_1": 15, "1 2 | 3 4 | 5 6": 15}


def test_the_complete_first_order() -> None:
    assert {e.key: len(e.terms) for e in FIRST} == TERMS


def test_second_order_of_the_preactivations() -> None:
    assert {e.key: len(e.terms) for e in SECOND} == TERMS_SECOND


@pytest.mark.parametrize("equation", [*FIRST, *list(SECOND)[3:]], ids=lambda e: e.key)
def test_the_formula_and_its_expansion_are_the_same_thing(equation) -> None:
    assert canonical(equation.rhs) == equation.expanded()
    assert equation.lhs == tensor_symbol(equation.name, equation.order, equation.labels)


def test_a_changed_coefficient_is_not_the_same_thing() -> None:
    equation = FIRST["V"]
    changed = equation.rhs.replace(lambda e: isinstance(e, InputSum), lambda e: 2 * e)
    assert canonical(changed) != equation.expanded()


@pytest.mark.parametrize("equation", list(FIRST), ids=lambda e: e.key)
def test_textbook_form(equation) -> None:
    """No derivative jet is left, every summation index acts in one bracket, and labels are those of the left."""
    labels = set(equation.labels)
    for expectation in equation.expanded().atoms(Expectation):
        assert len(expectation.args) == 1
        assert {int(s.args[1]) for s in expectation.atoms(Sigma)} <= labels
    for total in equation.rhs.atoms(InputSum):
        f, *indices = total.args
        inside = [b for e in sympy.Mul.make_args(f) for x in e.atoms(Expectation) for b in x.args[1:]]
        assert sorted(map(str, inside)) == sorted(map(str, indices))


@pytest.mark.parametrize("equation", list(FIRST), ids=lambda e: e.key)
def test_powers_of_the_width_balance(equation) -> None:
    """Each ratio of widths carries one power of 1/n of the cumulants below."""
    for term in equation.terms:
        carried = sum(t.order + len(t.args) // 2 - 1 for t in term.tensors)
        assert carried == term.powers[4]


def test_deriving_everything_at_order_one_is_quick_in_a_fresh_process() -> None:
    code = "import time; t = time.perf_counter(); import pdlt; pdlt.derive(order=1); print(time.perf_counter() - t)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 20  # takes well under a second; the target is five
