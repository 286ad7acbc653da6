"""Gram matrices against `predict`, 50 digits, and each other; bad input."""

import mpmath
import numpy as np
import pytest

import pdlt
from pdlt.numerics.pairs.mehler import Mehler
from pdlt.predict import AccuracyWarning, gram

SCALES = {"C_b": 0.1, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}


def inputs(count=6, dimension=3):
    x = np.random.default_rng(0).normal(size=(count, dimension))
    x[1], x[2], x[3] = x[0], -x[0], 0.0
    return x


def difference(found, expected, name):
    return float(np.abs(found[name].values - expected[name].values).max() / np.abs(expected[name].values).max())


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "linear", "tanh", "gelu", "sin", "erf", "z**3/4"])
@pytest.mark.parametrize("C_b", [0.0, 0.1])
def test_same_numbers_as_predict(name, C_b):
    net = pdlt.MLP(3, 10, name, **{**SCALES, "C_b": C_b})
    found, expected = pdlt.kernel(net, inputs(), layers=[1, 2, 3]), pdlt.predict(net, inputs(), ["K", "Theta"], order=0)
    for variable in ("K", "Theta"):
        # For kinks, predict resolves angles to 1e-8, and opposite and equal inputs come near; else rounding.
        assert difference(found, expected, variable) < (1e-11 if net.activation.is_smooth else 1e-9), variable


def test_a_wrong_factor_would_be_seen():
    net, other = (pdlt.MLP(3, 10, "tanh", **{**SCALES, "lambda_W": rate}) for rate in (1.1, 1.1 * (1 + 1e-9)))
    found, expected = pdlt.kernel(other, inputs()), pdlt.kernel(net, inputs())
    assert difference(found, expected, "Theta") > 1e-10
    assert difference(found, expected, "K") == 0.0


def exact_relu(net, x):
    """K and Theta of a ReLU network on two inputs, at mpmath's working precision, by the arc-cosine kernels."""
    x = [[mpmath.mpf(float(v)) for v in row] for row in x]
    gram_matrix = [[mpmath.fdot(a, b) / len(a) for b in x] for a in x]
    K = [[mpmath.mpf(net.C_b[0]) + mpmath.mpf(net.C_W[0]) * g for g in row] for row in gram_matrix]
    theta = [[mpmath.mpf(net.lambda_b[0]) + mpmath.mpf(net.lambda_W[0]) * g for g in row] for row in gram_matrix]
    for layer in range(1, net.depth):
        constants = [mpmath.mpf(getattr(net, n)[layer]) for n in ("C_b", "C_W", "lambda_b", "lambda_W")]
        square, slope = mpmath.matrix(2), mpmath.matrix(2)
        for a in range(2):
            for b in range(2):
                scale = mpmath.sqrt(K[a][a] * K[b][b])
                angle = mpmath.acos(K[a][b] / scale) if a != b else mpmath.mpf(0)
                square[a, b] = scale / (2 * mpmath.pi) * (mpmath.sin(angle) + (mpmath.pi - angle) * mpmath.cos(angle))
                slope[a, b] = (mpmath.pi - angle) / (2 * mpmath.pi)
        C_b, C_W, lambda_b, lambda_W = constants
        theta = [
            [lambda_b + lambda_W * square[a, b] + C_W * slope[a, b] * theta[a][b] for b in range(2)] for a in range(2)
        ]
        K = [[C_b + C_W * square[a, b] for b in range(2)] for a in range(2)]
    return {"K": K, "Theta": theta}


@pytest.mark.parametrize("C_b", [0.0, 0.05])
@pytest.mark.parametrize("distance", [1e-9, 1e-5, 1e-2])
def test_relu_near_duplicates_at_depth_32(C_b, distance):
    net = pdlt.MLP(32, 1, "relu", C_b=C_b, C_W=2.0, lambda_b=0.3)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 16))
    x[1] = x[0] + distance * rng.normal(size=16)
    found = pdlt.kernel(net, x)
    with mpmath.workdps(60):
        exact = exact_relu(net, x)
        for name in ("K", "Theta"):
            for a in range(2):
                for b in range(2):
                    assert float(abs(found[name].values[0, a, b] / exact[name][a][b] - 1)) < 1e-13, (name, a, b)


