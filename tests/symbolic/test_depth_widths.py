"""Closed forms for unequal widths, C_W free or not: against exact finite networks, predictions, and equal widths."""

from fractions import Fraction

import numpy as np
import pytest
import sympy
from finite_width_products import covariance_cumulants
from sympy.polys.rings import ring

import pdlt
from pdlt.symbolic import depth, widths
from pdlt.symbolic.depth import K, ell
from pdlt.symbolic.depth import widths as n
from pdlt.symbolic.expressions import C_W, lambda_b, lambda_W
from pdlt.symbolic.homogeneous import chi, layer

POINTS = ("K", "V", "1 2 | 3 4 | 5 6", "1 2 | 3 4 | 5 6 | 7 8", "1 2 | 3 4 | 5 6 | 7 8 | 9 10")
WIDTHS = (Fraction(3), Fraction(5, 2), Fraction(2), Fraction(7), Fraction(4, 3))
X = [[0.8, -0.5, 1.3]]


def product_coefficients(order: int, moments: dict, sizes: tuple, kernel: Fraction) -> dict[str, Fraction]:
    """Return every coefficient at the layer after hidden layers of these widths, from products of exact averages."""
    cumulants = covariance_cumulants(order + 1, moments, sizes, kernel, order + 1)
    return {
        POINTS[k] if j == 0 else f"{POINTS[k]}_{j}": series[j]
        for k, series in enumerate(cumulants)
        for j in range(order - k + 1)
    }


def at(formula: sympy.Expr, depth: int, values: dict) -> sympy.Expr:
    """Return a formula's value at a depth, exactly."""
    sizes = {n[m]: sympy.Rational(s.numerator, s.denominator) for m, s in enumerate(WIDTHS, start=1)}
    return formula.subs(ell, depth).doit().subs({**sizes, **values})


