"""`predict` against the reference systems: numbers that can be checked by hand."""

import warnings
from fractions import Fraction

import numpy as np
import pytest
from reference_systems import (
    RELU_INTEGERS,
    arcsine,
    four_point_vertex,
    homogeneous_moments,
    scale_invariant,
)

import pdlt
from pdlt.predict import AccuracyWarning

ONE = np.ones((1, 1))


def last(dataset: object, name: str) -> float:
    return float(dataset[name].values.reshape(-1)[-1])  # type: ignore[index]


@pytest.fixture(scope="module")
def relu():
    net = pdlt.MLP(depth=8, width=64, activation="relu", C_W=2.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AccuracyWarning)
        return pdlt.predict(net, ONE)


@pytest.mark.parametrize("layer", RELU_INTEGERS)
def test_leading_integers_of_relu(relu, layer: int) -> None:
    found = [float(relu[name].sel(layer=layer).values.reshape(())) for name in "VDFAB"]
    assert found == pytest.approx(RELU_INTEGERS[layer], rel=1e-12)
    assert found != pytest.approx(RELU_INTEGERS[8 if layer != 8 else 4], rel=1e-2)


@pytest.mark.parametrize(
    ("activation", "p", "C_W"), [("relu", Fraction(1, 2), Fraction(2)), ("linear", Fraction(1), Fraction(1, 2))]
)
def test_homogeneous_recursion_to_second_order(activation: str, p: Fraction, C_W: Fraction) -> None:
    """Leading and next coefficients of V, D, F, A, B, from the exact recursion at finite width."""
    net = pdlt.MLP(depth=4, width=10, activation=activation, C_W=float(C_W), lambda_W=0.75)
    prediction = pdlt.predict(net, ONE * 1.5, list("VDFAB"), order=2)
    exact = homogeneous_moments(p, C_W, Fraction(3, 4), Fraction(9, 4), depth=4, terms=4)
    for name, (leading, following, *_) in exact.items():
        assert last(prediction, name) == pytest.approx(leading, rel=1e-12), name
        assert last(prediction, f"{name}_1") == pytest.approx(following, rel=1e-12), name
        assert abs(leading - following) > 1e-3 * abs(leading)


@pytest.mark.parametrize(("activation", "C_W"), [("linear", 1.3), ("relu", 1.7)])
def test_unequal_widths(activation: str, C_W: float) -> None:
    """V and V_1 from the product over hidden layers: widths enter each in its own layer."""
    widths = [7, 30, 12]
    prediction = pdlt.predict(pdlt.MLP(4, widths, activation, C_W=C_W), ONE, ["V"], order=2)
    half = 1.0 if activation == "linear" else 0.5
    leading, following = four_point_vertex(activation, widths, C_W * (C_W * half) ** 3)
    assert last(prediction, "V") == pytest.approx(leading, rel=1e-12)
    assert last(prediction, "V_1") == pytest.approx(following, rel=1e-12)
    planted, _ = four_point_vertex(activation, widths[::-1], C_W * (C_W * half) ** 3)
    assert abs(last(prediction, "V") - planted) > 0.1 * leading


@pytest.mark.parametrize(
    ("activation", "slopes", "K", "lambda_b", "lambda_W"),
    [
        ("linear", (1.0, 1.0), 0.8, 0.3, 1.2),
        ("relu", (0.0, 1.0), 2.0, 0.0, 1.0),
        ("leaky_relu(0.25)", (0.25, 1.0), 1.3, 0.7, 0.4),
        ("abs", (-1.0, 1.0), 0.5, 0.2, 1.0),
    ],
)
def test_scale_invariant_closed_forms(
    activation: str, slopes: tuple[float, float], K: float, lambda_b: float, lambda_W: float
) -> None:
    """Polynomials in depth at criticality; pointwise derivatives, as the closed forms for P, Q, R, U assume."""
    A2 = sum(s * s for s in slopes) / 2
    net = pdlt.MLP(6, 50, activation, C_W=1 / A2, lambda_b=lambda_b, lambda_W=lambda_W)
    prediction = pdlt.predict(net, np.sqrt(K * A2) * ONE, kinks="pointwise")
    for layer in range(1, 7):
        exact = scale_invariant(*slopes, K, lambda_b, lambda_W, layer)
        for name, value in exact.items():
            found = float(prediction[name].sel(layer=layer).values.reshape(()))
            assert found == pytest.approx(value, rel=1e-11, abs=1e-12), (name, layer)
    # A misprint such as nu = 3a + 1 would be seen.
    assert abs(last(prediction, "V") - (scale_invariant(*slopes, K, lambda_b, lambda_W, 6)["V"] + 2 * K**2 * 5)) > 0.1


def test_erf_kernel_of_two_inputs() -> None:
    """The arcsine kernel, layer by layer."""
    x = np.array([[1.0, 0.5], [-0.3, 0.8]])
    prediction = pdlt.predict(pdlt.MLP(3, 20, "erf", C_b=0.1, C_W=1.5), x, ["K"], order=0)
    kernel = 0.1 + 1.5 * x @ x.T / 2
    for layer in range(1, 4):
        np.testing.assert_allclose(prediction["K"].sel(layer=layer), kernel, rtol=1e-14)
        entry = lambda i, j, k=kernel: arcsine(k[np.ix_([i, j], [i, j])])  # noqa: E731
        kernel = 0.1 + 1.5 * np.array([[entry(i, j) for j in range(2)] for i in range(2)])


