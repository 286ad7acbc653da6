"""Advice: closed forms of scale-invariant networks, real networks, and what must be consistent with itself."""

import json
import math
from functools import cache

import numpy as np
import pytest

import pdlt
from pdlt.predict.advice import advise
from pdlt.predict.information import optimal_coupling
from pdlt.report.advice import advice_table


@cache
def advice(activation: str, **options):
    return advise(activation, **options)


def relu_tensors(L: int, lambda_b: float, lambda_W: float, K: float) -> dict[str, float]:
    """Return Theta, A, B of ReLU at criticality in closed form (PDLT; derivations/08_depth.py), a = 2, nu = 5."""
    kappa_W = lambda_W * K / 2
    kappa = lambda_b + kappa_W
    squares, pairs = (L - 1) * L * (2 * L - 1) / 6, L * (L - 1) / 2
    return {
        "Theta": kappa * L,
        "A": (5 * kappa_W**2 + kappa_W * kappa + kappa**2) * squares + kappa_W * kappa * pairs,
        "B": 2 * kappa**2 * squares,
    }


def relu_fluctuation(L: int, n: int, lambda_b: float, lambda_W: float, crossed: int = 2) -> float:
    t = relu_tensors(L, lambda_b, lambda_W, K=2.0)
    return math.sqrt((t["A"] + crossed * t["B"]) / n) / t["Theta"]


def test_relu_in_closed_form() -> None:
    """K = 2 for x.x/n_0 = 1; the recommended rates give every layer 1/(2L) from biases and from weights."""
    L, n = 9, 200
    a = advice("relu", width=n, depth=L)
    assert a.chosen is None
    assert a.slope == pytest.approx(5, rel=1e-12)
    assert a.optimal_ratio == pytest.approx(4 / 23 / 5, rel=1e-12)
    assert a.coupling == pytest.approx(5 * (L - 1) / n, rel=1e-10)
    assert a.output_fluctuation == pytest.approx(math.sqrt(5 * (L - 1) / n), rel=1e-10)
    assert a.output_excess_kurtosis == pytest.approx(15 * (L - 1) / n, rel=1e-10)
    assert a.optimal_depth == pytest.approx(1 + n * 4 / 23 / 5, rel=1e-10)
    assert a.ntk_fluctuation == pytest.approx(relu_fluctuation(L, n, 1 / (2 * L), 1 / (2 * L)), rel=1e-10)
    assert a.gradient_fluctuation == pytest.approx(relu_fluctuation(L, n, 1, n), rel=1e-10)


def test_a_pairing_left_out_would_be_seen() -> None:
    a = advice("relu", width=200, depth=9)
    wrong = relu_fluctuation(9, 200, 1 / 18, 1 / 18, crossed=1)
    assert a.ntk_fluctuation != pytest.approx(wrong, rel=0.05)


@pytest.mark.parametrize(
    ("activation", "nu"), [("abs", 2), ("leaky_relu", 6 * (1 + 0.01**4) / (1 + 0.01**2) ** 2 - 1), ("tanh", 2 / 3)]
)
def test_slope_and_asymptotic_ratio(activation: str, nu: float) -> None:
    """3 A_4/A_2^2 - 1 for scale-invariant activations."""
    a = advice(activation, width=32, outputs=3)
    assert a.slope == pytest.approx(nu, rel=1e-10)
    assert a.optimal_ratio == pytest.approx(4 / 29 / nu, rel=1e-10)
    assert a.chosen == "depth" and a.depth == max(2, round(a.optimal_depth))


def test_the_slope_of_a_vanishing_kernel_is_where_the_recursion_goes() -> None:
    """V/(K^2 L) of tanh tends to 2/3; the first correction is of relative order log(L)/L."""
    prediction = pdlt.predict(pdlt.MLP(2048, 10**6, "tanh"), [[1.0]], ["K", "V"])
    slope = float((prediction.V.squeeze() / prediction.K.squeeze() ** 2).values[-1] / 2048)
    assert slope == pytest.approx(advice("tanh", width=32, outputs=3).slope, rel=0.01)