@pytest.mark.parametrize(
    ("order", "activation", "critical"),
    [
        (2, "relu", True),
        (2, "leaky_relu(1/2)", False),
        (3, "leaky_relu(1/2)", True),
        (3, "relu", False),
        (3, "linear", False),
        (4, "abs", True),
    ],
)
def test_preactivations_are_the_exact_products(order: int, activation: str, critical: bool) -> None:
    """A coefficient of weight w has one unknown for each partition of w: at most five, and there are five depths."""
    slopes = {"relu": (0, 1), "leaky_relu(1/2)": (Fraction(1, 2), 1), "linear": (1, 1), "abs": (-1, 1)}[activation]
    second = Fraction(slopes[0] ** 2 + slopes[1] ** 2) / 2
    moments = {m: Fraction(slopes[0] ** m + slopes[1] ** m) / 2 / second ** (m // 2) for m in range(4, 12, 2)}
    variance = 1 / second if critical else Fraction(5, 3)
    found = pdlt.closed_form(POINTS[: order + 1], activation, order, critical=critical, equal_widths=False)
    values = {K: sympy.Rational(3, 4), C_W: sympy.Rational(variance.numerator, variance.denominator)}
    for hidden in range(1, len(WIDTHS) + 1):
        kernel = Fraction(3, 4) * (variance * second) ** hidden
        wanted = product_coefficients(order, moments, WIDTHS[:hidden], kernel)
        assert set(found) == set(wanted)
        for key, value in wanted.items():
            assert at(found[key], hidden + 1, values) == sympy.Rational(value.numerator, value.denominator), key


def test_order_three_for_all_slopes_at_once() -> None:
    """With symbols for the moments, at depths that fix all three coefficients of weight three."""
    names = {m: sympy.Symbol(f"a_{m}", positive=True) for m in (4, 6, 8)}
    one, kernel, *symbols = ring([K, *names.values()], sympy.QQ)
    moments = dict(zip(names, symbols))
    found = pdlt.closed_form(POINTS[:4], None, 3, equal_widths=False)
    for hidden in (1, 2, 3):
        sizes = [sympy.QQ(w.numerator, w.denominator) for w in WIDTHS[:hidden]]
        cumulants = covariance_cumulants(4, moments, sizes, kernel, 4)
        for k, series in enumerate(cumulants):
            for j in range(4 - k):
                key = POINTS[k] if j == 0 else f"{POINTS[k]}_{j}"
                assert sympy.expand(at(found[key], hidden + 1, {}) - (one.one * series[j]).as_expr()) == 0


def test_one_other_width_is_seen() -> None:
    found = pdlt.closed_form(POINTS[:3], "relu", 2, equal_widths=False)
    wanted = product_coefficients(2, {4: 2, 6: 4}, (Fraction(3), Fraction(2), Fraction(2)), Fraction(1))
    right = product_coefficients(2, {4: 2, 6: 4}, WIDTHS[:3], Fraction(1))
    values = {K: sympy.S.One}
    assert all(at(found[key], 4, values) == right[key] for key in right)
    assert [key for key in right if at(found[key], 4, values) != wanted[key]] == ["V", "V_1", POINTS[2]]


@pytest.mark.parametrize("critical", [True, False], ids=["critical", "free"])
def test_equal_widths_are_a_special_case(critical: bool) -> None:
    unequal = pdlt.closed_form(POINTS[:4], None, 3, critical=critical, equal_widths=False)
    equal = pdlt.closed_form(POINTS[:4], None, 3, critical=critical)
    size = sympy.Symbol("size", positive=True)
    for key, formula in unequal.items():
        merged = formula.replace(lambda e: isinstance(e, sympy.Indexed), lambda _: size).doit()
        assert sympy.simplify(merged - equal[key]) == 0, key


def test_both_ways_to_sum_over_layers_agree() -> None:
    """V is a sum over layers at order 1 and a power sum at order 2."""
    first = pdlt.closed_form("V", None, 1, critical=False, equal_widths=False)["V"]
    second = pdlt.closed_form("V", None, 2, critical=False, equal_widths=False)["V"]
    assert sympy.simplify(first - second) == 0


CASES = {"relu": 2.0, "leaky_relu(0.2)": 2 / 1.04, "linear": 1.0, "abs": 1.0}


@pytest.mark.parametrize(
    ("activation", "factor"),
    [("relu", 1.0), ("relu", 0.7), ("leaky_relu(0.2)", 1.4), ("linear", 1.4), ("abs", 1.0), ("abs", 0.7)],
)
def test_predictions_agree(activation: str, factor: float) -> None:
    """Off criticality the denominators (chi - 1)^4 amplify rounding a thousandfold: 1e-10 leaves room for that."""
    sizes = [32, 48, 20, 64, 16, 40, 24]
    critical = factor == 1.0
    variance = CASES[activation] * factor
    net = pdlt.MLP(8, sizes, activation, C_b=0.0, C_W=variance, lambda_b=0.4, lambda_W=0.9)
    pairs = [
        (
            pdlt.closed_form(None, activation, critical=critical, equal_widths=False),
            pdlt.predict(net, X, kinks="pointwise"),
        ),
        (
            pdlt.closed_form(POINTS[:3], activation, 2, critical=critical, equal_widths=False),
            pdlt.predict(net, X, list(POINTS[:3]), order=2),
        ),
    ]
    for forms, prediction in pairs:
        values = {K: prediction["K"].values[0].item(), lambda_b: 0.4, lambda_W: 0.9, C_W: variance}
        for key, formula in forms.items():
            for depth_ in (1, 2, 8):
                exact = formula.subs(ell, depth_).doit().subs({n[m]: s for m, s in enumerate(sizes, start=1)})
                value = prediction[key].sel(layer=depth_).item()
                np.testing.assert_allclose(value, float(exact.subs(values)), rtol=1e-10, atol=1e-300, err_msg=key)


def test_a_wrong_solution_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """With layers that leave p_2 as it is, the ansatz does not solve the recursion, and there is no answer."""
    right = widths.PowerSums.next_layer

    def wrong(self: widths.PowerSums, series: dict, factor: object) -> dict:
        return right(widths.PowerSums(self.inverse, (self.sums[0],)), series, factor)

    depth._solve.cache_clear()
    monkeypatch.setattr(widths.PowerSums, "next_layer", wrong)
    with pytest.raises(ArithmeticError, match="power sums"):
        pdlt.closed_form(["V"], "relu", 2, equal_widths=False)
    depth._solve.cache_clear()


def test_a_recursion_without_such_a_solution_is_refused() -> None:
    _, x, *sums = ring("x p_1 p_2 p_3", sympy.QQ)
    powers = widths.PowerSums(x, tuple(sums))
    one = sympy.QQ(1)
    p_1, p_2, _ = sums
    assert powers.propagate(one, {(0, 0): 2 * x * p_1}, one, 2) == {(0, 0): p_1**2 - p_2}
    with pytest.raises(ArithmeticError, match="power sums"):
        powers.propagate(one, {(0, 0): x * p_2}, one, 3)


def test_partitions() -> None:
    assert list(widths.partitions(4)) == [(4,), (3, 1), (2, 2), (2, 1, 1), (1, 1, 1, 1)]
    assert [len(list(widths.partitions(k))) for k in range(8)] == [1, 1, 2, 3, 5, 7, 11, 15]


def test_what_is_returned_is_immutable_and_knows_its_assumptions() -> None:
    forms = pdlt.closed_form(["V", "B"], "leaky_relu(0.2)", critical=False, equal_widths=False)
    assert (forms.activation, forms.order, forms.critical, forms.equal_widths) == ("leaky_relu(0.2)", 1, False, False)
    assert forms.second_moment == sympy.Rational(13, 25)
    assert forms.definitions == {chi: sympy.Rational(13, 25) * C_W}
    assert forms.parameters == (ell, K, C_W, lambda_b, lambda_W)
    assert list(forms) == ["V", "B"] and len(forms) == 2 and "V" in forms
    assert forms == dict(forms)
    assert forms["V"].free_symbols >= {C_W, K, ell} and chi not in forms["V"].free_symbols
    assert layer in forms["B"].atoms(sympy.Symbol)
    with pytest.raises(KeyError, match="They are V, B"):
        forms["W"]
    with pytest.raises(TypeError):
        forms["V"] = K  # type: ignore[index]
    with pytest.raises(AttributeError):
        forms.order = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        forms.definitions[K] = K  # type: ignore[index]
