"""Theories as data: exact round trips through JSON, suspicion of what is read, lookup."""

import copy
import json
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import pdlt
from pdlt.equations import Theory
from pdlt.errors import PdltError
from pdlt.symbolic.expressions import canonical

THEORY = pdlt.derive(["K", "V"], activation="tanh")
GOOD = json.loads(THEORY.to_json())


@pytest.mark.parametrize(
    ("observables", "order", "activation"),
    [
        (None, 0, None),
        (None, 1, "gelu"),
        (["K", "V"], 2, "leaky_relu(0.2)"),
        (["a1 b2 | b3 a4"], 1, "z*tanh(log(1 + exp(z)))"),
        (["1 2 | 3 4 | 5 6"], 2, None),
    ],
)
def test_json_round_trip(observables: list[str] | None, order: int, activation: str | None) -> None:
    theory = pdlt.derive(observables, order=order, activation=activation)
    text = theory.to_json()
    restored = Theory.from_json(text)
    assert restored == theory
    assert restored.version == theory.version
    assert restored.to_json() == text


def test_a_planted_error_breaks_the_round_trip() -> None:
    text = THEORY.to_json()
    assert Theory.from_json(text.replace('"1/4"', '"1/3"', 1)) != THEORY


Edit = Callable[[dict[str, Any]], Any]


def put(*path: Any) -> Edit:
    """Return an edit: put(k1, k2, value) sets document[k1][k2] = value."""

    def edit(document: dict[str, Any]) -> None:
        *steps, key, value = path
        for step in steps:
            document = document[step]
        document[key] = value

    return edit