def test_the_slope_at_a_half_stable_point() -> None:
    """C_W^2 (<s^4> - <s^2>^2) / K*^2 by Gauss-Hermite, which the package does not use here."""
    a = advice("gelu", width=512)
    c = a.criticality
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    z = math.sqrt(c.K_star) * nodes
    sigma = np.array([x / 2 * (1 + math.erf(x / math.sqrt(2))) for x in z])
    second, fourth = (float(weights @ sigma**k) / weights.sum() for k in (2, 4))
    assert a.slope == pytest.approx(c.C_W**2 * (fourth - second**2) / c.K_star**2, rel=1e-8)
    assert a.depth == 19
    assert a.input_square == c.input_square


def test_width_for_depth_and_depth_for_width_agree() -> None:
    wide = advice("relu", depth=9)
    assert wide.chosen == "width"
    assert wide.coupling == pytest.approx(optimal_coupling(), rel=0.02)  # the width is rounded
    assert advice("relu", width=wide.width).depth == 9


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_profile_is_what_each_depth_would_be_told(activation: str) -> None:
    """Rates balanced for a deeper network are proportional to those balanced for its first layers."""
    deep, shallow = (advice(activation, width=64, depth=depth) for depth in (12, 4))
    row = int(np.flatnonzero(deep.profile.depth == 4)[0])
    for name in ("coupling", "ntk_fluctuation", "gradient_fluctuation", "ntk_change", "ntk_change_error", "truncation"):
        assert getattr(deep.profile, name)[row] == pytest.approx(getattr(shallow, name), rel=1e-8), name
    assert deep.profile.depth.tolist() == list(range(2, 25))


def real_networks(act, slope, advice, rates: tuple, networks: int, seed: int) -> np.ndarray:
    """Return H of one output on one input of real networks, by backpropagation in numpy."""
    rng = np.random.default_rng(seed)
    n, L = advice.width, advice.depth
    C_b, C_W = advice.criticality.require()
    x = np.full((networks, advice.input_dimension), math.sqrt(advice.input_square))
    forward, signal = [], x
    for layer in range(L):
        rows, columns = (n if layer < L - 1 else 1), signal.shape[1]
        W = rng.normal(size=(networks, rows, columns)) * math.sqrt(C_W / columns)
        z = np.einsum("sij,sj->si", W, signal) + rng.normal(size=(networks, rows)) * math.sqrt(C_b)
        forward.append((W, z, signal))
        signal = act(z)
    H, back = np.zeros(networks), np.ones((networks, 1))
    for layer in range(L - 1, -1, -1):
        W, _, signal = forward[layer]
        per_unit = rates[0][layer] + rates[1][layer] * (signal**2).sum(axis=1)
        H += per_unit * (back**2).sum(axis=1)
        if layer:
            back = np.einsum("sij,si->sj", W, back) * slope(forward[layer - 1][1])
    return H


def score(H: np.ndarray, predicted: float, truncation: float) -> float:
    """Return by how many (statistical and systematic) errors the measured relative variance differs."""
    relative = H / H.mean() - 1
    variance, error = (relative**2).mean(), (relative**2).std() / math.sqrt(len(H))
    return abs(variance - predicted**2) / math.hypot(error, truncation * predicted**2)


@pytest.mark.parametrize("kind", ["ntk", "gradient"])
def test_real_networks_fluctuate_as_predicted(kind: str) -> None:
    """2,000 tanh networks: the variance to within 3.5 errors, truncation (3 per cent) included; half of it is off."""
    a = advice("tanh", width=64, depth=4)
    rates = a.framework_rates if kind == "ntk" else ((1.0,) * 4, (1.0,) * 4)
    H = real_networks(np.tanh, lambda z: 1 / np.cosh(z) ** 2, a, rates, networks=2000, seed=5)
    predicted = getattr(a, f"{kind}_fluctuation")
    assert score(H, predicted, a.truncation) < 3.5
    assert score(H, predicted * math.sqrt(0.5), a.truncation) > 5


def test_recommended_rates_give_a_kernel_of_one() -> None:
    """Mean over 500 ReLU networks: homogeneous activations have no correction to the mean at any width."""
    a = advice("relu", width=200, depth=9)
    small = advice("relu", width=32, depth=3)
    H = real_networks(lambda z: np.maximum(z, 0), lambda z: z > 0, small, small.framework_rates, 3000, seed=6)
    assert abs(H.mean() - 1) < 4 * H.std() / math.sqrt(len(H))
    assert sum(a.learning_rates.lambda_b) == pytest.approx(0.5, rel=1e-10)


