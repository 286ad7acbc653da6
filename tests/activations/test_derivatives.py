"""Derivatives of every built-in against mpmath's numerical differentiation, closed forms and far tails."""

import importlib.util
import time

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy as sp

from pdlt._jax import x64
from pdlt.activations import BUILTIN, Activation, activation, z
from pdlt.errors import PdltError

POINTS = [-40.3, -9.7, -3.1, -0.83, -0.012, 0.31, 1.7, 4.4, 11.6, 30.9]
FAR = [-1000.0, -700.3, -600.0, -120.7, -36.2, -20.1, 19.9, 37.7, 300.1, 650.0, 1000.0]
OTHERS = [
    "z*tanh(log(1+exp(z)))",
    "z**3",
    "atan(z)",
    "sqrt(1+z**2)",
    "exp(-z**2)*sinh(z)",
    "cos(z)*sech(z)",
    "asinh(z)",
]
BOUNDED = ["tanh", "sigmoid", "softplus", "silu", "gelu", "erf", "z*tanh(softplus(z))", "sech(z)"]

# Written out independently of the package's stable functions.
DEFINITIONS = {
    "linear": lambda x: x,
    "tanh": lambda x: mpmath.tanh(x),
    "sin": lambda x: mpmath.sin(x),
    "cos": lambda x: mpmath.cos(x),
    "erf": lambda x: mpmath.erf(x),
    "gelu": lambda x: x * (1 + mpmath.erf(x / mpmath.sqrt(2))) / 2,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log(1 + mpmath.exp(x)),
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "abs": lambda x: abs(x),
    "leaky_relu": lambda x: x if x > 0 else x / 100,
    "z*tanh(log(1+exp(z)))": lambda x: x * mpmath.tanh(mpmath.log(1 + mpmath.exp(x))),
    "z**3": lambda x: x**3,
    "atan(z)": lambda x: mpmath.atan(x),
    "sqrt(1+z**2)": lambda x: mpmath.sqrt(1 + x**2),
    "exp(-z**2)*sinh(z)": lambda x: mpmath.exp(-(x**2)) * mpmath.sinh(x),
    "cos(z)*sech(z)": lambda x: mpmath.cos(x) / mpmath.cosh(x),
    "asinh(z)": lambda x: mpmath.asinh(x),
}


def test_every_builtin_has_a_definition_here():
    assert set(BUILTIN) <= set(DEFINITIONS)


@pytest.mark.parametrize("name", [*BUILTIN, *OTHERS])
def test_against_numerical_differentiation(name):
    """k = 0 ... 6: central differences of the definition, with more digits than they cancel."""
    sigma = activation(name)
    sigma_by_hand = DEFINITIONS[name]
    for x in POINTS:
        # The smallest values, near exp(-40^2) = 1e-700, are differences of numbers of order one.
        with mpmath.workdps(1200):
            h = mpmath.mpf(10) ** -50
            nodes = {j: sigma_by_hand(mpmath.mpf(x) + j * h / 2) for j in range(-6, 7)}
            wanted = [
                sum((-1) ** j * mpmath.binomial(k, j) * nodes[k - 2 * j] for j in range(k + 1)) / h**k
                for k in range(7)
            ]
        with x64():
            got = [float(sigma.jax(k)(jnp.asarray(x))) for k in range(7)]
        with mpmath.workdps(60):
            exact = [sigma.mpmath(k)(x) for k in range(7)]
            for k in range(7):
                assert abs(exact[k] - wanted[k]) <= mpmath.mpf("1e-45") * abs(wanted[k]) + mpmath.mpf(
                    "1e-850"
                ), (x, k)
                tolerance = 1e-8 if name == "sqrt(1+z**2)" else 1e-12
                assert abs(got[k] - wanted[k]) <= tolerance * abs(wanted[k]) + mpmath.mpf("1e-300"), (x, k)


@pytest.mark.parametrize("name", BOUNDED)
def test_tails_are_accurate(name):
    sigma = activation(name)
    for k in range(9):
        with x64():
            got = np.asarray(jax.jit(sigma.jax(k))(np.array(FAR)))
        assert np.isfinite(got).all()
        for x, y in zip(FAR, got):
            with mpmath.workdps(60):
                wanted = sigma.mpmath(k)(x)
                if abs(wanted) > 1e-290:
                    assert abs(float(y) - wanted) <= 1e-12 * abs(wanted), (k, x)


def test_a_cancelling_form_would_be_caught():
    """The planted error: sech(z)^2 computed as 1 - tanh(z)^2 has no digits left at z = 20."""
    with x64():
        naive = float(1 - jnp.tanh(20.1) ** 2)
        wanted = float(activation("tanh").mpmath(1)(20.1))
    assert abs(naive - wanted) > 1e-3 * wanted


@pytest.mark.parametrize("k", range(9))
def test_closed_forms(k):
    x = 0.73
    with x64():
        at = {name: float(activation(name).jax(k)(jnp.asarray(x))) for name in ("sin", "erf", "gelu", "z**5")}
    assert at["sin"] == pytest.approx(np.sin(x + k * np.pi / 2), rel=1e-13)
    hermite = [sp.hermite(j, x) for j in range(k + 1)]
    if k >= 1:
        assert at["erf"] == pytest.approx(
            float((-1) ** (k - 1) * 2 / sp.sqrt(sp.pi) * hermite[k - 1] * sp.exp(-(x**2))), rel=1e-12
        )
    if k >= 2:  # (z Phi)^(k) = z phi^(k-1) + k phi^(k-2) with phi^(m) = (-1)^m He_m phi
        he = [1.0, x]
        for m in range(1, k):
            he.append(x * he[m] - m * he[m - 1])
        phi = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
        wanted = ((-1) ** (k - 1) * x * he[k - 1] + k * (-1) ** (k - 2) * he[k - 2]) * phi
        assert at["gelu"] == pytest.approx(wanted, rel=1e-12)
    falling = float(sp.ff(5, k))
    assert at["z**5"] == pytest.approx(falling * x ** (5 - k) if k <= 5 else 0.0, rel=1e-14)


