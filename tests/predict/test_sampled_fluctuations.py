"""Order 1/n without tensors of four indices against `predict`, quadrature by hand, and bad input."""

from functools import partial

import numpy as np
import pytest

import pdlt
from pdlt._jax import x64
from pdlt.numerics import rules
from pdlt.numerics.pairs.mehler import Mehler
from pdlt.observables import NAMED
from pdlt.predict import AccuracyWarning
from pdlt.predict.fluctuations import averages, fluctuations, propagation, sampled
from pdlt.predict.fluctuations.averages import PairAverages
from pdlt.predict.fluctuations.draws import Draws

TENSORS = [name for name, item in NAMED.items() if item.components == 2]
SCALES = {"C_b": (0.2, 0.3, 0.1), "C_W": (1.3, 1.5, 0.9), "lambda_b": (0.5, 0.7, 0.4), "lambda_W": (1.0, 1.2, 0.8)}

#: Standard errors. With 32 replicas an entry exceeds them once in ten thousand; a component has up to 16.
THRESHOLD = 4.5


def network(activation, depth=3):
    scales = {name: values[:depth] for name, values in SCALES.items()}
    return pdlt.MLP(depth, (20, 30)[: depth - 1], activation, **scales)


def inputs(count=2):
    return np.random.default_rng(0).normal(size=(count, 2))


@pytest.fixture(scope="module", params=["tanh", "gelu"])
def both(request):
    net = network(request.param)
    return fluctuations(net, inputs(), samples=2**13, seed=1, replicas=32), pdlt.predict(net, inputs())


def deviation(found, expected, name):
    """The largest deviation in standard errors, and the largest standard error relative to the largest entry."""
    value, error = found.tensor(name)
    exact = expected[name].values[-1]
    return np.abs((value - exact) / error).max(), error.max() / np.abs(exact).max()


@pytest.mark.parametrize("name", TENSORS)
def test_tensors(both, name):
    deviations, error = deviation(*both, name)
    assert deviations < THRESHOLD
    assert error < 0.05  # else agreement would mean nothing


@pytest.mark.parametrize("name, pair", [("T", ("ab", "b")), ("S", ("ac", "bc")), ("U", ("ac", "b")), ("V", ("", ""))])
def test_a_wrong_factor_in_one_response_would_be_seen(both, name, pair, monkeypatch):
    correct = propagation.responses

    def wrong(of):
        (first, weight), *others = correct(of)
        return ((first, weight * 3), *others) if of == pair else correct(of)

    monkeypatch.setattr(propagation, "responses", wrong)
    assert deviation(*both, name)[0] > THRESHOLD


@pytest.mark.parametrize("name, pair", [("A", ("a", "a")), ("P", ("ab", "")), ("F", ("a", ""))])
def test_a_wrong_factor_in_a_source_would_be_seen(both, name, pair, monkeypatch):
    correct = propagation.sources

    def wrong(of):
        (first, weight), *others = correct(of)
        return ((first, weight * 3 / 2), *others) if of == pair else correct(of)

    monkeypatch.setattr(propagation, "sources", wrong)
    propagation.neurons.cache_clear()
    try:
        assert deviation(*both, name)[0] > THRESHOLD
    finally:
        propagation.neurons.cache_clear()


@pytest.mark.parametrize("name", ["K", "Theta", "K_1", "Theta_1"])
def test_means_have_all_digits(both, name):
    found, expected = both
    exact = expected[name].values
    # predict's own accuracy is 1e-8.
    np.testing.assert_allclose(found.layers[name], exact, rtol=1e-8, atol=1e-8 * np.abs(exact).max())
    assert getattr(found, name) is not None and np.array_equal(getattr(found, name), found.layers[name][-1])


