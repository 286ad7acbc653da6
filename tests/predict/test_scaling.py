"""Relative sizes at large depth: published numbers, exact closed forms, recursions iterated through many layers."""

from fractions import Fraction
from functools import cache

import numpy as np
import pytest
import sympy as sp

import pdlt
from pdlt.predict.couplings import ell, share
from pdlt.predict.scales import natural_size
from pdlt.predict.scaling import scaling
from pdlt.report.scaling_figure import iterated

HALF = Fraction(1, 2)
c_K = sp.Symbol("c_K")
NAMES = ("V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U")


@cache
def solved(activation, regime=None, learning_rates="equivalent"):
    return scaling(activation, regime=regime, learning_rates=learning_rates)


# Published -----------------------------------------------------------------------------------------------------------

#: REFERENCES: tanh, lambda_b = 0, constant lambda_W; the kernel and couplings at large depth.
PUBLISHED = {"V": (2, 3), "F": (1, 4), "B": (1, 3), "P": (-1, 12), "R": (-1, 12), "S": (1, 12)}


def test_published_coefficients_of_tanh():
    result = solved("tanh", learning_rates="weights")
    assert sp.limit(result.kernel.subs(c_K, 0) * ell, ell, sp.oo) == HALF
    for name, (p, q) in PUBLISHED.items():
        assert result[name].leading.coefficient == sp.Rational(p, q), name
        assert result[name].at_fixed_ratio


@pytest.mark.parametrize("activation", ["sin", "erf", "tanh(z)-z**3/5", "2*tanh(3*z)"])
def test_odd_activations_share_the_coefficients(activation):
    reference, other = solved("tanh"), solved(activation)
    for name in reference.couplings:
        assert sp.expand(reference[name].leading.coefficient - other[name].leading.coefficient) == 0, name


def test_another_class_member_does_not_share_all():
    # sigma''(0) != 0: the variance of the kernel is universal in the class, tensors of the NTK are not.
    other = solved("tanh(z)+tanh(z)**2/2")
    assert other["V"].leading.coefficient == sp.Rational(2, 3)
    assert other["F"].leading.coefficient != solved("tanh")["F"].leading.coefficient
    assert other.criticality.exponents["p_perp"] == pytest.approx(0.8)


# Exact polynomials in depth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "linear", "leaky_relu(0.2)"])
@pytest.mark.parametrize("order", [1, 2])
def test_scale_invariant_series_are_the_closed_forms(activation, order):
    names = list(NAMES) if order == 1 else ["K", "V", "A", "B"]
    result = scaling(activation, names, order=order).at_share("1/3")
    forms = pdlt.closed_form(names, activation, order)
    # K = 1 and kappa = lambda_b + lambda_W A_2 K = 1, of which the weights have a third.
    from pdlt.symbolic.depth import A_2, K  # noqa: F401
    from pdlt.symbolic.expressions import lambda_b, lambda_W

    second = forms.second_moment
    values = {K: 1, lambda_b: sp.Rational(2, 3), lambda_W: sp.Rational(1, 3) / second}
    theta = ell
    assert any(c.terms for c in result.couplings.values())
    for name, coupling in result.couplings.items():
        exact = forms[name].subs(values).subs(sp.Symbol("ell", integer=True, positive=True), ell)
        _, beta = coupling.natural
        assert sp.simplify(coupling.series * theta ** sp.Rational(beta.numerator, beta.denominator) - exact) == 0, name
        assert coupling.exact


def half_stable_at_rest(depth):
    result = solved("gelu").at_share("1/2")
    found = iterated(result, depth)
    return [(found[name][depth - 1], float(result[name].series.subs(ell, depth))) for name in NAMES]


@pytest.mark.parametrize("depth", [2, 7, 60])
def test_half_stable_fixed_point_is_exact(depth):
    # 1e-10: predictions are integrated to 1e-8 or better relative to the largest entry, in practice 1e-12.
    for measured, exact in half_stable_at_rest(depth):
        assert exact == pytest.approx(measured, rel=1e-10, abs=1e-10)


