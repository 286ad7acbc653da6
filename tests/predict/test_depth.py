"""Depth: compiled once whatever it is, and what happens when the kernel runs away."""

import jax
import numpy as np
import pytest

import pdlt
from pdlt._jax import x64
from pdlt.codegen.program import lower
from pdlt.numerics.backends import choose
from pdlt.pipeline import derive
from pdlt.predict.initialisation import _compiled, _first_layer, layer_parameters

ONE = np.ones((1, 1))


def traced_size(depth: int) -> int:
    """Return the number of characters of the traced program: it would grow with anything that is unrolled."""
    net = pdlt.MLP(depth, 30, "tanh", C_b=0.1, C_W=1.2)
    program = lower(derive(order=1), single=False, kinked=False)
    backend = choose(net.activation, 2, program.averages)
    x = np.array([[0.5, 0.1], [0.2, -0.7]])
    with x64():
        arguments = _first_layer(program, net, x), layer_parameters(net, 2), backend.data(0, 2, program.averages)
        trace = jax.make_jaxpr(_compiled(program, backend))(*arguments)
    return sum(1 for line in str(trace).splitlines() if "=" in line)


def test_trace_does_not_grow_with_depth() -> None:
    assert traced_size(4) == traced_size(40)


def test_deep_network_in_one_scan() -> None:
    """Depth 1000 at criticality: V = 5 K^2 (L - 1) exactly."""
    prediction = pdlt.predict(pdlt.MLP(1000, 50, "relu", C_W=2.0), ONE, ["V"])
    np.testing.assert_allclose(prediction["V"].values.reshape(-1), 20.0 * np.arange(1000), rtol=1e-11)


def test_depth_one() -> None:
    prediction = pdlt.predict(pdlt.MLP(1, 7, "tanh", C_b=0.5, C_W=2.0), 3 * ONE)
    assert prediction["K"].values.tolist() == [[[18.5]]]
    assert prediction["V"].values.tolist() == [[[[[0.0]]]]]
    assert prediction.attrs["fan_in"] == [1]


@pytest.mark.parametrize(
    ("activation", "scales", "message"),
    [
        ("z**3", {"depth": 12, "C_W": 3.0}, r"\w+ is not finite at layer [67] of 12"),
        ("relu", {"depth": 300, "C_W": 1e4}, r"\w+ is not finite at layer 4\d of 300"),
        ("linear", {"depth": 400, "C_W": 10.0}, r"\w+ is not finite at layer 15\d of 400"),
        ("exp(z)", {"depth": 5, "C_W": 3.0}, r"\w+ is not finite at layer [34] of 5"),
    ],
)
def test_overflow_names_the_layer(activation: str, scales: dict, message: str) -> None:
    """relu: (10^4 / 2)^l squared passes 1e308 at layer 42; undefined tensors (nan from layer 2) are not blamed."""
    with pytest.raises(pdlt.PdltError, match=message) as caught:
        pdlt.predict(pdlt.MLP(width=20, activation=activation, **scales), ONE)
    assert "`C_b`, `C_W`" in str(caught.value)


def test_overflow_of_the_inputs() -> None:
    with pytest.raises(pdlt.PdltError, match="K is not finite at layer 1 of 2"):
        pdlt.predict(pdlt.MLP(2, 20, "tanh"), 1e200 * ONE)


def test_tiny_kernels_keep_their_correlations() -> None:
    """K of order 1e-200: products of two variances are below the range of floats."""
    x = np.array([[0.9, -0.4], [0.2, 0.7]])
    net = pdlt.MLP(3, 20, "relu", C_W=2.0)
    small, plain = (pdlt.predict(net, scale * x, ["K", "Theta"], order=0) for scale in (1e-100, 1.0))
    np.testing.assert_allclose(small["K"].values * 1e200, plain["K"].values, rtol=1e-12)
    np.testing.assert_allclose(small["Theta"].values * 1e200, plain["Theta"].values, rtol=1e-12)