def test_first_cumulants_of_one_layer() -> None:
    """Layer 2: V = C_W^2 (<s s s s> - <s s><s s>), F = C_W^2 <s s s' s'> Theta, for sin written out by hand."""
    q = 0.9
    prediction = pdlt.predict(pdlt.MLP(2, 30, "sin", C_b=0.2, C_W=1.1, lambda_b=0.4, lambda_W=0.6), np.sqrt(q) * ONE)
    K, theta = 0.2 + 1.1 * q, 0.4 + 0.6 * q
    second, fourth = (1 - np.exp(-2 * K)) / 2, (3 - 4 * np.exp(-2 * K) + np.exp(-8 * K)) / 8
    mixed = (1 - np.exp(-8 * K)) / 8  # <sin^2 cos^2>
    assert last(prediction, "V") == pytest.approx(1.21 * (fourth - second**2), rel=1e-12)
    assert last(prediction, "F") == pytest.approx(1.21 * mixed * theta, rel=1e-12)
    assert last(prediction, "B") == pytest.approx(1.21 * (1 - 2 * second + fourth) * theta**2, rel=1e-12)
    assert last(prediction, "K_1") == last(prediction, "Theta_1") == 0.0


def test_textbook_recursion_as_a_plain_loop() -> None:
    """K, V, F, B of one input with everything different in every layer, in ten lines of numpy.

    GMG (arXiv:2508.11522) equations (45), (5), (55) on one input; 1e-9 is far above both quadratures' errors.
    """
    net = pdlt.MLP(5, (8, 30, 12, 50), "tanh", C_b=(0.1, 0.2, 0.3, 0.1, 0.2), C_W=(1.4, 1.1, 0.9, 1.6, 1.2),
                   lambda_b=(0.5, 0.1, 0.3, 0.2, 0.6), lambda_W=(0.9, 1.3, 0.4, 0.8, 1.1))  # fmt: skip
    prediction = pdlt.predict(net, 0.8 * np.ones((1, 6)))
    for widths, agrees in (((6, 8, 30, 12, 50), True), ((6, 30, 8, 12, 50), False)):
        found = textbook(net, widths)
        close = [last(prediction, name) == pytest.approx(value, rel=1e-9) for name, value in found.items()]
        assert all(close) == agrees


def textbook(net: pdlt.MLP, widths: tuple[int, ...]) -> dict[str, float]:
    u = (np.arange(2000) - 999.5) / 100
    mean = lambda f: float(f @ np.exp(-(u**2) / 2)) / (100 * np.sqrt(2 * np.pi))  # noqa: E731
    K, theta = net.C_b[0] + net.C_W[0] * 0.64, net.lambda_b[0] + net.lambda_W[0] * 0.64
    V = F = B = 0.0
    for i in range(1, net.depth):
        C, rho = net.C_W[i], widths[i] / widths[i - 1]
        s = np.tanh(np.sqrt(K) * u)
        d1, d2 = 1 - s**2, -2 * s * (1 - s**2)
        J = C * mean(d1**2 + s * d2)
        V = C**2 * (mean(s**4) - mean(s**2) ** 2) + rho * J**2 * V
        F = C**2 * mean(s**2 * d1**2) * theta + rho * J**2 * F
        B = C**2 * mean(d1**4) * theta**2 + rho * C**2 * mean(d1**2) ** 2 * B
        K, theta = net.C_b[i] + C * mean(s**2), net.lambda_b[i] + net.lambda_W[i] * mean(s**2) + C * mean(d1**2) * theta
    return {"K": K, "Theta": theta, "V": V, "F": F, "B": B}


@pytest.mark.slow
def test_relu_is_the_limit_of_sharpened_gelu() -> None:
    """sigma_b(z) = z Phi(b z) as b grows: what the Dirac atoms mean.

    A polynomial in 1/b through five values, which is good to 3e-3.
    """
    sharpness = np.array([3.0, 4.0, 5.0, 6.5, 8.0])
    wanted = ["Theta", "A"]
    scales = {"C_b": 0.2, "C_W": 1.5, "lambda_b": 0.4}
    smooth = [
        pdlt.predict(pdlt.MLP(3, 20, f"z*normal_cdf({b:g}*z)", **scales), ONE, wanted, rtol=1e-6) for b in sharpness
    ]
    exact = pdlt.predict(pdlt.MLP(3, 20, "relu", **scales), ONE, wanted)
    for name in exact:
        values = np.array([last(s, name) for s in smooth])
        limit = np.polynomial.polynomial.polyfit(1 / sharpness, values, len(sharpness) - 1)[0]
        assert last(exact, name) == pytest.approx(limit, rel=3e-3, abs=3e-3), name
    # The last value alone is a long way from the limit: the extrapolation is what is tested.
    assert abs(last(smooth[-1], "A") - last(exact, "A")) > 5e-3 * abs(last(exact, "A"))