# Recursions iterated -------------------------------------------------------------------------------------------------


def measured(activation, weights, depth):
    """Iterate the recursions with the learning rates of `equivalent_learning_rates`; K and couplings of all layers."""
    result = solved(activation)
    w = float(Fraction(weights))
    rates = pdlt.equivalent_learning_rates(result.criticality, depth, biases=1 - w, weights=w)
    net = pdlt.MLP.critical(activation, depth, 10**9, lambda_b=rates.lambda_b, lambda_W=rates.lambda_W)
    found = pdlt.predict(net, [[1.0]])
    scales = {name: found[name].values.ravel().tolist() for name in ("K", "Theta")}
    couplings = {
        name: found[name].values.ravel() / natural_size(name.split("_")[0], scales) for name in result.couplings
    }
    return found.K.values.ravel(), couplings


def residuals(activation, weights, depths, factor=1):
    """Return |series/recursion - 1| l^2/log(l)^2 for every coupling and depth; `factor` multiplies logarithms.

    One constant is free, c_K, which is taken from the kernel of the last layer.
    """
    K, found = measured(activation, weights, max(depths))
    result = solved(activation).at_share(weights)
    shift = sp.nsolve((result.kernel - K[-1]).subs(ell, len(K)), c_K, 0)
    table = {}
    for name, coupling in result.couplings.items():
        terms = [t._replace(coefficient=t.coefficient * factor) if t.logs else t for t in coupling.terms]
        series = sp.lambdify(ell, sp.Add(*(t.expression for t in terms)).subs(c_K, shift))
        table[name] = [abs(series(d) / found[name][d - 1] - 1) * d**2 / np.log(d) ** 2 for d in depths]
    return table


@pytest.mark.parametrize(("activation", "weights"), [("tanh", "3/5"), ("sin", "1/4"), ("tanh(z)+tanh(z)**2/2", "1/2")])
def test_first_corrections_leave_the_second_ones(activation, weights):
    # What is left over falls as (log(l)/l)^2: scaled by that, it does not grow with depth. A wrong correction would
    # grow by (10,000/300) (log 300/log 10,000) = 21.
    table = residuals(activation, weights, (300, 10_000))
    assert set(table) == {"K_1", "Theta_1", *NAMES}
    for name, (before, after) in table.items():
        assert after < 4 * max(before, 1), (name, before, after)


def test_a_wrong_logarithm_is_noticed():
    # Ten percent off in the coefficients of log(l)/l; B and S have none.
    table = residuals("tanh", "3/5", (300, 10_000), factor=1.1)
    unmoved = {name for name, (before, after) in table.items() if after < 4 * max(before, 1)}
    assert {"B", "S"} <= unmoved
    assert len(unmoved) <= 4


def test_constant_learning_rates():
    # Theta of the first layers is a second constant.
    result = solved("tanh", learning_rates="constant")
    depth, rate = 10_000, 0.7
    net = pdlt.MLP.critical("tanh", depth, 10**9, lambda_b=1.0, lambda_W=rate)
    found = pdlt.predict(net, [[1.0]], ["K", "Theta", "B", "A", "P"])
    K, Theta = found.K.values.ravel(), found.Theta.values.ravel()
    values = {sp.Symbol("u", nonnegative=True): rate}
    values[c_K] = sp.nsolve((result.kernel - K[-1]).subs(ell, depth), c_K, 0)
    # In units of its leading coefficient: Theta = l/2 + ... for lambda_b = 1 and p_perp = 1.
    assert float((result.theta / 2).subs(values).subs(sp.Symbol("c_Theta"), 0).subs(ell, depth)) == pytest.approx(
        Theta[-1], rel=1e-6
    )
    for name in ("A", "B", "P"):
        series = float(result[name].series.subs(values).subs(sp.Symbol("c_Theta"), 0).subs(ell, depth))
        assert series == pytest.approx(found[name].values.ravel()[-1] / Theta[-1] ** 2, rel=1e-5), name