def test_parallel_inputs_have_no_angle():
    """Bias-free ReLU networks are homogeneous: K(x, c x) = c K(x, x), 0 for c < 0; arccos has an angle of 1e-8."""
    x = np.array([[0.3, -1.2, 0.7]])
    for depth, opposite in ((2, 0.0), (8, None)):
        found = pdlt.kernel(pdlt.MLP(depth, 1, "relu", C_W=2.0), np.concatenate([x, 1.7 * x, 0.123 * x, -0.4 * x]))
        for name in ("K", "Theta"):
            values = found[name].values[0]
            assert values[0, :3] / values[0, 0] == pytest.approx([1, 1.7, 0.123], rel=1e-14)
            assert opposite is None or abs(values[0, 3]) < 1e-16


def test_blocks_rectangles_and_layers_are_parts_of_one_matrix(monkeypatch):
    net = pdlt.MLP(4, 10, "gelu", **SCALES)
    x = np.random.default_rng(2).normal(size=(11, 3))
    whole = pdlt.kernel(net, x, layers=[1, 2, 3, 4])
    monkeypatch.setattr(gram, "BLOCK", 4)
    in_blocks = pdlt.kernel(net, x, layers=[2, 4])
    rectangle = pdlt.kernel(net, x, x[3:8], observables=["Theta"])
    for name in ("K", "Theta"):
        # Sums over nodes are taken in another order.
        assert in_blocks[name].values == pytest.approx(whole[name].values[[1, 3]], rel=1e-13)
        assert (in_blocks[name].values == in_blocks[name].values.swapaxes(1, 2)).all()
    assert rectangle.Theta.values[0] == pytest.approx(whole.Theta.values[3][:, 3:8], rel=1e-13)
    assert list(rectangle.data_vars) == ["Theta"] and list(rectangle.layer.values) == [4]


def test_the_accuracy_reached_is_measured_and_said(monkeypatch):
    monkeypatch.setattr("pdlt.numerics.pairs.choose", lambda activation: Mehler(activation, levels=3))
    steep = pdlt.MLP(2, 1, "tanh", C_W=1e7)
    with pytest.warns(AccuracyWarning, match="rtol=1e-10 was not reached"):
        found = pdlt.kernel(steep, inputs())
    assert found.attrs["rtol_reached"] == 0
    # At this slope tanh is a sign but for 1e-3 of the inputs: 2/pi arcsin, and the estimate bounds the difference.
    x = inputs()
    norm = np.sqrt((x**2).sum(1))
    norm[3] = np.inf
    angle = np.arcsin(np.clip(x @ x.T / np.outer(norm, norm), -1, 1))
    sign = 1e7 * 2 / np.pi * angle
    away = ~np.isclose(np.abs(angle), np.pi / 2, atol=1e-3)
    assert np.abs(found.K.values[0] - sign)[away].max() < (found.attrs["relative_error"] + 2e-3) * 1e7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": "tanh"}, "Argument `net` must be a pdlt.MLP"),
        ({"x": [[1.0, float("nan")]]}, r"Argument `x` .* x\[0, 1\] is nan"),
        ({"x2": [[1.0]]}, "Argument `x2` must have inputs of the same dimension as `x`, 3, but got 1"),
        ({"x2": [[1.0, 2.0, float("inf")]]}, r"Argument `x2` .* x2\[0, 2\] is inf"),
        ({"observables": ["K", "V"]}, "Argument `observables` must be K, Theta or both"),
        ({"observables": []}, "Argument `observables` must be"),
        ({"layers": [0]}, "Argument `layers` must be increasing integers from 1 to 3"),
        ({"layers": [2, 2]}, "Argument `layers` must be"),
        ({"layers": []}, "Argument `layers` must be"),
        ({"layers": 4}, "Argument `layers` must be"),
        ({"observables": None}, "Argument `observables` must be"),
        ({"rtol": 0}, "Argument `rtol` must be a number between 0 and 1"),
    ],
)
def test_bad_arguments(arguments, message):
    good = {"net": pdlt.MLP(3, 10, "tanh"), "x": inputs()}
    with pytest.raises(pdlt.PdltError, match=message):
        pdlt.kernel(**{**good, **arguments})


