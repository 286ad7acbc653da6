"""The sampler `path`: its generated recursion against exact integration, its ensembles against other samplers."""

import itertools
import math
import os
import re
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest

from pdlt.ensemble import path, simulate, tasks
from pdlt.ensemble.specs import NAMED, set_partitions
from pdlt.ensemble.tangent_moments import GIVEN, NEXT, Inverse, moment, recursion
from pdlt.errors import PdltError
from pdlt.networks import MLP

SCALES = {"C_b": 0.3, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
TWO = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]])
SIGMA = [np.tanh, lambda z: np.cosh(z) ** -2, lambda z: -2 * np.tanh(z) * np.cosh(z) ** -2]


def next_moments(rule, values, eps, factor):
    """Evaluate a recursion by its definition, for one path: eps (N, width), F (N, N); as slowly as it gets."""
    z, width, inverse = factor @ eps, eps.shape[1], np.linalg.inv(factor)
    constants = SCALES["C_W"], SCALES["lambda_W"], SCALES["lambda_b"], 1 / width

    def weight(factor):
        if factor is None:
            return 1.0
        if isinstance(factor, Inverse):
            return inverse[factor.k, factor.b]
        terms = np.prod([SIGMA[k](z[a]) for k, a in factor.sigma] + [eps[k] for k in factor.eps], axis=0)
        return math.prod(c**p for c, p in zip(constants, factor.powers, strict=True)) * np.mean(terms)

    known = {tuple((GIVEN, c) for c in components): v for components, v in zip(rule.moments, values, strict=True)}
    for level in rule.levels:
        known |= {p: sum(t.coefficient * weight(t.factor) * known[t.product] for t in ts) for p, ts in level.items()}
    return [known[tuple((NEXT, c) for c in components)] for components in rule.moments]


def covariance(u, jets, n_inputs):
    """Return the next layer's G by pairs of (jet, input), from jets u[jet] of shape (N, width, ...)."""

    def phi(S, a):
        total = 0.0
        for partition in set_partitions(S):
            blocks = [u["".join(block)][a] for block in partition]
            total = total + SIGMA[len(blocks)](u[""][a]) * math.prod(blocks)
        return total

    G = {}
    for (S, a), (T, b) in itertools.product(itertools.product(jets, range(n_inputs)), repeat=2):
        G[(S, a), (T, b)] = SCALES["C_W"] * (phi(S, a) * phi(T, b)).mean(axis=0)
        G[(S, a), (T, b)] += SCALES["C_b"] * (S == T == "") + SCALES["lambda_b"] * (S == T and len(S) == 1)
        for s in set(S) & set(T):
            inherited = phi(S.replace(s, ""), a) * phi(T.replace(s, ""), b)
            G[(S, a), (T, b)] += SCALES["lambda_W"] * inherited.mean(axis=0)
    return G