def test_approach_to_a_half_stable_point():
    # z + sin(z)^2 is attracted from above with a_1 = -0.13; leading coefficients at depth 20,000 to a few percent.
    result = solved("z+sin(z)**2", "approach").at_share(HALF)
    c = result.criticality
    x = [[float(np.sqrt((c.K_star + 0.2 - c.C_b) / c.C_W))]]
    depth = 20_000
    net = pdlt.MLP(depth, 10**9, c.activation, C_b=c.C_b, C_W=c.C_W)
    found = pdlt.predict(net, x, ["K", "V"], order=1)
    K, V = found.K.values.ravel(), found.V.values.ravel()
    shift = sp.nsolve((result.kernel - K[-1]).subs(ell, depth), c_K, 0)
    series = sp.lambdify(ell, result["V"].series.subs(c_K, shift))
    lead = float(result["V"].leading.coefficient) * depth
    relative = V[-1] / K[-1] ** 2
    assert series(depth) == pytest.approx(relative, rel=1e-4)
    assert abs(lead / relative - 1) > 5e-3  # the correction matters


# Arguments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sigmoid",), "must have a critical initialisation"),
        (("exp(z)",), "must have a critical initialisation"),
        (("z**2",), "must have a critical initialisation"),
        (("relu", ["V"], 1, "approach"), "`regime` must be 'at rest' for the class scale-invariant"),
        (("tanh", ["V"], 1, "at rest"), "`regime` must be 'approach' for the class"),
        (("gelu", ["V"], 1, "resting"), "`regime` must be 'at rest' or 'approach'"),
        (("tanh", ["V"], 1, None, "fast"), "`learning_rates` must be one of"),
        (("tanh", ["W"]), "W"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(pdlt.PdltError, match=message):
        scaling(*arguments)


@pytest.mark.parametrize("value", [-0.1, 1.5, "x", True, "1/0", float("nan")])
def test_bad_shares_are_named(value):
    with pytest.raises(pdlt.PdltError, match="`share` must be a number from 0 to 1"):
        solved("relu").at_share(value)


def test_share_that_does_not_matter_is_refused():
    with pytest.raises(pdlt.PdltError, match="nothing here depends on it"):
        solved("tanh", learning_rates="weights").at_share(1)


@pytest.mark.parametrize("order", [2, 3])
def test_higher_orders_grow_as_powers_of_the_ratio(order):
    result = scaling("tanh", ["K", "V"], order=order)
    last = result[f"K_{order}"]
    assert last.at_fixed_ratio and last.order == order
    # At order 2: K is the leading power of the all-orders series of the kernel; 1/15 and -4/315 were found twice, here
    # and by iterating the recursions to depth 20,000.
    assert last.leading.coefficient == {2: sp.Rational(1, 15), 3: sp.Rational(-4, 315)}[order]


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_theta_is_the_depth_where_the_kernel_rests(activation):
    assert float(solved(activation).theta.subs(ell, 7)) == pytest.approx(7, rel=1e-14)


def test_irrational_taylor_coefficients():
    # asinh, whose higher derivatives are refused as too complicated, is evaluated instead; it is odd, hence universal.
    result = scaling("log(z+sqrt(1+z**2))", ["V", "B"])
    assert float(result["V"].leading.coefficient) == pytest.approx(2 / 3, rel=1e-14)


def test_results_are_plain_data():
    document = solved("relu").at_share(1).to_dict()
    assert document["couplings"]["V"]["terms"][0] == {"power": 1.0, "logs": 0, "coefficient": "5"}
    assert document["limits"]["V"] == "exp(5*r) - 1"
    assert share not in solved("relu").at_share(1)["A"].series.free_symbols


def test_latex_is_dominant_first():
    latex = solved("tanh")["V"].to_latex()
    assert latex.startswith(r"V \Big/ K^{2} &= \frac{2 \ell}{3} - \frac{5 \log{\left(\ell \right)}}{18}")
    assert latex.endswith(r"+ \dots")
    assert solved("relu").to_latex().count("\n") == 17  # K, Theta, 13 couplings, two lines around them
    assert solved("relu")._repr_latex_().startswith(r"$\begin{aligned}")
