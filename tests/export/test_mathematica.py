"""Mathematica source, read back with sympy's parser, is the derived equations."""

import re

import pytest
import sympy
from sympy.core.function import AppliedUndef
from sympy.parsing.mathematica import parse_mathematica

import pdlt
from pdlt.equations import Theory
from pdlt.export.mathematica import tensor_name, to_mathematica
from pdlt.symbolic.expressions import PARAMETER_SYMBOLS, Expectation, Sigma, tensor_symbol

THEORIES = {
    "every named tensor": pdlt.derive(),
    "order two": pdlt.derive(["V", "K"], order=2),
    "unnamed with directions": pdlt.derive(["ab1 ab2 | 3 4", "abc1 a2 | b3 c4"]),
}

#: Symbols of Mathematica's System context that formulas with one-letter names run into.
SYSTEM_SYMBOLS = {"C", "D", "E", "I", "K", "N", "O"}


def read_back(text: str, theory: Theory) -> dict[sympy.Expr, sympy.Expr]:
    """Return {left-hand side: right-hand side} in the package's own symbols."""
    (rules,) = re.findall(r"pdltTheory = \{\n(.*?)\n\};", text, flags=re.DOTALL)
    names = dict(zip(("Cb", "lambdab", "CW", "lambdaW", "rho"), PARAMETER_SYMBOLS, strict=True))
    tensors = {tensor_name(e.name, e.order): (e.name, e.order) for e in theory}

    def translated(expression: sympy.Expr) -> sympy.Expr:
        table = {symbol: names[symbol.name] for symbol in expression.free_symbols}
        for call in expression.atoms(AppliedUndef):
            if call.func.__name__ == "avg":
                table[call] = Expectation(sympy.Mul(*(Sigma(k, label) for label, k in call.args[0])))
            else:
                table[call] = tensor_symbol(*tensors[call.func.__name__], call.args)
        return expression.xreplace(table)

    equations = {}
    # One rule at a time: the time that sympy's parser takes grows with the square of the length.
    for text_of_rule in rules.split(",\n  next"):
        rule = parse_mathematica("next" + text_of_rule.strip().removeprefix("next"))
        left, right = rule.args
        assert (rule.func.__name__, left.func.__name__) == ("Rule", "next")
        equations[translated(left.args[0])] = translated(right)
    return equations


@pytest.mark.parametrize(
    "theory",
    [pytest.param(t, id=name, marks=[pytest.mark.slow] if t.order > 1 else []) for name, t in THEORIES.items()],
)
def test_read_back_it_equals_the_expanded_equations(theory: Theory) -> None:
    equations = read_back(to_mathematica(theory), theory)
    assert len(equations) == len(theory)
    for equation in theory:
        assert equations[equation.lhs] == equation.expanded(), equation.key


def test_the_whole_text_parses() -> None:
    statements = parse_mathematica(to_mathematica(pdlt.derive(["V"], activation="tanh")))
    assert statements.func.__name__ == "CompoundExpression"
    assert [s.args[0].name for s in statements.args if s.args] == ["pdltTheory", "pdltActivation"]


def test_a_planted_error_is_seen() -> None:
    theory = pdlt.derive(["V"])
    text = to_mathematica(theory)
    assert text.count("1/4*") > 0
    equations = read_back(text.replace("1/4*", "1/3*", 1), theory)
    assert any(equations[e.lhs] != e.expanded() for e in theory)


@pytest.mark.parametrize("theory", THEORIES.values(), ids=THEORIES)
def test_names_are_legal_and_free(theory: Theory) -> None:
    code = re.sub(r"\(\*.*?\*\)", "", to_mathematica(theory), flags=re.DOTALL)
    assert "_" not in code
    names = set(re.findall(r"[A-Za-z]\w*", code))
    assert not names & SYSTEM_SYMBOLS
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", name) for name in names)


def test_different_tensors_have_different_names() -> None:
    for theory in THEORIES.values():
        assert len({tensor_name(e.name, e.order) for e in theory}) == len(theory)


@pytest.mark.parametrize(
    ("activation", "definition"),
    [("tanh", "Tanh[z]"), ("relu", "Max[0, z]"), ("silu", "z/(1 + Exp[-z])")],
)
def test_the_activation_is_defined(activation: str, definition: str) -> None:
    text = to_mathematica(pdlt.derive(["K"], order=0, activation=activation))
    assert f"pdltActivation = Function[z, {definition}];" in text


def test_the_gelu_activation_is_elementary() -> None:
    text = to_mathematica(pdlt.derive(["K"], order=0, activation="gelu"))
    (body,) = re.findall(r"Function\[z, (.*)\];", text)
    z = sympy.Symbol("z")
    expected = z * (1 + sympy.erf(z / sympy.sqrt(2))) / 2
    parsed = parse_mathematica(body).replace(sympy.Function("Erf"), sympy.erf)
    assert sympy.simplify(parsed - expected) == 0
