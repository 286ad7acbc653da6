"""The way from moments to cumulants, the jackknife, and the semidefinite factor."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.ensemble import jets, simulate
from pdlt.ensemble.specs import NAMED, canonical, cumulants, moments, renamings, set_partitions
from pdlt.ensemble.statistics import Accumulator, cumulant, jackknife, unbiased
from pdlt.networks import MLP

PAIR = ("", "")


def block_means(samples, blocks, order):
    """Moments of a scalar "component" of G as means over equal blocks."""
    parts = samples.reshape(blocks, -1)
    return {(PAIR,) * k: (parts**k).mean(axis=1).reshape(blocks, *(1,) * (2 * k)) for k in range(1, order + 1)}


def plug_in(spec, sums, counts):
    return cumulant(spec, {moment: values.sum(axis=0) / counts.sum() for moment, values in sums.items()})


#: The k-th cumulant of an exponential variable is (k-1)!.
@pytest.mark.parametrize("order, blocks", [(2, 3), (3, 4), (4, 5), (5, 5)])
def test_cumulants_are_unbiased(order, blocks):
    """A few blocks of two samples, where the plug-in estimate is far off."""
    rng = np.random.default_rng(order)
    (spec,) = cumulants([" | ".join(f"{2 * k} {2 * k + 1}" for k in range(order))])
    exact, counts = math.factorial(order - 1), np.ones(blocks)
    # Replicates as an axis between groups and slots, as layers are.
    samples = rng.exponential(size=(blocks, 2, 200_000))
    sums = {(PAIR,) * k: (samples**k).mean(axis=1).reshape(blocks, -1, *(1,) * (2 * k)) for k in range(1, order + 1)}
    fair, naive = (estimate(spec, sums, counts).ravel() for estimate in (unbiased, plug_in))
    sigma = [found.std() / np.sqrt(found.size) for found in (fair, naive)]
    assert abs(fair.mean() - exact) < 4.5 * sigma[0] < 0.5 * exact
    assert abs(naive.mean() - exact) > 10 * sigma[1]


def test_products_of_different_groups_are_what_the_sum_over_partitions_gives():
    """Against loops over different groups, with groups of unequal size."""
    rng = np.random.default_rng(1)
    (spec,) = cumulants(["1 2 | 3 4 | 5 6"])
    counts = np.array([2.0, 2.0, 2.0, 1.0])
    sums = {(PAIR,) * k: rng.normal(size=(4, *(1,) * (2 * k))) for k in (1, 2, 3)}
    m1, m2, m3 = (sums[(PAIR,) * k].ravel() for k in (1, 2, 3))

    def mean(*factors):
        ways = list(itertools.permutations(range(4), len(factors)))
        weight = sum(math.prod(counts[list(way)]) for way in ways)
        return sum(math.prod(f[g] for f, g in zip(factors, way, strict=True)) for way in ways) / weight

    expected = mean(m3) - 3 * mean(m2, m1) + 2 * mean(m1, m1, m1)
    assert unbiased(spec, sums, counts).item() == pytest.approx(expected, rel=1e-13)


def test_errors_are_honest():
    """Exponential, so heavy-tailed: with three groups the error is right only on average and roughly."""
    rng = np.random.default_rng(1)
    spec = NAMED["V"]
    results = []
    for _ in range(2000):
        sums = block_means(rng.exponential(size=6), 3, 2)
        error, _ = jackknife(sums, np.ones(3), lambda m: cumulant(spec, m))
        results.append([unbiased(spec, sums, np.ones(3)).item(), error.item()])
    value, error = np.array(results).T
    assert np.sqrt((error**2).mean()) == pytest.approx(value.std(), rel=0.3)


def test_third_cumulant_of_a_skewed_variable():
    rng = np.random.default_rng(2)
    (spec,) = cumulants(["1 2 | 3 4 | 5 6"])
    sums = block_means(rng.exponential(size=400_000), 100, 3)
    value = unbiased(spec, sums, np.ones(100))
    error, _ = jackknife(sums, np.ones(100), lambda m: cumulant(spec, m))
    assert abs(value.item() - 2) < 4.5 * error.item() < 0.5


def test_unequal_groups_give_the_mean_and_a_fair_error():
    rng = np.random.default_rng(3)
    data = rng.normal(size=301)
    total = Accumulator(1, groups=200)
    for number in data:
        total.add(np.array([number]))
    counts, sums = total.grouped()
    assert list(counts) == [2] * 150 + [1]
    averages = {(PAIR,): sums.reshape(-1, 1, 1)}
    assert unbiased(NAMED["K"], averages, counts).item() == pytest.approx(data.mean(), abs=1e-14)
    error, share = jackknife(averages, counts, lambda m: m[(PAIR,)])
    assert error.item() == pytest.approx(data.std() / np.sqrt(301), rel=0.15)
    # Of a mean: squared deviations of the groups' means, weighted by (nearly) their size.
    squares = (sums.ravel() / counts - data.mean()) ** 2 / (counts.sum() / counts - 1)
    assert share.item() == pytest.approx(squares.max() / squares.sum(), rel=1e-9)


@pytest.mark.parametrize("blocks", [1, 7, 8, 9, 16, 17, 100])
def test_groups_hold_consecutive_blocks_whatever_their_number(blocks):
    total = Accumulator(2, groups=8)
    for number in range(blocks):
        total.add(np.array([1.0, number]))
    counts, sums = total.grouped()
    assert len(counts) <= 8 < 2 * len(counts) + 8 * (blocks < 8)
    assert np.array_equal(sums[:, 0], counts) and total.blocks == blocks
    ends = np.cumsum(counts)
    expected = [sum(range(int(end - count), int(end))) for end, count in zip(ends, counts, strict=True)]
    assert np.array_equal(sums[:, 1], expected)


def test_terms_that_vanish_by_symmetry_are_left_out():
    assert moments([NAMED["B"]]) == ((("a", "b"), ("a", "b")),)
    assert moments([NAMED["A"]]) == ((("a", "a"),), (("a", "a"), ("b", "b")))
    assert len(list(NAMED["P"].terms())) == 1


def test_named_observables_are_recognised_under_other_names_of_directions():
    assert [c.name for c in cumulants(["b3 c1 | b4 c2", "1 7 | q3 q4", "xy1 x3 | yz2 z4"])] == ["B", "D", "T"]
    assert [c.name for c in cumulants(["ab1 ab2"])] == ["ab1 ab2"]
    assert canonical((("c", "b"), ("c", "b"))) == (("a", "b"), ("a", "b"))
    assert len(renamings((("a", "b"),), "abc")) == 6
    assert len(list(set_partitions(range(4)))) == 15


def test_closure_contains_all_subsets():
    assert jets.closure((NAMED["R"].pairs,)) == ("", "a", "b", "c", "ab", "ac", "bc", "abc")
    assert jets.closure((NAMED["A"].pairs,)) == ("", "a", "b")


@pytest.mark.parametrize("rank", [0, 1, 3, 6])
def test_semidefinite_factor_is_exact_at_any_rank(rank):
    rng = np.random.default_rng(rank)
    root = rng.normal(size=(5, 6, rank)) * np.array([1e-6, 1, 1, 1e3, 1, 1])[:, None]
    root[:, 4] = root[:, 1]  # a duplicated input
    root[:, 2] = 0.0  # the origin
    g = root @ root.swapaxes(1, 2)
    with x64():
        factor = np.asarray(jets.semidefinite_factor(jnp.asarray(g)))
    scale = np.sqrt(np.einsum("sii,sjj->sij", g, g))
    assert np.all(np.abs(factor @ factor.swapaxes(1, 2) - g) <= 1e-12 * scale)
    assert np.array_equal(factor, np.tril(factor))


def chain(widths, cumulants_of_a_neuron):
    """Moments 1 ... 4 of G^(l) / E G^(l), l = 1 ..., if each step multiplies G by the mean of independent neurons."""
    rows = [np.ones(4)]
    for n in widths:
        k1, k2, k3, k4 = (k / n**order for order, k in enumerate(cumulants_of_a_neuron))
        step = [k1, k2 + k1**2, k3 + 3 * k2 * k1 + k1**3, k4 + 4 * k3 * k1 + 3 * k2**2 + 6 * k2 * k1**2 + k1**4]
        rows.append(rows[-1] * step)
    return np.array(rows).T


@pytest.mark.parametrize(
    "net, neuron",
    [
        # One input: a neuron contributes u^2 with u a standard normal number, or 2 relu(u)^2.
        (MLP(3, (5, 7), "z", C_W=1.0), (1, 2, 8, 48)),
        (MLP(3, (5, 7), "relu", C_W=2.0), (1, 5, 60 - 3 * 6 + 2, 840 - 4 * 60 - 3 * 36 + 12 * 6 - 6)),
    ],
    ids=["linear", "relu"],
)
def test_six_and_eight_point_functions_are_exact(judge, net, neuron):
    """n^2 and n^3 times the third and fourth cumulants of G."""
    specs = ["1 2 | 3 4 | 5 6", "1 2 | 3 4 | 5 6 | 7 8"]
    run = simulate(net, [[1.0]], specs, samples=100_000, seed=1, layers=[2, 3]).squeeze()
    _, m2, m3, m4 = chain(net.width, neuron)
    kernel, n = net.C_W[0], np.array(net.width)
    third = n**2 * kernel**3 * (m3 - 3 * m2 + 2)[1:]
    fourth = n**3 * kernel**4 * (m4 - 4 * m3 - 3 * m2**2 + 12 * m2 - 6)[1:]
    expected = dict(zip(specs, (third, fourth), strict=True))
    assert max(judge.against(run, expected).values()) < judge.threshold
    for wrong in ({specs[0]: 1.2 * third}, {specs[1]: 1.5 * fourth}):
        assert max(judge.against(run, wrong).values()) > judge.threshold


def test_six_point_function_of_two_inputs(judge):
    """Linear, layer 2: n G is Wishart, so n^2 k3 is the sum over the 8 ways to close three pairs into a ring."""
    x = np.array([[1.0, 0.2], [-0.3, 0.8]])
    run = simulate(MLP(2, 10, "z"), x, ["1 2 | 3 4 | 5 6"], samples=50_000, layers=[2]).squeeze()
    kernel = x @ x.T / 2
    rings = ["bc,de,fa", "bd,ce,fa", "bc,df,ea", "bd,cf,ea", "ac,de,fb", "ad,ce,fb", "ac,df,eb", "ad,cf,eb"]
    expected = sum(np.einsum(f"{ring}->abcdef", kernel, kernel, kernel) for ring in rings)
    assert max(judge.against(run, {"1 2 | 3 4 | 5 6": expected}).values()) < judge.threshold
    assert judge.power(run, ["1 2 | 3 4 | 5 6"])["1 2 | 3 4 | 5 6"] > 20
    assert judge.against(run, {"1 2 | 3 4 | 5 6": expected * 6 / 8})["1 2 | 3 4 | 5 6"] > judge.threshold
