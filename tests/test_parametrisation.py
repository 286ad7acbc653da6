"""Parametrisations: the products that matter, real networks in the framework's form, round trips, bad input."""

import numpy as np
import pytest

import pdlt

WIDTHS = [24, 16]
ARGUMENTS = {"n_0": 3, "width": WIDTHS, "activation": "tanh", "sigma_w": 1.3, "sigma_b": 0.4, "learning_rate": 0.02}


@pytest.mark.parametrize(
    ("name", "C_W", "lambda_b", "lambda_W"),
    [
        ("standard", (1.69, 1.69, 1.69), (0.02, 0.02, 0.02), (0.06, 0.48, 0.32)),
        ("ntk", (1.69, 1.69, 1.69), (0.0032, 0.0032, 0.0032), (0.0338, 0.0338, 0.0338)),
        ("mup", (1.69, 1.69, 1.69 / 16), (0.48, 0.32, 0.02), (1.44, 0.48, 0.02)),
    ],
)
def test_what_each_parametrisation_means(name, C_W, lambda_b, lambda_W):
    net = pdlt.recipe(name, **ARGUMENTS).network()
    assert net.C_b == pytest.approx((0.16,) * 3, rel=1e-14)
    assert net.C_W == pytest.approx(C_W, rel=1e-14)
    assert net.lambda_b == pytest.approx(lambda_b, rel=1e-14)
    assert net.lambda_W == pytest.approx(lambda_W, rel=1e-14)


def outputs_and_tangent_kernel(recipe, x, seed):
    """z and sum eta (dz/dw)(dz/dw) of one network in the framework's form, biases included, by finite differences."""
    rng = np.random.default_rng(seed)
    fan_in = [recipe.n_0, *recipe.width]
    fan_out = [*recipe.width, 1]
    weights = [s * rng.normal(size=(m, n)) for s, m, n in zip(recipe.weight_std, fan_out, fan_in, strict=True)]
    biases = [s * rng.normal(size=m) for s, m in zip(recipe.bias_std, fan_out, strict=True)]

    def forward():
        z = x.T
        for k, (W, b) in enumerate(zip(weights, biases, strict=True)):
            s = z if k == 0 else np.tanh(z)
            z = recipe.weight_multiplier[k] * W @ s + recipe.bias_multiplier[k] * b[:, None]
        return z[0]

    kernel = np.zeros((len(x), len(x)))
    for arrays, rates in ((weights, recipe.weight_rate), (biases, recipe.bias_rate)):
        for array, rate in zip(arrays, rates, strict=True):
            for index in np.ndindex(*array.shape):
                old, found = array[index], []
                for sign in (1, -1):
                    array[index] = old + sign * 1e-5
                    found.append(forward())
                array[index] = old
                gradient = (found[0] - found[1]) / 2e-5
                kernel += rate * np.outer(gradient, gradient)
    return forward(), kernel


@pytest.mark.parametrize("name", ["standard", "ntk", "mup"])
def test_networks_in_the_frameworks_form_have_the_predicted_tangent_kernel(name):
    """40 networks, their NTK in the framework's own parameters and rates; z-score threshold 4, seeds fixed."""
    arguments = {**ARGUMENTS, "width": [8, 6]}
    recipe = pdlt.recipe(name, **arguments)
    x = np.array([[0.9, -0.4, 1.1], [0.2, 0.8, -0.5]])
    kernels = np.array([outputs_and_tangent_kernel(recipe, x, seed)[1] for seed in range(40)])
    run = pdlt.simulate(recipe.network(), x, ["Theta"], samples=20_000, seed=0)
    mean, error = kernels.mean(0), kernels.std(0, ddof=1) / np.sqrt(len(kernels))
    z = (mean - run.Theta.values[-1]) / np.hypot(error, run.Theta_stderr.values[-1])
    assert np.abs(z).max() < 4
    # Planted: another parametrisation's rates are seen.
    other = pdlt.recipe("ntk" if name == "standard" else "standard", **arguments).network()
    wrong = pdlt.predict(other, x, ["Theta"], order=0).Theta.values[-1]
    assert np.abs((mean - wrong) / error).max() > 5


@pytest.mark.parametrize("name", ["standard", "ntk", "mup"])
@pytest.mark.parametrize("back", ["standard", "ntk", "mup"])
def test_there_and_back(name, back):
    made = pdlt.recipe(name, **ARGUMENTS)
    net = made.network()
    again = pdlt.recipe_of(net, 3, back)
    for field in ("C_b", "C_W", "lambda_b", "lambda_W"):
        assert getattr(again.network(), field) == pytest.approx(getattr(net, field), rel=1e-13)
    if back == name:
        assert again.learning_rate == pytest.approx(0.02, rel=1e-13)
        assert again.weight_std == pytest.approx(made.weight_std, rel=1e-13)
    else:
        assert again.learning_rate is None


def test_without_biases_one_rate_is_left():
    made = pdlt.recipe("ntk", 3, 8, "relu", depth=3, sigma_w=2**0.5)
    assert made.network().lambda_b == (0.0, 0.0, 0.0)
    assert pdlt.recipe_of(made.network(), 3, "ntk").learning_rate == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parametrisation": "muP"}, "Argument `parametrisation` must be one of standard, ntk, mup, but got 'muP'"),
        ({"n_0": 0}, "Argument `n_0` must be a positive integer, but got 0"),
        ({"sigma_w": -1.0}, "Argument `sigma_w` must be a number, not negative, but got -1.0"),
        ({"sigma_w": 1e200}, r"`sigma_w` must be a number, not negative and at most 1e\+150 .*, but got 1e\+200"),
        ({"sigma_b": 10**400}, "Argument `sigma_b` must be a number"),
        ({"learning_rate": float("nan")}, "Argument `learning_rate` must be"),
        ({"width": [0]}, "Argument `width`"),
    ],
)
def test_bad_arguments_of_a_recipe(change, message):
    with pytest.raises(pdlt.PdltError, match=message):
        pdlt.recipe(**{"parametrisation": "standard", **ARGUMENTS, **change})


def test_what_cannot_be_written_is_refused():
    net = pdlt.MLP(2, 8, "tanh", lambda_b=0.1)
    with pytest.raises(pdlt.PdltError, match="lambda_b = 0.1 and no variance"):
        pdlt.recipe_of(net, 3, "ntk")


def test_numbers_of_numpy_and_widths_as_arrays():
    made = pdlt.recipe("mup", np.int64(3), np.array(WIDTHS), "tanh", None, np.float32(1.5), 0.5, np.float64(0.02))
    assert made == pdlt.recipe("mup", 3, WIDTHS, "tanh", None, 1.5, 0.5, 0.02)
    assert type(made.n_0) is int and type(made.learning_rate) is float
    assert pdlt.recipe_of(made.network(), np.int32(3), "mup").learning_rate == pytest.approx(0.02)


def test_rates_beyond_floating_point_are_refused():
    with pytest.raises(pdlt.PdltError, match="needs a learning rate beyond floating-point numbers"):
        pdlt.recipe_of(pdlt.MLP(2, 8, "tanh", C_W=1e-320), 3, "ntk")
