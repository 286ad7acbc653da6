"""Critical initialisation: closed forms, plain integrals and iterated recursions as witnesses."""

import json
import math
import re
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp

import pdlt
from pdlt.activations import BUILTIN
from pdlt.cli import main
from pdlt.predict.one_input import OneInput, kernel_path

NONE = ("cos", "softplus", "sigmoid")


def gelu_moments(K):
    """Return <sigma^2> and <sigma'^2> of GELU in closed form (derivations/07_criticality.py)."""
    s, t = K / (1 + K), K / (1 + 2 * K)
    squared_cdf = mpmath.mpf(1) / 4 + mpmath.asin(s) / (2 * mpmath.pi)
    mixed = s / (2 * mpmath.pi * mpmath.sqrt((1 + s) * (1 + K)))  # <z Phi phi>
    square = K * (squared_cdf + 2 * mixed)  # Stein: <z z Phi^2> = K <d(z Phi^2)>
    slopes = squared_cdf + 2 * mixed + t / (2 * mpmath.pi * mpmath.sqrt(1 + 2 * K))
    return square, slopes


def plain(activation, factors, K):
    """Return a Gaussian expectation by numpy's Gauss-Hermite rule, which the package uses for polynomials only."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    z = np.sqrt(K) * nodes
    act = pdlt.activation(activation)
    values = [np.array([float(act.mpmath(k)(float(x))) for x in z]) for k in factors]
    return float(np.prod(values, axis=0) @ weights / weights.sum())


@pytest.mark.parametrize("name", BUILTIN)
def test_every_builtin_is_critical_or_says_why_not(name):
    c = pdlt.criticality(name)
    numbers = (c.C_b, c.C_W, c.chi_parallel, c.chi_perp)
    assert c.reason
    if name in NONE:
        assert c.universality_class == "none"
        assert numbers == (None,) * 4 and c.K_star is None
        assert not c.exponents and not c.digits and not c.corrections
    else:
        assert c.universality_class != "none"
        assert c.C_b >= 0 and c.C_W > 0
        assert c.chi_parallel == pytest.approx(1, abs=1e-14) and c.chi_perp == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize(
    ("name", "C_W"),
    [
        ("linear", 1),
        ("relu", 2),
        ("abs", 1),
        ("leaky_relu(0.5)", sp.Rational(8, 5)),
        ("3*z", sp.Rational(1, 9)),
        ("relu(z)-sqrt(2)*relu(-z)", sp.Rational(2, 3)),
    ],
)
def test_scale_invariant(name, C_W):
    c = pdlt.criticality(name)
    assert c.universality_class == "scale-invariant"
    assert c.exact["C_W"] == C_W and c.C_W == pytest.approx(float(C_W), rel=1e-15)
    assert c.C_b == 0 and c.K_star is None
    assert set(c.exponents.values()) == {0.0}


def test_gelu_closed_form():
    c = pdlt.criticality("gelu")
    with mpmath.workdps(40):
        K = (3 + mpmath.sqrt(17)) / 2
        square, slopes = gelu_moments(K)
        C_W = 1 / slopes
        expected = {"K_star": K, "C_W": C_W, "C_b": K - C_W * square}
        for key, value in expected.items():
            assert abs(mpmath.mpf(c.digits[key]) - value) < mpmath.mpf(10) ** -28, key
        # a_1 = C_W g''/2 and b_1 = C_W h' from the closed forms.
        curvature = mpmath.diff(lambda k: gelu_moments(k)[0], K, 2)
        slope = mpmath.diff(lambda k: gelu_moments(k)[1], K)
        assert c.corrections["a_1"] == pytest.approx(float(C_W * curvature / 2), rel=1e-12)
        assert c.corrections["b_1"] == pytest.approx(float(C_W * slope), rel=1e-12)
    assert c.universality_class == "half-stable"
    assert (round(c.C_W, 9), round(c.C_b, 9)) == (1.983058257, 0.172922391)


def test_silu_at_double_precision_and_by_plain_integrals():
    c = pdlt.criticality("swish")
    fine = pdlt.criticality("silu", digits=45)
    for key in ("K_star", "C_b", "C_W"):
        with mpmath.workdps(60):
            assert abs(mpmath.mpf(c.digits[key]) / mpmath.mpf(fine.digits[key]) - 1) < mpmath.mpf(10) ** -28
    assert c.K_star == pytest.approx(14.32017362, abs=1e-8)
    assert c.C_W == pytest.approx(1.98800468, abs=1e-8)
    assert c.C_b == pytest.approx(0.55514317, abs=1e-8)
    act = pdlt.activation("silu")
    with mpmath.workdps(20):
        K = mpmath.mpf(c.digits["K_star"])

        def mean(i, j):
            edges = [-60, -30, -15, -5, 0, 5, 15, 30, 60]
            density = lambda z: mpmath.npdf(z, 0, mpmath.sqrt(K))  # noqa: E731
            return mpmath.quad(lambda z: act.mpmath(i)(z) * act.mpmath(j)(z) * density(z), edges)

        assert abs(mean(0, 2)) < 1e-15
        assert float(c.C_W * mean(1, 1)) == pytest.approx(1, abs=1e-14)
        assert float(c.C_b + c.C_W * mean(0, 0)) == pytest.approx(c.K_star, rel=1e-14)


@pytest.mark.parametrize(
    ("name", "a_1", "b_1"),
    [
        ("tanh", -2, -2),
        ("sin", -1, -1),
        ("erf", -2, -2),
        ("atan(z)", -2, -2),
        ("tanh(z)+0.1*z**3", sp.Rational(-7, 5), sp.Rational(-7, 5)),
        ("sin(z)+0.2*z", sp.Rational(-5, 6), sp.Rational(-5, 6)),
        ("tanh(z)+z**2/4", -2 + sp.Rational(3, 16), -2 + sp.Rational(1, 4)),
    ],
)
def test_series_at_zero(name, a_1, b_1):
    c = pdlt.criticality(name)
    assert c.universality_class == "K*=0" and c.K_star == 0 and c.C_b == 0
    assert (c.exact["a_1"], c.exact["b_1"]) == (a_1, b_1)
    assert c.exact["p_perp"] == sp.Rational(b_1) / a_1
    assert (c.exponents["p_0"], c.exponents["p_parallel"]) == (1, 2)
    # The second order by plain integrals at two small kernels: the remainder falls with K.
    a, b = (c.corrections[key] for key in ("a_2", "b_2"))
    found = {}
    for K in (0.002, 0.001):
        kernel = c.C_W * plain(name, (0, 0), K)
        chi = c.C_W * plain(name, (1, 1), K)
        found[K] = ((kernel - K - float(a_1) * K**2) / K**3, (chi - 1 - float(b_1) * K) / K**2)
    for i, expected in enumerate((a, b)):
        extrapolated = 2 * found[0.001][i] - found[0.002][i]
        assert extrapolated == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("name", ["tanh", "sin", "tanh(z)+z**2/4", "z-z**5"])
def test_exponents_by_iterating_the_recursion(name):
    c = pdlt.criticality(name)
    depth = 4000
    K, _, chi = kernel_path(c.activation, 0.0, c.C_W, 0.05, depth)
    near, _, _ = kernel_path(c.activation, 0.0, c.C_W, 0.0501, depth)
    first, last = depth // 2 - 1, depth - 1

    def power(values):
        return -math.log(values[last] / values[first]) / math.log(2)

    p = c.exponents
    assert power(K) == pytest.approx(p["p_0"], abs=0.02)
    assert power(near - K) == pytest.approx(p["p_parallel"], abs=0.04)
    assert power(np.cumprod(chi)) == pytest.approx(p["p_perp"], abs=0.02)
    m = 1 if c.corrections["a_1"] else 2
    assert depth * K[-1] ** m * m * abs(c.corrections[f"a_{m}"]) == pytest.approx(1, abs=0.05)


def test_higher_order_class():
    c = pdlt.criticality("z-z**5")
    assert c.exact["a_1"] == 0 and c.exact["a_2"] == -30
    assert (c.exact["p_0"], c.exact["p_parallel"], c.exact["p_perp"]) == (
        sp.Rational(1, 2),
        sp.Rational(3, 2),
        sp.Rational(1, 2),
    )
    # a_1 = 0 but b_1 = 1/4: the product of chi_perp grows faster than any power.
    odd = pdlt.criticality("z + z**2/2 - z**3/8 - z**5/10")
    assert odd.exact["a_1"] == 0 and odd.exact["b_1"] == sp.Rational(1, 4)
    assert odd.exponents["p_perp"] is None


@pytest.mark.parametrize("name", ["silu", "gelu", "z*tanh(z)", "z*tanh(log(1+exp(z)))", "tanh(z+1)-tanh(1)"])
def test_half_stable_points_attract_from_the_side_they_say(name):
    c = pdlt.criticality(name)
    assert c.universality_class == "half-stable" and c.K_star > 0
    a_1 = c.corrections["a_1"]
    distance = 1e-2
    moves = []
    with mpmath.workdps(30):
        mean = OneInput(c.activation, 25)
        for side in (-1, 1):
            K = c.K_star + side * distance
            moves.append(float(mpmath.mpf(c.digits["C_b"]) + mpmath.mpf(c.digits["C_W"]) * mean.mean((0, 0), K) - K))
    # To second order both moves are a_1 dK^2.
    assert sum(moves) / 2 == pytest.approx(a_1 * distance**2, rel=1e-2)
    side = "below" if a_1 > 0 else "above"
    assert f"attracts kernels from {side}" in c.stability
    assert c.exponents["p_perp"] == pytest.approx(c.corrections["b_1"] / a_1)
    assert pdlt.MLP.critical(name, 3, 8).C_W[0] == c.C_W


def test_units_of_the_preactivation_do_not_matter():
    """sigma(c z) has K*/c^2, C_b/c^2 and C_W/c^2: also far from where the built-ins have their critical points."""
    scaled, plain_one = pdlt.criticality("gelu(100*z)"), pdlt.criticality("gelu")
    for name in ("K_star", "C_b", "C_W"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain_one, name) / 1e4, rel=1e-14)
    assert scaled.exponents["p_perp"] == pytest.approx(plain_one.exponents["p_perp"], rel=1e-12)


@pytest.mark.parametrize("frequency", ["1", "7", "2*pi", "4*pi", "8*pi", "16*pi", "sqrt(3)*8*pi", "50", "64*pi"])
def test_oscillations_do_not_hide_between_the_nodes(frequency):
    act = pdlt.activation(f"sin({frequency}*z)")
    with mpmath.workdps(30):
        value = OneInput(act, 20).mean((0, 0), mpmath.mpf(1))
        omega = act.mpmath(1)(0)  # sigma'(0)
        assert abs(value - (1 - mpmath.exp(-2 * omega**2)) / 2) < 1e-19


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sigmoid", r"sigma\(0\) = 0.5 is not zero.*negative for all K"),
        ("softplus", r"sigma\(0\) = 0.69.*positive for all K"),
        ("cos", r"sigma\(0\) = 1.0 is not zero"),
        ("exp(z)", r"sigma\(0\) = 1.0 is not zero.*positive for all K"),
        ("z**3", r"sigma'\(0\) = 0.*positive for all K"),
        ("z**2", r"sigma'\(0\) = 0"),
        ("sinh(z)", r"a_1 = 1.0: K\* = 0 is unstable"),
        ("z+1", r"C_b = -C_W sigma\(0\)\^2 = -1, a negative variance"),
        ("tanh(z)+2", r"sigma\(0\) = 2.0"),
    ],
)
def test_no_critical_point_comes_with_the_reason(name, reason):
    c = pdlt.criticality(name)
    assert c.universality_class == "none" and c.C_b is None and c.C_W is None and c.K_star is None
    assert re.search(reason, c.reason)
    assert all(not point.usable for point in c.points)
    with pytest.raises(pdlt.PdltError, match="must have a critical initialisation"):
        pdlt.MLP.critical(name, depth=3, width=8)


@pytest.mark.parametrize("activation", ["nonsense", 3, "1/z", "", None, "5"])
def test_not_an_activation(activation):
    with pytest.raises(pdlt.PdltError, match="Argument `activation`"):
        pdlt.criticality(activation)


@pytest.mark.parametrize("digits", [True, 5, 1000, 20.0])
def test_digits_out_of_range(digits):
    with pytest.raises(pdlt.PdltError, match="Argument `digits`"):
        pdlt.criticality("tanh", digits=digits)


def test_results_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        pdlt.criticality("tanh").exponents["p_0"] = 2.0


def test_critical_network():
    net = pdlt.MLP.critical("gelu", depth=4, width=[8, 9, 10], lambda_b=0.5, lambda_W=[1, 2, 3, 4])
    assert net.C_W == (pdlt.criticality("gelu").C_W,) * 4
    assert net.lambda_b == (0.5,) * 4 and net.lambda_W == (1, 2, 3, 4) and net.width == (8, 9, 10)
    with pytest.raises(pdlt.PdltError, match="Argument `depth`"):
        pdlt.MLP.critical("gelu", depth=0, width=8)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu", "erf"])
def test_equivalent_learning_rates_share_the_ntk_equally(name):
    depth = 4
    c = pdlt.criticality(name)
    square = c.input_square or 1.0
    rates = pdlt.equivalent_learning_rates(c, depth, biases=0.25, weights=0.5)
    x = [[math.sqrt(square)] * 3]

    def theta(lambda_b, lambda_W):
        net = pdlt.MLP.critical(name, depth, 16, lambda_b=lambda_b, lambda_W=lambda_W)
        return float(pdlt.predict(net, x, ["Theta"], order=0)["Theta"][-1].squeeze())

    for layer in range(depth):
        only = np.eye(depth)[layer]
        assert theta(only * rates.lambda_b, 0.0) == pytest.approx(0.25 / depth, rel=1e-7)
        assert theta(0.0, only * rates.lambda_W) == pytest.approx(0.5 / depth, rel=1e-7)
    assert theta(*rates) == pytest.approx(0.75, rel=1e-7)


def test_learning_rates_follow_the_power_laws():
    depth = 1000
    relu = pdlt.equivalent_learning_rates(pdlt.criticality("relu"), depth, biases=1, weights=1)
    assert np.allclose(relu, 1 / depth)
    silu = pdlt.equivalent_learning_rates(pdlt.criticality("silu"), depth)
    assert np.ptp(silu.lambda_b) < 1e-9 and silu.lambda_b[0] == pytest.approx(0.5 / depth, rel=1e-6)
    tanh = pdlt.equivalent_learning_rates(pdlt.criticality("tanh"), depth)
    layers = np.arange(1, depth + 1)
    scaled = np.array(tanh.lambda_b) * layers
    assert scaled[-1] / scaled[depth // 4] == pytest.approx(1, abs=0.02)
    assert tanh.lambda_W[-1] / tanh.lambda_W[depth // 4] == pytest.approx(1, abs=0.02)
    assert scaled[-1] / scaled[0] < 0.9  # ... but not at the first layers: the exact path is what is solved.


def test_learning_rates_refuse_bad_arguments():
    c = pdlt.criticality("tanh")
    for arguments, name in [
        (("tanh", 3), "criticality"),
        ((c, 0), "depth"),
        ((c, 3, -1.0), "input_square"),
        ((c, 3, 1.0, -1), "biases"),
        ((c, 3, 1.0, 1, math.nan), "weights"),
        ((pdlt.criticality("sigmoid"), 3), "activation"),
        ((pdlt.criticality("z-z**5"), 12, 3.0), "input_square"),
        ((c, 3, 1e6), "activation"),  # the integrals of a step function
    ]:
        with pytest.raises(pdlt.PdltError, match=f"Argument `{name}`"):
            pdlt.equivalent_learning_rates(*arguments)


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


def test_command_prints_a_table_and_json(run):
    code, out, _ = run("criticality", "gelu")
    assert code == 0
    assert "half-stable" in out and "1.98305825743754712520547798583" in out
    code, out, _ = run("criticality", "gelu", "--json")
    document = json.loads(out)
    assert code == 0 and document["schema"] == "pdlt.criticality/1"
    assert document["C_W"] == pdlt.criticality("gelu").C_W
    code, out, _ = run("criticality", "erf")
    assert "= pi/4" in out


def test_command_prints_the_reason_for_none(run):
    code, out, _ = run("criticality", "sigmoid", "--json")
    document = json.loads(out)
    assert code == 0 and document["universality_class"] == "none" and document["C_W"] is None
    code, out, _ = run("criticality", "sigmoid")
    assert code == 0 and "no critical initialisation" in out and "0.5 is not zero" in out


def test_command_gives_an_overview(run, tmp_path):
    code, out, _ = run("criticality")
    assert code == 0
    assert all(name in out for name in BUILTIN)
    target = tmp_path / "overview.md"
    assert run("criticality", "-o", target)[0] == 0
    assert "| tanh | K*=0 | 0 | 1 | 0 | -2 | -2 | 1 | 2 | 1 |" in target.read_text()
    page = Path(__file__).resolve().parents[2] / "docs" / "criticality.md"
    assert target.read_text().strip() in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["nonsense"], ["tanh", "-o", "x.pdf"], ["tanh", "--digits", "3"]])
def test_command_refuses_bad_input(run, arguments):
    code, out, err = run("criticality", *arguments)
    assert code == 2 and not out and err.startswith("Error:")


def test_predict_critical(run, tmp_path):
    network = ["predict", "--activation", "gelu", "--depth", "2", "--x", "[[1.0]]", "--observables", "K"]
    code, out, _ = run(*network, "--critical", "--json")
    C = pdlt.criticality("gelu")
    assert code == 0
    assert json.loads(out)["data"]["K"]["values"][0][0][0] == pytest.approx(C.C_b + C.C_W, rel=1e-14)
    code, _, err = run(*network, "--critical", "--C-W", "1")
    assert code == 2 and "leave out --C-W" in err
    config = tmp_path / "net.toml"
    config.write_text("critical = true\nC-b = 0.1\n")
    code, _, err = run(*network, "--config", config)
    assert code == 2 and "leave out --C-b" in err
    config.write_text("critical = true\n")
    assert run(*network, "--config", config, "--json")[1] == out
    code, _, err = run("predict", "--activation", "sigmoid", "--critical", "--x", "[[1.0]]")
    assert code == 2 and "must have a critical initialisation" in err