def test_too_large_is_refused_before_anything_is_computed():
    with pytest.raises(pdlt.PdltError, match=r"2 matrices of 400000 x 400000 entries need 2384\.2 GiB"):
        pdlt.kernel(pdlt.MLP(3, 10, "tanh"), np.zeros((400_000, 1)))


@pytest.mark.parametrize("name", ["relu", "z**3"])
def test_overflow_names_the_layer(name):
    net = pdlt.MLP(12, 10, name, C_W=1e60)
    with pytest.raises(pdlt.PdltError, match=r"The kernel overflows at layer \d+ of 12"):
        pdlt.kernel(net, inputs())


def sine_kernel(frequency, q1, q2, c):
    """<sin sin> and <cos cos> of frequency times z."""
    q1, q2, c = (frequency**2 * v for v in (q1, q2, c))
    opened, closed = np.exp(c - (q1 + q2) / 2), np.exp(-c - (q1 + q2) / 2)
    return (opened - closed) / 2, frequency**2 * (opened + closed) / 2


@pytest.mark.parametrize(("name", "C_W", "frequency"), [("sin(30*z)", 1.0, 30), ("sin", 300.0, 1)])
def test_what_two_levels_both_miss_is_seen(name, C_W, frequency):
    """The coefficients of a fast sine begin at its variance: 32 and 64 terms have nothing, and agree at rho = 1."""
    x = np.array([[1.0], [-1.0], [0.9], [1.01]])
    found = pdlt.kernel(pdlt.MLP(2, 8, name, C_W=C_W), x)
    gram_matrix = C_W * x @ x.T
    q = gram_matrix.diagonal()
    square, slope = sine_kernel(frequency, q[:, None], q[None, :], gram_matrix)
    assert found.K.values[0] == pytest.approx(C_W * square, rel=1e-12, abs=1e-12 * C_W)
    theta = square + C_W * slope * (x @ x.T)
    assert found.Theta.values[0] == pytest.approx(theta, rel=1e-12, abs=1e-12 * theta.max())


@pytest.mark.parametrize(("name", "x"), [("tanh", 150.0), ("exp(z)", 4.0)])
def test_quadrature_that_does_not_resolve_the_activation_is_seen(name, x):
    """The last levels share their nodes; tanh' at a variance of 22500 is off by 0.8 %, exp leaves the ball."""
    with pytest.warns(AccuracyWarning):
        found = pdlt.kernel(pdlt.MLP(2, 8, name, C_W=1.0 if name == "tanh" else 8.0), [[x]])
    assert found.attrs["relative_error"] > 8e-3


@pytest.mark.parametrize("name", ["sin", "erf"])
def test_nearly_opposite_inputs_of_odd_activations_are_nearly_equal_ones(name):
    """In a chaotic deep network, where rounding of 1 + rho would grow to 1e-9."""
    a, b = np.random.default_rng(1).normal(size=(2, 4))
    found = pdlt.kernel(pdlt.MLP(30, 8, name, C_W=3.0), [a, a + 1e-6 * b, -a - 1e-6 * b])
    for values in (found.K.values[0], found.Theta.values[0]):
        assert values[0, 2] == pytest.approx(-values[0, 1], rel=1e-14)


def test_inputs_of_very_different_norm_keep_their_digits():
    """erf is linear for small inputs: K(x, y) = 2/sqrt(pi) <z_x erf(z_y)>, exactly, and Stein's lemma has the rest."""
    r = 1e10
    x = np.array([[0.3 / r, 0.1 / r], [0.6, 0.8], [-0.4, 0.2]])
    found = pdlt.kernel(pdlt.MLP(2, 8, "erf"), x).K.values[0]
    gram_matrix = x @ x.T / 2
    slope = 2 / np.sqrt(np.pi * (1 + 2 * gram_matrix.diagonal()))
    expected = 2 / np.sqrt(np.pi) * gram_matrix[0, 1:] * slope[1:]
    assert found[0, 1:] == pytest.approx(expected, rel=1e-14)