def test_learning_rates_are_for_a_framework() -> None:
    a = advise("relu", width=32, depth=3, input_dimension=10)
    biases, weights = a.framework_rates
    assert biases == a.learning_rates.lambda_b
    assert weights == tuple(rate / fan for rate, fan in zip(a.learning_rates.lambda_W, (10, 32, 32)))


def test_feature_learning_of_one_hidden_layer_of_relu() -> None:
    """-Theta_1^2 C_W^(3/2) E|z-y| / (pi sqrt(K) Theta^2 sqrt(n)) with Theta_1 = Theta/2, C_W = 2 (derivations/12)."""
    n = 100
    distance = math.sqrt(2 / math.pi) * math.exp(-0.5) + math.erf(math.sqrt(0.5))
    expected = -(0.5**2) * 2**1.5 * distance / (math.pi * math.sqrt(n))
    assert advice("relu", width=n, depth=2).ntk_change == pytest.approx(expected, rel=1e-10)
    assert advice("relu", width=4 * n, depth=2).ntk_change == pytest.approx(expected / 2, rel=1e-10)
    assert advice("abs", width=32, outputs=3).profile.ntk_change[0] == pytest.approx(0, abs=1e-12)


def test_feature_learning_of_linear_networks() -> None:
    """-4 Q/Theta^2 + 4 (S+T) K/Theta^3 with the closed forms of derivations/05 and 06; a = K = 1, kappa_W = kappa/2."""
    L, n = 6, 50
    a = advice("linear", width=n, depth=L)
    Q = (L - 1) * L * (L + 1) / 12 / L**2  # kappa = 1/L
    S = (L - 1) * L**2 * (L + 1) / 24 / L**3
    T = S / 2
    assert a.ntk_change == pytest.approx((-4 * Q + 4 * (S + T)) / n, rel=1e-9)
    assert a.ntk_change != pytest.approx((-4 * Q + 2 * (S + T)) / n, rel=0.1)


def test_trust_ends_where_the_neglected_order_is_one_half() -> None:
    a = advice("relu", width=20, depth=3)
    assert a.trusted_depth == 3  # 5 (L-1)/20 <= 1/2
    assert "NOT TRUSTED" in advice_table(advice("relu", width=20, depth=6))
    assert "too deep" in advice_table(advice("relu", width=20, depth=6))


def test_your_own_activation_and_plain_data() -> None:
    a = advice("tanh(z)+0.3*sin(z)", width=64)
    document = json.loads(json.dumps(a.to_dict(), allow_nan=False))
    assert document["schema"] == "pdlt.advice/1"
    assert document["depth"] == a.depth == 18
    assert len(document["profile"]["coupling"]) == len(document["profile"]["depth"])
    assert len(document["learning_rates"]["weight"]) == a.depth
    numbers = {"optimal_depth", "optimal_ratio", "output_fluctuation", "ntk_fluctuation", "gradient_fluctuation"}
    assert numbers | {"ntk_change", "learning_rates", "initialisation", "truncation"} <= set(document["assumptions"])


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        ({"width": 0}, "`width`"),
        ({"width": 64.5}, "`width`"),
        ({"width": 64, "depth": 1}, "`depth`"),
        ({"depth": 5000}, "`depth`"),
        ({"width": 64, "outputs": 0}, "`outputs`"),
        ({"width": 64, "input_square": -1.0}, "`input_square`"),
        ({"width": 64, "input_dimension": 0}, "`input_dimension`"),
        ({}, "`width` or `depth`"),
        ({"width": 10**7}, "optimal depth"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, mentions: str) -> None:
    with pytest.raises(pdlt.PdltError, match=mentions):
        advise("relu", **arguments)


@pytest.mark.parametrize("activation", ["sigmoid", "cos", "exp(z)", "z**3"])
def test_no_critical_initialisation_no_advice(activation: str) -> None:
    with pytest.raises(pdlt.PdltError, match="must have a critical initialisation .* has none: "):
        advise(activation, width=64)