def test_a_wrong_digit_in_a_mean_would_be_seen(both):
    found, expected = both
    net = found.net
    other = pdlt.MLP(3, net.width, net.activation, **{**SCALES, "lambda_W": (1.0, 1.2 + 1e-6, 0.8)})
    wrong = fluctuations(other, inputs(), samples=2, replicas=2)
    assert np.abs(wrong.Theta_1 / expected["Theta_1"].values[-1] - 1).max() > 1e-7
    np.testing.assert_array_equal(wrong.K_1, found.K_1)


@pytest.mark.parametrize("first, second", [((0,), (5,)), ((0, 0, 1), (2,)), ((1, 3), (0, 0)), ((), (2, 2))])
def test_averages(first, second):
    kernel = np.array([[0.9, 0.5, 0.9, -0.9], [0.5, 0.7, 0.5, -0.5], [0.9, 0.5, 0.9, -0.9], [-0.9, -0.5, -0.9, 0.9]])
    rule = rules.trapezoid(2, 3)
    with x64():
        activation = pdlt.activation("gelu")
        found = PairAverages(activation, kernel, [first, second])
        matrix = np.asarray(found(first, second))
        for i, j in [(0, 0), (0, 1), (1, 0), (0, 2), (0, 3), (1, 1)]:
            slope = kernel[i, j] / kernel[i, i]
            z = np.sqrt(kernel[i, i]) * rule.nodes[:, 0]
            other = slope * z + np.sqrt(max(kernel[j, j] - slope * kernel[i, j], 0.0)) * rule.nodes[:, 1]
            values = rule.weights.copy()
            for orders, at in ((first, z), (second, other)):
                for k in orders:
                    values *= np.asarray(activation.jax(k)(at))
            assert abs(matrix[i, j] - values.sum()) < 1e-11 * np.abs(values).sum()  # the series is cut there
    assert found.missed < 1e-11


def test_draws_have_the_kernels_as_covariances():
    rng = np.random.default_rng(2)
    root = rng.normal(size=(5, 3))
    kernel, vector = root @ root.T, rng.normal(size=5)
    theta = np.outer(vector, vector)
    jets = Draws(kernel, theta, 2)((0, 1), 12)
    assert jets.shape == (3, 2**12, 5)
    # Independent points would be off by 1/sqrt(4096) = 0.016.
    np.testing.assert_allclose(jets[0].T @ jets[0] / 2**12, kernel, atol=2e-3 * kernel.max())
    np.testing.assert_allclose(np.einsum("ri,rj->rij", jets[1], jets[1]) - theta, 0.0, atol=1e-14 * theta.max())
    assert np.abs((jets[1] * jets[2]).mean(0)).max() < 2e-3 * theta.max()
    nothing = Draws(np.zeros((2, 2)), np.zeros((2, 2)), 1)((0,), 3)
    assert nothing.shape == (2, 8, 2) and not nothing.any()


def total(found, first, second, layers=None, **options):
    """The estimate of each replica of a cumulant of two components, at layers."""
    last = found.net.depth
    layers = (last, last) if layers is None else layers
    result = np.zeros((found.replicas, *(len(found.K),) * 4))
    for chunk in found.chunks([first, second], sorted(set(layers)), **options):
        if min(layers) > chunk.source:
            one, two = chunk.values[layers[0], first], chunk.values[layers[1], second]
            result[chunk.replica] += chunk.weight * np.einsum("rij,rkl->ijkl", one, two)
    return result