def grid(count, nodes):
    """Return points (count, points) and weights of Gauss-Hermite quadrature, exact up to degree 2 nodes - 1 in each."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.array(list(itertools.product(x, repeat=count))).T
    return points, np.array(list(itertools.product(w / w.sum(), repeat=count))).prod(axis=1)


def integrated(wanted, jets, letters, eps1, eps2, gram):
    """Return the expectations of products of G^(3) given the paths eps1, eps2 through two layers, and F of layer 2.

    Over tangents in layer 1 (each letter occurs twice, so points +-1 are exact), then, given those, over the jets of
    layer 2 given z, neuron by neuron, from their joint covariance.
    """
    n_inputs, width = eps1.shape
    root = np.linalg.cholesky(SCALES["C_b"] + SCALES["C_W"] * gram)
    tangent = np.linalg.cholesky(SCALES["lambda_b"] + SCALES["lambda_W"] * gram)
    points, weights = grid(len(letters) * n_inputs * width, 2)
    points = points.reshape(len(letters), n_inputs, width, -1)
    u = {jet: np.zeros((n_inputs, width, len(weights))) for jet in jets}
    u[""] = u[""] + (root @ eps1)[..., None]
    u |= {letter: np.einsum("ab,bjp->ajp", tangent, points[k]) for k, letter in enumerate(letters)}
    G = covariance(u, jets, n_inputs)
    slots = [(S, a) for S in jets for a in range(n_inputs)]
    matrix = np.array([[np.broadcast_to(G[s, t], len(weights)) for t in slots] for s in slots])
    factor = np.linalg.cholesky(matrix.transpose(2, 0, 1) + 1e-14 * np.eye(len(slots)))
    first, rest = factor[:, :n_inputs, :n_inputs], factor[:, n_inputs:]
    assert np.ptp(first, axis=0).max() == 0  # the path does not know about tangents
    inner, inner_weights = grid((len(slots) - n_inputs) * width, 3)
    inner = inner.reshape(-1, width, inner.shape[1])
    fresh = np.concatenate([np.broadcast_to(eps2[..., None], (*eps2.shape, inner.shape[-1])), inner])
    found = np.zeros(len(wanted))
    for weight, F in zip(weights, rest, strict=True):
        values = np.einsum("sk,kjp->sjp", F, fresh).reshape(len(jets) - 1, n_inputs, width, -1)
        u = {"": np.einsum("ab,bjp->ajp", first[0], fresh[:n_inputs])} | dict(zip(jets[1:], values, strict=True))
        G = covariance(u, jets, n_inputs)
        products = [math.prod(G[s, t] for s, t in components) for components in wanted]
        found += weight * np.array([inner_weights @ np.broadcast_to(p, inner_weights.shape) for p in products])
    return found, first[0]


@pytest.mark.parametrize(
    "jets, n_inputs, pairs",
    [
        (("", "a", "b", "ab"), 1, ["aa bb", "ab ab", "-a ab -b", "-a -a", "-C ab", "Ca b-", "CC", "Ca -b"]),
        (("", "a", "b"), 2, ["aa bb", "ab ab", "-a ab b-", "-a a-", "-a -b -a -b", "aa"]),
    ],
    ids=["one input, second derivatives", "two inputs"],
)
def test_recursion_is_the_conditional_expectation(jets, n_inputs, pairs):
    """Two layers of two neurons, integrated exactly; "-a ab" is G_0a G_ab, C stands for the jet ab."""
    rng = np.random.default_rng(5)
    eps1, eps2 = rng.normal(size=(2, n_inputs, 2))
    gram = (TWO @ TWO.T / 3)[:n_inputs, :n_inputs]
    names = {"-": "", "a": "a", "b": "b", "C": "ab"}
    inputs = iter(rng.integers(n_inputs, size=100).tolist())
    wanted = [moment([tuple((names[s], next(inputs)) for s in pair) for pair in p.split()]) for p in pairs]
    rule = recursion(wanted, n_inputs)
    kernel = SCALES["lambda_b"] + SCALES["lambda_W"] * gram
    start = [
        math.prod(kernel[a, b] if S == T and len(S) == 1 else 0.0 for (S, a), (T, b) in components)
        for components in rule.moments
    ]
    letters = [jet for jet in jets if len(jet) == 1]
    exact, second = integrated(wanted, jets, letters, eps1, eps2, gram)
    first = np.linalg.cholesky(SCALES["C_b"] + SCALES["C_W"] * gram)
    values = next_moments(rule, next_moments(rule, start, eps1, first), eps2, second)
    found = dict(zip(rule.moments, values, strict=True))
    # Rounding of the singular covariance that the integration factorises: the root of its 1e-14.
    np.testing.assert_allclose([found[m] for m in wanted], exact, rtol=1e-6, atol=1e-7)
    assert np.abs(exact).min() > 1e-4


@pytest.mark.parametrize(
    "net, x, left_out",
    [
        (MLP(3, 8, "tanh", **SCALES), TWO, "RSTU"),
        (MLP(3, (6, 9), "gelu", (0, 0.1, 0.2), (1, 2, 1.5), (0.1, 0.5, 0), (1, 0.5, 2)), TWO[:1], ""),
        (MLP(3, 8, "leaky_relu(0.2)", C_b=0.1, C_W=1.8, lambda_b=0.3, lambda_W=1.1), TWO[:1], ""),
        # Singular covariances: a duplicated input, the origin, more inputs than input dimensions.
        (MLP(3, 8, "sin", C_W=1.2, lambda_W=1.0), np.array([[0.0], [0.7], [0.7]]), "APQRSTU"),
    ],
    ids=["two inputs", "own scales per layer", "kinked", "singular"],
)
def test_agrees_with_jets(judge, net, x, left_out):
    names = [name for name in NAMED if name not in left_out]
    runs = [simulate(net, x, names, 20_000, sampler, layers=[net.depth]) for sampler in ("path", "jets")]
    scores = judge.between(*runs)
    assert max(scores.values()) < judge.threshold, scores
    assert min(judge.power(runs[0], [*"BDF", *(set("RSTU") - set(left_out))]).values()) > 10


def test_agrees_with_real_networks(judge):
    net = MLP(3, 6, "tanh", **SCALES)
    runs = [simulate(net, TWO[:1], [*"ABPQRSTU"], 20_000, sampler, layers=[3]) for sampler in ("path", "network")]
    scores = judge.between(*runs)
    assert max(scores.values()) < judge.threshold, scores
    assert min(judge.power(runs[1], scores).values()) > 10


def test_more_directions_than_named(judge):
    """Joint cumulants of three tangent components, and of jets that no named observable has."""
    specs = ["a1 a2 | b3 b4 | c5 c6", "ab1 ab2", "1 2 | a3 a4 | 5 6"]
    net = MLP(3, 8, "tanh", **SCALES)
    runs = [simulate(net, TWO[:1], specs, 40_000, sampler, layers=[3]) for sampler in ("path", "jets")]
    scores = judge.between(*runs)
    assert max(scores.values()) < judge.threshold, scores


@pytest.mark.parametrize("planted", ["shared neuron", "whitening", "rate"])
def test_planted_errors_are_caught(judge, monkeypatch, planted):
    """Of relative order 1/n each: a factor in the joint cumulants, R = G without its subtraction, lambda_W 1 + 1/n."""
    net = MLP(3, 8, "tanh", **SCALES)
    names = ["Theta", "A", "B"]
    right = simulate(net, TWO[:1], names, 80_000, "jets", layers=[3])
    monkeypatch.setattr(tasks, "_cache", OrderedDict())  # nothing compiled before is to be used again
    if planted == "rate":
        net = MLP(3, 8, "tanh", **{**SCALES, "lambda_W": 1.1 * (1 + 1 / 8)})
    else:
        table = path._tables

        def wrong(rule):
            factors, levels, following = table(rule)
            if planted == "shared neuron":
                factors = [f._replace(powers=(*f.powers[:3], 0)) if isinstance(f, path.Mean) else f for f in factors]
            else:
                levels = [level._replace(coefficient=np.maximum(level.coefficient, 0.0)) for level in levels]
            return factors, levels, following

        monkeypatch.setattr(path, "_tables", wrong)
    scores = judge.between(simulate(net, TWO[:1], names, 20_000, "path", layers=[3], seed=1), right)
    assert max(scores.values()) > judge.threshold, scores


def test_less_noise_than_jets():
    """What the sampler is for: the conditional expectation has the smaller variance, by a factor of 20 or more."""
    net = MLP(4, 40, "tanh", **SCALES)
    runs = [simulate(net, TWO[:1], [*"BFPQ"], 5_000, sampler, layers=[4]) for sampler in ("path", "jets")]
    ratios = [float((runs[1][f"{name}_stderr"] / runs[0][f"{name}_stderr"]).squeeze()) for name in "BFPQ"]
    assert min(ratios) ** 2 > 20, ratios


@pytest.mark.parametrize(
    "observable, inputs, message",
    [("A", 5, '"path".*terms'), ("A", 30, '"path".*terms'), ("abcdef1 abcdef2", 1, "at most 4 directions")],
)
def test_too_long_a_recursion_is_refused(observable, inputs, message):
    with pytest.raises(PdltError, match=message):
        simulate(MLP(3, 8, "tanh"), np.eye(inputs), [observable], 100, "path")


def neighbours(distance):
    """Two inputs at about this angle."""
    return np.array([[0.9, -0.4, 1.1]]) + np.array([[0.0], [distance]]) * [[0.3, 1.0, 0.2]]


@pytest.mark.parametrize(
    "net, x, precision, layer",
    [
        (MLP(3, 8, "tanh", **SCALES), neighbours(1e-4), "float64", 1),
        (MLP(3, 8, "tanh", **SCALES), neighbours(3e-2), "float32", 1),
        (MLP(30, 64, "tanh", 0.3, 0.8, 0.5, 1.0), np.array([[1.0, 0.3], [-0.2, 0.9]]), "float64", 10),
    ],
    ids=["close", "single precision", "deep"],
)
def test_nearly_parallel_inputs_are_refused(net, x, precision, layer):
    """Rounding would take all digits of A: -11880 +- 7000 instead of 0.61 at an angle of 1e-5."""
    with pytest.raises(PdltError, match=r"parallel at layer \d+") as caught:
        simulate(net, x, ["A"], 100, "path", precision=precision)
    assert int(re.search(r"layer (\d+)", str(caught.value))[1]) >= layer


@pytest.mark.parametrize(("net", "layer"), [(MLP(4, (64, 4, 64), "relu"), 2), (MLP(3, (7, 64), "tanh"), 1)])
def test_narrow_layers_are_refused_with_several_inputs(net, layer):
    """B of (4, 4, 4) ReLU neurons at an angle of 105 degrees was -2e7 +- 2e7 instead of 105 +- 8: one path in 10^4."""
    x = [[1, 0.2], [-0.5, 1]]
    with pytest.raises(PdltError, match=f"layer {layer} has {net.width[layer - 1]}; use sampler"):
        simulate(net, x, ["B"], 100, "path")
    # One input, the last hidden layer and what needs no tangents do not divide.
    simulate(net, x[:1], ["B"], 100, "path", layers=[2])
    simulate(net, x, ["B"], 100, "path", layers=[2])
    simulate(net, x, ["K", "V"], 100, "path", layers=[2])


@pytest.mark.parametrize("distance", [3e-2, 1e-9])
def test_accepted_neighbours_keep_their_digits(judge, distance):
    x, net = neighbours(distance), MLP(3, 8, "tanh", **SCALES)
    runs = [simulate(net, x, ["Theta", *"ABF"], 10_000, sampler, layers=[3]) for sampler in ("path", "jets")]
    scores = judge.between(*runs)
    assert max(scores.values()) < judge.threshold, scores


def test_bits_do_not_depend_on_threads_of_linear_algebra():
    """The fit of the controls is a linear solver's: its last bits are rounded away."""
    script = (
        "import hashlib, pdlt\n"
        "run = pdlt.simulate(pdlt.MLP(12, 64, 'tanh', 0.1, 1.2), [[1, 0.3], [0.2, 1]], ['K', 'V'], 100, 'path')\n"
        "print(hashlib.sha256(run.V.values.tobytes() + run.K.values.tobytes()).hexdigest())\n"
    )
    found = set()
    for threads in ("1", "2"):
        own = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        found.add(subprocess.run([sys.executable, "-c", script], env=own, capture_output=True, check=True).stdout)
    assert len(found) == 1
