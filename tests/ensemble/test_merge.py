"""Accumulators: any disjoint ranges of blocks, in any order and grouping, sum up to the same bits."""

import pickle
import random

import numpy as np
import pytest

from pdlt.ensemble.statistics import Accumulator, sum_lanes
from pdlt.errors import PdltError


def of(means, numbers, groups=8):
    total = Accumulator(means.shape[1], groups)
    for number in numbers:
        total.add(means[number], number)
    return total


def same(first, second):
    return (
        first.ranges == second.ranges
        and first._nodes.keys() == second._nodes.keys()
        and all(np.array_equal(first._nodes[node], second._nodes[node]) for node in first._nodes)
        and all(np.array_equal(a, b) for a, b in zip(first.grouped(), second.grouped(), strict=True))
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_splits_orders_and_groupings_give_the_same_bits(seed):
    chance = random.Random(seed)
    blocks, groups = chance.choice([5, 16, 17, 100, 333]), chance.choice([4, 6, 8, 200])
    means = np.random.default_rng(seed).normal(size=(blocks, 3)) * 10.0 ** np.arange(3)
    one_by_one = of(means, range(blocks), groups)
    cuts = sorted(chance.sample(range(1, blocks), chance.randrange(min(12, blocks))))
    ranges = list(zip([0, *cuts], [*cuts, blocks], strict=True))
    parts = [of(means, chance.sample(range(*ends), ends[1] - ends[0]), groups) for ends in ranges]
    while len(parts) > 1:  # any two, either into the other, sometimes after a journey
        chance.shuffle(parts)
        other = pickle.loads(pickle.dumps(parts.pop()))  # noqa: S301 - our own bytes
        before = other.blocks
        parts[-1].merge(other)
        assert other.blocks == before
    (merged,) = parts
    assert same(merged, one_by_one) and merged.ranges == ((0, blocks),)
    counts, sums = merged.grouped()
    assert len(counts) <= groups and counts.sum() == blocks
    assert np.allclose(sums.sum(axis=0), means.sum(axis=0), rtol=0, atol=1e-10)


def test_the_sum_depends_on_the_order_otherwise():
    """Sibling of the test above: adding from left to right gives other bits."""
    means = np.random.default_rng(0).normal(size=(64, 1))
    total = of(means, range(64), groups=1)
    assert total.grouped()[1].item() != sum(means[:, 0]) == pytest.approx(total.grouped()[1].item())


def test_ranges_with_gaps_stay_apart_and_memory_is_bounded():
    means = np.ones((5000, 1))
    total = of(means, [*range(100, 2000), *range(3001, 5000)], groups=16)
    assert total.ranges == ((100, 2000), (3001, 5000)) and total.blocks == 3899
    counts, sums = total.grouped()
    assert np.array_equal(counts, sums[:, 0]) and counts.sum() == 3899
    assert len(counts) <= 16 and total.nodes <= 16 + 4 * 9  # 2^9 blocks in a group; each end adds up to 9 nodes
    total.merge(of(means, [*range(100), *range(2000, 3001)], groups=16))
    assert same(total, of(means, range(5000), groups=16))


def test_a_block_is_not_counted_twice():
    means = np.ones((20, 2))
    total = of(means, range(5, 12))
    for other in (range(11, 14), range(3, 6), range(7, 9), range(0, 20)):
        with pytest.raises(PdltError, match="must not be counted twice"):
            total.merge(of(means, other))
    with pytest.raises(PdltError, match="Block 5 is in the sums already"):
        total.add(means[0], 5)
    assert same(total, of(means, range(5, 12)))
    with pytest.raises(PdltError, match="same length and as many groups"):
        total.merge(Accumulator(3, 8))
    with pytest.raises(PdltError, match="same length and as many groups"):
        total.merge(Accumulator(2, 16))
    total.merge(Accumulator(2, 8))
    assert total.blocks == 7


def test_sums_are_pairwise_and_so_are_their_errors():
    """2^15 equal numbers in one group: pairwise sums of them are exact, sums from left to right are not."""
    number = np.array([0.1])
    total = Accumulator(1, groups=1)
    naive = 0.0
    for _ in range(2**15):
        total.add(number)
        naive += 0.1
    assert total.grouped()[1].item() == 0.1 * 2**15 != naive


def test_lanes_deal_out_blocks():
    means = np.arange(11.0)[:, None]
    even, odd = sum_lanes(range(11), means, 1, lanes=2)
    assert (even.ranges, odd.ranges) == (((0, 6),), ((0, 5),))
    assert even.grouped()[1].sum() == 30 and odd.grouped()[1].sum() == 25
    later = sum_lanes(range(4, 7), means[4:7], 1, lanes=2)
    assert [part.ranges for part in later] == [((2, 4),), ((2, 3),)]
