"""Copying definitions out of the package: all that is needed, nothing else, no two of one name."""

import pytest

from pdlt.export.embed import embed

RULES = "pdlt.numerics.rules"


def test_what_is_referred_to_comes_along() -> None:
    imports, text = embed([(RULES, "trapezoid")], [RULES], {})
    assert imports.split() == "from dataclasses import dataclass import numpy as np".split()
    assert "TRAPEZOID_POINTS = {" in text and "class Rule:" in text and "@dataclass(frozen=True)" in text
    assert "sobol" not in text and "hermite" not in text


def test_comments_and_module_prefixes() -> None:
    modules = [RULES, "pdlt.numerics.quadrature", "pdlt.numerics.backends", "pdlt.export.standalone_activation"]
    stand_ins = {("pdlt.activations", "Activation"): ("pdlt.export.standalone_activation", "Activation")}
    _, text = embed([("pdlt.numerics.backends", "Quadrature")], modules, stand_ins)
    assert "#: Nodes per dimension at each level" in text
    assert "rule = trapezoid(d, " in text and "rules.TRAPEZOID" not in text
    assert "type: ignore" not in text


def test_a_module_that_may_not_be_copied_is_an_error() -> None:
    with pytest.raises(LookupError, match="may be copied"):
        embed([("pdlt.numerics.backends", "Quadrature")], ["pdlt.numerics.backends"], {})


def test_two_definitions_of_one_name_are_an_error() -> None:
    modules = ["pdlt.numerics.quadrature", "pdlt.numerics.trigonometric"]
    with pytest.raises(LookupError, match="same name"):
        embed([(module, "averages") for module in modules], modules, {})
