"""The arrangement for reading loses nothing: written back as terms it is the same equation."""

from dataclasses import replace
from fractions import Fraction

import pytest

import pdlt
from pdlt.equations import Equation, Tensor, Term, expand_terms
from pdlt.export.layout import Group, arrange, divided
from pdlt.export.plain import equation_to_text, to_text

ORDER_ONE = pdlt.derive()
ORDER_TWO = pdlt.derive(["V", "K", "1 2 | 3 4 | 5 6"], order=2)
EQUATIONS = [*ORDER_ONE, *ORDER_TWO]


def terms_of(groups: list[Group]) -> tuple[Term, ...]:
    """Return groups as terms: the inverse of `arrange`."""
    terms = []
    for group in groups:
        for item in group.items:
            for weight, brackets in item.combination:
                owner = {-b: -1 - place for place, bracket in enumerate(brackets) for b in bracket.derivatives}
                tensors = tuple(
                    Tensor(t.name, t.order, tuple(owner.get(a, a) for a in t.args)) for t in (*item.free, *item.bound)
                )
                sigmas = tuple(bracket.sigmas for bracket in brackets)
                terms.append(Term(group.coefficient * weight, group.powers, sigmas, tensors))
    return tuple(terms)


def same(groups: list[Group], equation: Equation) -> bool:
    return expand_terms(terms_of(groups)) == expand_terms(equation.terms)


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e.key)
def test_arranged_equation_is_the_same(equation: Equation) -> None:
    groups = list(arrange(equation))
    assert same(groups, equation)
    assert len({(g.coefficient, g.powers) for g in groups}) == len(groups)


@pytest.mark.parametrize("equation", EQUATIONS, ids=lambda e: e.key)
def test_divided_equation_is_the_same(equation: Equation) -> None:
    lines = [line for group in arrange(equation) for line in divided(group, lambda _: 0.6, lambda _: 0.6)]
    assert all(len(line.items) == 1 and len(line.items[0].combination) == 1 for line in lines)
    assert same(lines, equation)


def test_a_planted_error_is_seen() -> None:
    equation = ORDER_ONE["A"]
    first, *rest = arrange(equation)
    assert not same([replace(first, coefficient=first.coefficient * Fraction(2)), *rest], equation)


def test_plain_text() -> None:
    assert equation_to_text(ORDER_ONE["Theta"]) == (
        "Theta'[1,2] = lambda_b + lambda_W <s_1 s_2> + C_W Theta[1,2] <s'_1 s'_2>"
    )
    assert equation_to_text(ORDER_ONE["V"]).splitlines() == [
        "V'[1,2,3,4] =",
        "    + C_W^2 (<s_1 s_2 s_3 s_4> - <s_1 s_2> <s_3 s_4>)",
        "    + 1/4 C_W^2 rho sum V[b1,b2,b3,b4] <d_b1 d_b2 s_1 s_2> <d_b3 d_b4 s_3 s_4>",
    ]
    assert "K_2'[1,2] =" in to_text(ORDER_TWO)
    assert "kappa(1 2 | 3 4 | 5 6)'[1,2,3,4,5,6] =" in to_text(ORDER_TWO)


def test_plain_text_fits_a_terminal() -> None:
    assert max(map(len, to_text(ORDER_ONE).splitlines())) <= 120