def test_kinks_take_the_mean_slope_at_zero_and_have_no_atoms():
    with x64():
        for name, (minus, plus) in {"relu": (0, 1), "abs": (-1, 1), "leaky_relu(0.2)": (0.2, 1)}.items():
            sigma = activation(name)
            x = jnp.array([-2.0, 0.0, 3.0])
            np.testing.assert_allclose(sigma.jax(0)(x), [-2 * minus, 0, 3 * plus], rtol=1e-15)
            np.testing.assert_allclose(sigma.jax(1)(x), [minus, (minus + plus) / 2, plus], rtol=1e-15)
            np.testing.assert_array_equal(sigma.jax(2)(x), np.zeros(3))
            assert float(sigma.mpmath(1)(0)) == pytest.approx((minus + plus) / 2)


def test_dtype_and_shape_are_kept():
    with x64():
        for name in BUILTIN:
            for k in range(4):
                for dtype in (jnp.float32, jnp.float64):
                    y = activation(name).jax(k)(jnp.ones((2, 3), dtype))
                    assert y.dtype == dtype and y.shape == (2, 3)
    assert activation("tanh").jax(1)(jnp.array([1, 2])).dtype == jnp.float32
    with x64():
        assert activation("tanh").jax(1)(np.array([1, 2])).dtype == jnp.float64


def test_functions_are_cached_for_jit():
    assert activation("gelu").jax(2) is activation("z*normal_cdf(z)").jax(2)


@pytest.mark.parametrize("name", [*BUILTIN, *OTHERS])
def test_source_is_the_same_function(name, tmp_path):
    """The printed source, imported as a module that knows jax only, gives the same numbers."""
    sigma = activation(name)
    lines = ["import jax.numpy as jnp", "import jax.scipy.special"]
    lines += [f"def d{k}(z): return {sigma.jax_source(k)}" for k in range(5)]
    path = tmp_path / "exported.py"
    path.write_text("\n".join(lines))
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with x64():
        x = jnp.array([-3.3, -0.2, 0.0, 0.9, 12.0])
        for k in range(5):
            np.testing.assert_allclose(getattr(module, f"d{k}")(x), sigma.jax(k)(x), rtol=1e-14, atol=1e-300)


@pytest.mark.parametrize("name", [*BUILTIN, "erfc(z)", "z*tanh(softplus(z))"])
def test_elementary_form_is_plain_sympy(name):
    sigma = activation(name)
    plain = sigma.elementary()
    value = float(plain.subs(z, sp.Rational(7, 10)).evalf(20))
    assert value == pytest.approx(float(sigma.mpmath(0)(0.7)), rel=1e-14)
    known = {"exp", "erf", "tanh", "sin", "cos", "log", "Max", "Abs"}
    assert {type(f).__name__ for f in plain.atoms(sp.Function, sp.Max)} <= known


def test_autodiff_of_the_function_agrees():
    """The samplers of real networks differentiate `.jax(0)` themselves."""
    with x64():
        x = jnp.array([-700.0, -3.3, -0.2, 0.9, 12.0, 700.0])
        for name in BUILTIN:
            function = activation(name).jax(0)
            for _ in range(3):
                function = jax.grad(function)
            got = jax.jit(jax.vmap(function))(x)
            np.testing.assert_allclose(got, activation(name).jax(3)(x), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("k", [-1, 1.0, "2", None, True])
def test_bad_order(k):
    with pytest.raises(PdltError, match="`k` must be a non-negative integer"):
        activation("tanh").derivative(k)


@pytest.mark.parametrize(
    "text",
    ["*".join(f"(1+sin({i}*z))" for i in range(1, 26)), "tanh(" * 49 + "z" + ")" * 49],
    ids=["wide", "deep"],
)
def test_hopeless_derivative_is_refused(text):
    start = time.process_time()
    with pytest.raises(PdltError, match="too complicated"):
        activation(text).derivative(6)
    assert time.process_time() - start < 30


@pytest.mark.parametrize(
    ("name", "parity", "degree"),
    [("tanh", -1, None), ("sin", -1, None), ("cos", 1, None), ("erf", -1, None), ("gelu", None, None),
     ("relu", None, None), ("abs", 1, None), ("linear", -1, 1), ("z**3", -1, 3), ("1+z**4", 1, 4),
     ("z+z**2", None, 2), ("softplus(z)-z/2", 1, None), ("sigmoid(z)-1/2", -1, None), ("abs(z)/3", 1, None)],
)  # fmt: skip
def test_parity_and_degree(name, parity, degree):
    sigma = activation(name)
    assert (sigma.parity, sigma.polynomial_degree) == (parity, degree)


def test_direct_construction_validates():
    assert Activation("mine", sp.tanh(z)) == activation("tanh")
    for expr, slopes in [
        (sp.Symbol("x"), None),
        (sp.Integer(1), None),
        ("tanh(z)", None),
        (sp.Abs(z), None),
        (z, (1, 1)),
    ]:
        with pytest.raises(PdltError):
            Activation("mine", expr, slopes)


def test_notebook_and_repr():
    assert activation("gelu")._repr_latex_() == r"$\displaystyle \sigma(z) = z \Phi{\left(z \right)}$"
    assert repr(activation("leaky_relu(0.2)")) == "Activation('leaky_relu(0.2)')"
    assert repr(Activation("mine", sp.tanh(z))) == "Activation('mine': tanh)"