def drop(*path: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        *steps, key = path
        for step in steps:
            document = document[step]
        del document[key]

    return edit


TERM = ("equations", 2, "terms", 2)  # 1/4 C_W^2 rho V <dd ss> <dd ss> in the equation of V

BAD_DOCUMENTS: dict[str, Any] = {
    "empty": "",
    "not text": None,
    "not UTF-8": b"\xff",
    "cut off": THEORY.to_json()[:-20],
    "a list": "[]",
    "a number": "3",
    "null": "null",
    "nested too deep": "[" * 100_000,
    "an integer with too many digits": '{"schema": ' + "1" * 5000 + "}",
    "another schema": put("schema", "pdlt.theory/0"),
    "no schema": drop("schema"),
    "no equations": put("equations", []),
    "equations are an object": put("equations", {}),
    "equation is a number": put("equations", 1, 7),
    "equation twice": lambda d: d["equations"].append(d["equations"][0]),
    "no kernel": lambda d: d["equations"].pop(0),
    "order is text": put("order", "1"),
    "order is true": put("order", True),
    "order is not whole": put("order", 1.0),
    "order is negative": put("order", -1),
    "order is nan": put("order", float("nan")),
    "requested is text": put("requested", "KV"),
    "requested holds a number": put("requested", [1]),
    "requested nothing": put("requested", []),
    "requested unknown": put("requested", ["W"]),
    "requested but absent": put("requested", ["K", "A"]),
    "activation is a number": put("activation", 1),
    "activation is code": put("activation", "__import__('os').system('true')"),
    "version is a number": put("version", 1),
    "unknown name": put("equations", 0, "name", "W"),
    "name is code": put("equations", 0, "name", "x\nimport os"),
    "name of another tensor": put("equations", 2, "name", "A"),
    "a spec that has a name": put("equations", 2, "name", "1 2 | 3 4"),
    "too few labels": put("equations", 2, "labels", [1, 2]),
    "labels in another order": put("equations", 2, "labels", [1, 3, 2, 4]),
    "another spec": put("equations", 2, "spec", "1 2"),
    "coefficient is not a ratio": put(*TERM, "coefficient", 0.25),
    "coefficient divides by zero": put(*TERM, "coefficient", "1/0"),
    "coefficient that would fill memory": put(*TERM, "coefficient", "1e999999999"),
    "coefficient is code": put(*TERM, "coefficient", "exit()"),
    "too few powers": put(*TERM, "powers", [0, 0]),
    "powers are text": put(*TERM, "powers", "00201"),
    "huge power": put(*TERM, "powers", [0, 0, 0, 0, 10**12]),
    "negative power": put(*TERM, "powers", [0, 0, 0, 0, -1]),
    "factor of three numbers": put(*TERM, "expectations", 0, [[1, 0, 0]]),
    "expectation is text": put(*TERM, "expectations", "x"),
    "expectation of nothing": put(*TERM, "expectations", 0, []),
    "one input twice": put(*TERM, "expectations", 0, [[1, 0], [1, 0]]),
    "an input that is not on the left": put(*TERM, "expectations", 0, [[9, 0], [2, 0]]),
    "negative derivative": put(*TERM, "expectations", 0, [[1, -1], [2, 0]]),
    "huge derivative": put(*TERM, "expectations", 0, [[1, 10**9], [2, 0]]),
    "unknown tensor": put(*TERM, "tensors", 0, "name", "W"),
    "tensor without equation": put(*TERM, "tensors", 0, "name", "A"),
    "tensor of a higher order": put(*TERM, "tensors", 0, "order", 5),
    "tensor of a negative order": put(*TERM, "tensors", 0, "order", -1),
    "too few indices": put(*TERM, "tensors", 0, "args", [1, 2]),
    "index bound to no expectation": put(*TERM, "tensors", 0, "args", [-9, -9, -1, -1]),
    "index that is not on the left": put(*TERM, "tensors", 0, "args", [7, 7, -1, -1]),
    "tensors are an object": put(*TERM, "tensors", {}),
    "more sums than can be carried out": lambda d: d["equations"][2]["terms"][2]["tensors"].extend(
        [{"name": "V", "order": 0, "args": [-1, -1, -2, -2]}] * 20
    ),
}


@pytest.mark.parametrize("case", BAD_DOCUMENTS.values(), ids=BAD_DOCUMENTS)
def test_malformed_json_is_refused(case: Any) -> None:
    text = case
    if callable(case):
        document = copy.deepcopy(GOOD)
        case(document)
        text = json.dumps(document)
    with pytest.raises(PdltError, match="`text`"):
        Theory.from_json(text)


def places(node: Any, path: tuple = ()) -> list[tuple]:
    """Return the path of every node below the root of a document."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [found for key, value in items for found in [(*path, key), *places(value, (*path, key))]]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=8), st.just("V")
)


@settings(max_examples=200)
@given(
    place=st.sampled_from(places(GOOD)),
    value=st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(max_size=4), SCALARS, max_size=2)),
)
def test_no_document_raises_anything_else(place: tuple, value: Any) -> None:
    document = copy.deepcopy(GOOD)
    put(*place, value)(document)
    try:
        theory = Theory.from_json(json.dumps(document))
    except PdltError:
        return
    theory.to_latex()
    theory.to_mathematica()


def test_a_theory_is_immutable_and_hashable() -> None:
    with pytest.raises(FrozenInstanceError):
        THEORY.order = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        THEORY["K"].terms[0].coefficient = 2  # type: ignore[misc]
    assert len({THEORY, Theory.from_json(THEORY.to_json())}) == 1


def test_lookup() -> None:
    assert THEORY["1 2 | 3 4"] is THEORY["V"]
    assert [equation.key for equation in THEORY] == list(THEORY.keys())
    assert len(THEORY) == len(THEORY.equations)
    with pytest.raises(KeyError, match="Theta"):
        pdlt.derive(order=0)["Thetta"]


@pytest.mark.parametrize("key", ["K", "K_1", "V"])
def test_textbook_form_is_the_expanded_form(key: str) -> None:
    equation = THEORY[key]
    assert canonical(equation.rhs) == sympy.expand(equation.expanded())


def test_a_notebook_shows_equations_as_latex() -> None:
    for shown in (THEORY["V"]._repr_latex_(), THEORY["K"]._repr_latex_(), THEORY._repr_latex_()):
        assert shown.startswith("$") and shown.endswith("$")
        assert r"\begin{aligned}" in shown and "&" in shown
