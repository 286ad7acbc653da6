"""Sequential stopping: reproducible, at the target, and without bias, unlike the rule that comes to mind first."""

import numpy as np
import pytest

from pdlt.ensemble import recorded, simulate
from pdlt.ensemble.specs import NAMED, moments
from pdlt.ensemble.statistics import Accumulator, Estimate, estimates
from pdlt.ensemble.stopping import PILOT, Halves, next_checkpoint, precision
from pdlt.networks import MLP

NET = MLP(3, 5, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
X = np.array([[0.5, -1.0], [1.0, 0.3]])
V = NAMED["V"]
WANTED = moments([V])


def variance(sums):
    """The estimate of a variance, from block means of a scalar and its square."""
    shapes = {moment: (1,) + (1,) * (2 * len(moment)) for moment in WANTED}
    return estimates([V], sums, shapes, np.ones(1))


def block_means(rng, blocks):
    """Means of exp(normal) and of its square: an ensemble with heavy tails."""
    draws = np.exp(rng.normal(size=(blocks, 50)))
    return np.stack([(draws ** len(moment)).mean(axis=1) for moment in WANTED], axis=1)


def halves_rule(rng, target):
    halves, start, end = [Accumulator(len(WANTED)) for _ in range(2)], 0, next_checkpoint(0)
    rule = Halves(halves, variance, [2], target)
    while True:
        for number, means in enumerate(block_means(rng, end - start), start):
            halves[number % 2].add(means)
        if rule.stopped():
            return rule.result()[0]["V"]
        start, end = end, next_checkpoint(end)


def naive_rule(rng, target):
    """Stop when the error is small enough, at the same checkpoints."""
    total, end = Accumulator(len(WANTED)), next_checkpoint(0)
    while True:
        for means in block_means(rng, end - total.blocks):
            total.add(means)
        now = variance(total)
        if precision(now, [2]).relative <= target:
            return now["V"]
        end = next_checkpoint(end)


def test_stopping_does_not_bias_and_the_naive_rule_would():
    exact = (np.e - 1) * np.e
    bias = {}
    for rule in (halves_rule, naive_rule):
        rng = np.random.default_rng(1)
        found = np.array([rule(rng, 0.08).value.item() for _ in range(250)])
        bias[rule] = (found.mean() - exact) / (found.std() / np.sqrt(len(found)))
    assert abs(bias[halves_rule]) < 3
    assert bias[naive_rule] < -4.5


def test_bias_of_a_measured_ensemble_with_a_known_value():
    """Deep linear network, one input: E[G^2] / E[G]^2 = 1 + 2/n, so V at layer 2 is exactly 2."""
    net, replicates = MLP(2, 3, "z", C_W=1.0), 200
    scores, counts = [], set()
    for seed in range(replicates):
        run = simulate(net, [[1.0]], ["V"], seed=seed, layers=[2], until_stderr=0.05)
        scores.append((run.V.item() - 2) / run.V_stderr.item())
        counts.add(run.attrs["samples"])
    assert len(counts) > 3  # it is the data that decide
    assert abs(np.mean(scores)) < 3.5 / np.sqrt(replicates)
    assert 0.8 < np.std(scores) < 1.2


def test_the_target_is_reached_and_reported():
    run = simulate(NET, X, ["K", "V", "B"], until_stderr=0.04)
    found = [
        float(run[f"{name}_stderr"].sel(layer=layer).max() / abs(run[name].sel(layer=layer)).max())
        for name in ("K", "V", "B")
        for layer in (2, 3)
    ]
    assert run.attrs["relative_stderr"] == pytest.approx(max(found), rel=1e-12) and max(found) < 0.04
    assert run.attrs["stopped"] == "stderr" and run.attrs["until_stderr"] == 0.04
    assert "until_time" not in run.attrs and run.attrs["relative_stderr_of"][0] in ("K", "V", "B")
    assert PILOT * 50 <= run.attrs["samples"] < 100_000


def test_the_stopping_point_depends_on_the_seed_alone(tmp_path):
    path = tmp_path / "run.db"
    arguments = {"observables": ["K", "B"], "until_stderr": 0.04}
    whole = simulate(NET, X, **arguments)
    simulate(NET, X, ["K", "B"], samples=1000, store=path)
    for batch in (50, 5000):
        assert simulate(NET, X, batch=batch, **arguments).identical(whole)
    assert simulate(NET, X, store=path, **arguments).identical(whole)
    assert recorded(path).attrs["samples"] >= whole.attrs["samples"]
    assert simulate(NET, X, seed=1, **arguments).attrs["samples"] != 0


def test_limits_of_samples_and_of_time():
    few = simulate(NET, X, ["K"], samples=300, until_stderr=1e-9)
    assert few.attrs["stopped"] == "samples" and few.attrs["samples"] == 300
    brief = simulate(NET, X, ["K"], until_time=0.2)
    assert brief.attrs["stopped"] == "time" and brief.attrs["until_time"] == 0.2
    again = simulate(NET, X, ["K"], samples=brief.attrs["samples"])
    assert brief.K.equals(again.K) and brief.K_stderr.equals(again.K_stderr)
    late = simulate(NET, X, ["K"], until_time=1e-9, until_stderr=1e-9)
    assert late.attrs["stopped"] == "time" and late.attrs["samples"] == 200
    third = simulate(NET, X[:1], ["1 2 | 3 4 | 5 6"], until_time=1e-9)
    assert third.attrs["samples"] == 150  # a product of three moments needs three blocks
    enough = simulate(NET, X, ["K"], samples=300, until_time=1000)
    assert enough.attrs["stopped"] == "samples" and enough.K.equals(simulate(NET, X, ["K"], samples=300).K)


def test_what_does_not_fluctuate_counts_as_exact():
    still = simulate(MLP(3, 4, "tanh", C_b=0.3, C_W=0.0), X, ["K", "V"], until_stderr=0.01)
    assert still.attrs["stopped"] == "stderr" and still.attrs["samples"] == PILOT * 50
    assert still.attrs["relative_stderr"] == 0.0
    trivial = simulate(MLP(1, 4, "tanh"), X, ["K"], until_stderr=0.01)
    assert trivial.attrs["stopped"] == "stderr" and trivial.attrs["samples"] == 0


def test_relative_error_is_that_of_the_worst_observable():
    def estimate(value, stderr, rounding=0.0):
        return Estimate(np.array([value]), np.array([stderr]), np.array([rounding]), np.zeros(1), np.zeros(1), 2)

    found = precision({"K": estimate([4.0, -8.0], [0.1, 0.2]), "V": estimate([1.0, 0.0], [0.3, 0.1])}, [3])
    assert (found.relative, found.observable, found.layer) == (0.3, "V", 3)
    assert precision({"V": estimate([0.0], [1e-20], 1e-18)}, [2]).relative == 0.0
    assert precision({"V": estimate([0.0], [1e-2], 1e-18)}, [2]).relative == np.inf


def test_checkpoints():
    points, blocks = [], 0
    while blocks < 10**7:
        blocks = next_checkpoint(blocks)
        points.append(blocks)
    assert points[:6] == [80, 96, 114, 136, 160, 192] and not any(point % 2 for point in points)
    assert len(points) < 4 * np.log2(10**7 / 80) + 3
    assert all(next_checkpoint(b) == min(p for p in points if p > b) for b in range(3000))
