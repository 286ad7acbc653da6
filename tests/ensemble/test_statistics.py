"""The way from moments to cumulants, the jackknife, and the semidefinite factor."""

import jax.numpy as jnp
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.ensemble import jets
from pdlt.ensemble.specs import NAMED, canonical, cumulants, moments, renamings, set_partitions
from pdlt.ensemble.statistics import Accumulator, cumulant, jackknife

PAIR = ("", "")


def block_means(samples, blocks, order):
    """Moments of a scalar "component" of G as means over equal blocks."""
    parts = samples.reshape(blocks, -1)
    return {(PAIR,) * k: (parts**k).mean(axis=1).reshape(blocks, *(1,) * (2 * k)) for k in range(1, order + 1)}


def test_cumulants_of_two_components_are_unbiased_and_errors_honest():
    """Samples of three blocks of two: the plug-in variance is off by 1/6, the corrected one is not."""
    rng = np.random.default_rng(1)
    spec = NAMED["V"]
    results = []
    for _ in range(4000):
        sums = block_means(rng.exponential(size=6), 3, 2)
        results.append([float(r.item()) for r in jackknife(sums, np.ones(3), lambda m: cumulant(spec, m))])
    value, error = np.array(results).T
    sigma = value.std() / np.sqrt(len(value))
    assert abs(value.mean() - 1) < 4.5 * sigma
    assert 1 / 6 > 4.5 * sigma  # the correction would be seen
    # Exponential, so heavy-tailed: with three groups the error is right only on average and roughly.
    assert np.sqrt((error**2).mean()) == pytest.approx(value.std(), rel=0.3)


def test_third_cumulant_of_a_skewed_variable():
    rng = np.random.default_rng(2)
    (spec,) = cumulants(["1 2 | 3 4 | 5 6"])
    sums = block_means(rng.exponential(size=400_000), 100, 3)
    value, error = jackknife(sums, np.ones(100), lambda m: cumulant(spec, m))
    assert abs(value.item() - 2) < 4.5 * error.item() < 0.5


def test_unequal_groups_give_the_same_mean_and_a_fair_error():
    rng = np.random.default_rng(3)
    data = rng.normal(size=301)
    total = Accumulator(1, groups=200)
    for number in data:
        total.add(np.array([number]))
    assert list(total.counts) == [2] * 150 + [1]
    assert total.counts.sum() == total.blocks == 301
    sums = {(PAIR,): total.sums.reshape(-1, 1, 1)}
    value, error = jackknife(sums, total.counts, lambda m: m[(PAIR,)])
    assert value.item() == pytest.approx(data.mean(), abs=1e-14)
    assert error.item() == pytest.approx(data.std() / np.sqrt(301), rel=0.15)


@pytest.mark.parametrize("blocks", [1, 7, 8, 9, 16, 17, 100])
def test_groups_hold_consecutive_blocks_whatever_their_number(blocks):
    total = Accumulator(2, groups=8)
    for number in range(blocks):
        total.add(np.array([1.0, number]))
    assert len(total.counts) <= 8 < 2 * len(total.counts) + 8 * (blocks < 8)
    assert np.array_equal(total.sums[:, 0], total.counts)
    ends = np.cumsum(total.counts)
    expected = [sum(range(int(end - count), int(end))) for end, count in zip(ends, total.counts, strict=True)]
    assert np.array_equal(total.sums[:, 1], expected)


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
