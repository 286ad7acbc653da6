"""Closed forms in depth: against the literature, exact finite networks, the iterated recursion, and predictions."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sympy
from finite_width_products import covariance_cumulants
from sympy.polys.rings import ring

import pdlt
from pdlt.checks.arithmetic import single_input
from pdlt.checks.gaussian import homogeneous_average
from pdlt.symbolic import depth as closed
from pdlt.symbolic import depth_series
from pdlt.symbolic.depth import A_2, K, ell, widths
from pdlt.symbolic.expressions import C_W, lambda_b, lambda_W

a = sympy.Symbol("a_4", positive=True)
POINTS = ("K", "V", "1 2 | 3 4 | 5 6", "1 2 | 3 4 | 5 6 | 7 8")
X = [[0.8, -0.5, 1.3]]


def literature(nu: sympy.Expr = 3 * a - 1) -> dict[str, sympy.Expr]:
    """The published table; `nu` is its coupling 3 a - 1."""
    k_W = lambda_W * A_2 * K
    k = lambda_b + k_W
    pairs = ell * (ell - 1) / 2
    squares = (ell - 1) * ell * (2 * ell - 1) / 6
    return {
        "K": K,
        "Theta": k * ell,
        "V": nu * K**2 * (ell - 1),
        "F": a * K * k * pairs,
        "B": a * k**2 * squares,
        "D": K * (k_W * nu + k * (a - 1)) * pairs,
        "A": (k_W**2 * nu + k_W * k * (a - 1) + k**2 * (a - 1)) * squares + k_W * k * (a - 1) * pairs,
        "Q": a * k_W * k * (ell - 1) * ell * (ell + 1) / 6,
        "P": sympy.S.Zero,
        "R": sympy.S.Zero,
        "U": sympy.S.Zero,
        "K_1": sympy.S.Zero,
        "Theta_1": sympy.S.Zero,
    }


def different(found: dict[str, sympy.Expr], wanted: dict[str, sympy.Expr]) -> list[str]:
    return [key for key in wanted if sympy.expand(found[key] - wanted[key]) != 0]


def test_order_one_is_the_published_table() -> None:
    found = pdlt.closed_form(activation=None)
    assert different(found, literature()) == []
    assert set(found) - set(literature()) == {"S", "T"}


def test_a_wrong_coupling_is_seen() -> None:
    assert different(pdlt.closed_form(activation=None), literature(nu=3 * a - 2)) == ["V", "D", "A"]


def test_a_given_activation_is_a_special_case() -> None:
    general = pdlt.closed_form(activation=None)
    for name, values in {
        "relu": {A_2: sympy.Rational(1, 2), a: 2},
        "linear": {A_2: 1, a: 1},
        "-3*z": {A_2: 9, a: 1},
        "leaky_relu(1/2)": {A_2: sympy.Rational(5, 8), a: sympy.Rational(34, 25)},
    }.items():
        special = pdlt.closed_form(activation=name)
        assert different(special, {key: value.subs(values) for key, value in general.items()}) == []


def product_series(order: int) -> dict[str, list[sympy.Expr]]:
    """Return the coefficients of the cumulants at depths 2, 3, ..., from exact products: enough to fix polynomials."""
    names = {m: sympy.Symbol(f"a_{m}", positive=True) for m in range(4, 2 * order + 4, 2)}
    one, kernel, *values = ring([K, *names.values()], sympy.QQ)
    moments = dict(zip(names, values))
    table: dict[str, list[sympy.Expr]] = {}
    for hidden in range(1, order + 3):
        cumulants = covariance_cumulants(order + 1, moments, [sympy.QQ(1)] * hidden, kernel, order + 1)
        for k, series in enumerate(cumulants):
            for j in range(order - k + 1):
                key = POINTS[k] if j == 0 else f"{POINTS[k]}_{j}"
                table.setdefault(key, []).append((one.one * series[j]).as_expr())
    return table


def test_preactivations_to_order_three_are_the_exact_product() -> None:
    """A coefficient of 1/n^r is a polynomial of degree r in depth, so agreement at more than r + 1 depths is proof."""
    found = pdlt.closed_form(POINTS, activation=None, order=3)
    table = product_series(3)
    assert set(found) == set(table)
    for key, values in table.items():
        assert sympy.Poly(found[key], ell).degree() < 4 or found[key] == 0
        for hidden, value in enumerate(values, start=1):
            assert sympy.expand(found[key].subs(ell, hidden + 1) - value) == 0
    assert sympy.expand(found["V_1"].subs(ell, 4) - table["V_1"][1]) != 0  # the layers count


def test_relu_four_point_vertex_sums_to_the_exact_one() -> None:
    """V = n K^2 ((1 + 5/n)^(L-1) - 1) for critical ReLU networks."""
    n = sympy.Symbol("n", positive=True)
    found = pdlt.closed_form("V", "relu", order=3)
    exact = sympy.expand(n * K**2 * ((1 + 5 / n) ** 3 - 1))  # depth 4: the series ends
    series = found["V"] + found["V_1"] / n + found["V_2"] / n**2
    assert sympy.expand(series.subs(ell, 4) - exact) == 0


@cache
def theory(names: tuple[str, ...] | None, order: int):
    return pdlt.derive(names, order=order)


def iterated(names, order: int, ratios: list, slopes: tuple, values: dict) -> list[dict[str, Fraction]]:
    """Return the tensors of layers 1, 2, ... from the recursions, in rational arithmetic."""
    system = theory(names, order)
    parameters = {"C_b": 0, "lambda_b": values[lambda_b], "C_W": values[C_W], "lambda_W": values[lambda_W]}
    first = {"K": values[K], "Theta": values[lambda_b] + values[lambda_W] * values[K] / values[C_W]}
    states = [{e.key: first.get(e.key, Fraction(0)) for e in system}]
    for last, width in zip([ratios[0], *ratios], ratios):
        average = homogeneous_average(lambda m: Fraction(slopes[0] ** m + slopes[1] ** m) / 2, states[-1]["K"])
        step = {**parameters, "rho": Fraction(width, last)}
        states.append({e.key: single_input(e, states[-1], average, step) for e in system})
    return states


VALUES = {K: Fraction(3, 4), lambda_b: Fraction(2, 3), lambda_W: Fraction(5, 7)}


def rational(values: dict) -> dict:
    return {symbol: sympy.Rational(value.numerator, value.denominator) for symbol, value in values.items()}


def test_free_weight_variance_solves_the_recursion() -> None:
    values = {**VALUES, C_W: Fraction(7, 2)}
    names = ("Theta", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U")
    for order, wanted in ((1, names), (2, ("Theta", "V", "F", "B"))):
        found = pdlt.closed_form(wanted, "relu", order, critical=False)
        states = iterated(wanted, order, [1] * 5, (0, 1), values)
        for layer, state in enumerate(states, start=1):
            for key, formula in found.items():
                assert formula.subs(rational(values)).subs(ell, layer) == sympy.sympify(state[key]), (key, layer)


def test_free_weight_variance_tends_to_the_critical_one() -> None:
    free, critical = pdlt.closed_form("B", "relu", critical=False), pdlt.closed_form("B", "relu")
    values = rational(VALUES)
    for layer in (2, 3, 6):
        limit = sympy.limit(sympy.simplify(free["B"].subs(values).subs(ell, layer)), C_W, 2)
        assert limit == critical["B"].subs(values).subs(ell, layer)


UNEQUAL = [3, 5, 2, 7, 4]


@pytest.mark.parametrize("variance", [Fraction(8, 5), Fraction(7, 3)], ids=["critical", "free"])
def test_unequal_widths_solve_the_recursion(variance: Fraction) -> None:
    slopes = (Fraction(1, 2), Fraction(1))
    values = {**VALUES, C_W: variance}
    found = pdlt.closed_form(None, "leaky_relu(1/2)", critical=variance == Fraction(8, 5), equal_widths=False)
    states = iterated(None, 1, UNEQUAL, slopes, values)
    sizes = {widths[layer]: size for layer, size in enumerate(UNEQUAL, start=1)}
    for layer, state in enumerate(states, start=1):
        for key, formula in found.items():
            value = formula.subs(rational(values)).subs(ell, layer).doit().subs(sizes)
            assert value == sympy.sympify(state[key]), (key, layer)


def test_equal_widths_are_a_special_case_of_unequal_ones() -> None:
    equal, unequal = pdlt.closed_form(activation=None), pdlt.closed_form(activation=None, equal_widths=False)
    n = sympy.Symbol("n", positive=True)
    merged = {k: f.replace(lambda e: isinstance(e, sympy.Indexed), lambda _: n).doit() for k, f in unequal.items()}
    assert different(merged, equal) == []


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.2)", "linear", "abs"])
def test_predictions_agree(activation: str) -> None:
    found = pdlt.closed_form(None, activation)
    second = pdlt.closed_form(["K", "V", POINTS[2]], activation, order=2)
    critical = {"relu": 2.0, "leaky_relu(0.2)": 2 / 1.04, "linear": 1.0, "abs": 1.0}[activation]
    net = pdlt.MLP(12, 64, activation, C_b=0.0, C_W=critical, lambda_b=0.4, lambda_W=0.9)
    results = [
        (found, pdlt.predict(net, X, kinks="pointwise")),
        (second, pdlt.predict(net, X, ["K", "V", POINTS[2]], order=2)),
    ]
    for formulas, prediction in results:
        kernel = prediction["K"].values[0].item()
        for key, formula in formulas.items():
            at = sympy.lambdify(ell, formula.subs({K: kernel, lambda_b: 0.4, lambda_W: 0.9}), "math")
            for layer in (1, 2, 5, 12):
                value = prediction[key].sel(layer=layer).item()
                np.testing.assert_allclose(value, at(layer), rtol=1e-12, atol=1e-12, err_msg=f"{key}, layer {layer}")


def test_exportable() -> None:
    latex = sympy.latex(pdlt.closed_form("V", "relu")["V"])
    assert latex == r"5 K^{2} \left(\ell - 1\right)"


def test_a_wrong_solution_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is returned is substituted back: with a solver that forgets the initial value there is no answer."""
    right = depth_series.first_value
    wrong = lambda series, chi, depth: right(series, chi, depth) + (1 if series else 0)  # noqa: E731
    monkeypatch.setattr(depth_series, "first_value", wrong)
    closed._solve.cache_clear()
    with pytest.raises(ArithmeticError, match="recursion"):
        pdlt.closed_form("V", "relu")
    monkeypatch.undo()
    closed._solve.cache_clear()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation": "tanh"}, "scale-invariant.*pdlt scaling"),
        ({"activation": "z**2"}, "scale-invariant"),
        ({"activation": "relu", "order": -1}, "`order`"),
        ({"activation": "relu", "order": 10**9}, "`order`"),
        ({"observables": ["Vee"]}, "Vee"),
        ({"observables": []}, "empty"),
        ({"observables": ["V"], "order": 0}, "first appears"),
        ({"order": 2, "equal_widths": False}, "`equal_widths`"),
        ({"observables": ["K", "Theta"], "order": 2, "equal_widths": False}, "'Theta' at order 2"),
    ],
)
def test_bad_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(pdlt.PdltError, match=message):
        pdlt.closed_form(**arguments)