def test_sums_depend_on_the_seed_and_not_on_the_chunks():
    net = network("tanh")
    found, again, other = (fluctuations(net, inputs(), samples=64, replicas=4, seed=seed) for seed in (3, 3, 4))
    pairs = ("a", "b"), ("ab", "")
    whole = total(found, *pairs)
    np.testing.assert_allclose(total(found, *pairs, size=8), whole, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(total(again, *pairs), whole)
    assert np.abs(total(other, *pairs) - whole).max() > 1e-3
    assert np.abs(whole[0] - whole[1]).max() > 1e-3


def test_cumulants_of_two_layers():
    """Given layer 2, the kernel of layer 3 follows it with the slope d K'/d K, on one input, here by quadrature."""
    net = network("tanh")
    x = inputs(1)
    found = fluctuations(net, x, samples=2**13, replicas=32)
    estimates = total(found, ("", ""), ("", ""), layers=(2, 3)).reshape(-1)
    rule = rules.trapezoid(1, 3)
    t = np.tanh(np.sqrt(found.layers["K"][1, 0, 0]) * rule.nodes[:, 0])
    slope = net.C_W[2] * rule.weights @ ((1 - t**2) ** 2 - 2 * t**2 * (1 - t**2))
    expected = 30 / 20 * slope * pdlt.predict(net, x, ["V"])["V"].values[1].item()
    error = estimates.std(ddof=1) / np.sqrt(len(estimates))
    assert abs(estimates.mean() - expected) < THRESHOLD * error
    assert error < 0.01 * abs(expected)
    assert {chunk.source for chunk in found.chunks([("", "")], [2])} == {1}


def test_equal_inputs_have_equal_fluctuations():
    x = inputs(3)[[0, 1, 0]]
    found = fluctuations(network("tanh"), x, samples=32, replicas=2)
    pairs = ("ab", "b"), ("abc", "c")
    for chunk in found.chunks(pairs):
        for pair in pairs:
            value = np.asarray(chunk[pair])
            assert np.isfinite(value).all()
            np.testing.assert_allclose(value[:, 0], value[:, 2], rtol=0, atol=1e-12 * np.abs(value).max())
    assert np.isfinite(fluctuations(pdlt.MLP(3, 4, "tanh"), np.zeros((2, 2)), samples=4, replicas=2).Theta_1).all()


def test_one_layer_does_not_fluctuate():
    found = fluctuations(pdlt.MLP(1, (), "tanh"), inputs(), samples=4, replicas=2)
    assert not list(found.chunks()) and not found.K_1.any() and not found.Theta_1.any()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"samples": 100, "replicas": 4}, "Argument `samples` must be a power of two times `replicas`, 4, but got 100"),
        ({"samples": 4, "replicas": 8}, "Argument `samples` must be a power of two times"),
        ({"samples": 2.0}, "Argument `samples` must be an integer"),
        ({"replicas": 1}, "Argument `replicas` must be an integer from 2"),
        ({"seed": -1}, "Argument `seed` must be an integer from 0"),
        ({"net": pdlt.MLP(3, 10, "relu")}, "relu has a kink; its second derivative contains a Dirac atom"),
        ({"net": pdlt.MLP(9, 10, "z", C_W=1e60)}, "overflow at layer 4 of 9"),
        ({"net": None}, "Argument `net` must be a pdlt.MLP"),
        ({"x": [[np.nan]]}, "Argument `x` must be"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(pdlt.PdltError, match=message):
        fluctuations(**{"net": network("tanh"), "x": 9 * inputs(), **options})


def test_bad_requests():
    found = fluctuations(network("tanh"), inputs(), samples=4, replicas=2)
    with pytest.raises(pdlt.PdltError, match="Argument `pairs` must be of .*, but got"):
        next(found.chunks([("ab", "ab")]))
    with pytest.raises(pdlt.PdltError, match="Argument `layers` must be an integer from 2 to 3"):
        next(found.chunks(layers=[1]))
    with pytest.raises(pdlt.PdltError, match="'K' is not a cumulant of two components"):
        found.tensor("K")


def test_memory_is_asked_for_first(monkeypatch):
    monkeypatch.setattr(sampled, "machine_memory", lambda: 2**20)
    with pytest.raises(pdlt.PdltError, match="Argument `x`: 200 inputs at depth 3 with 1024 neurons per replica need"):
        fluctuations(network("tanh"), inputs(200))


def test_steep_activations_warn(monkeypatch):
    monkeypatch.setattr(averages, "Mehler", partial(Mehler, levels=3))  # which takes seconds to be at its wits' end
    with pytest.warns(AccuracyWarning, match="only with the finest quadrature"):
        fluctuations(network("tanh(60*z)", depth=2), inputs(), samples=4, replicas=2)
