"""Averages carried by rare networks: said where it is so, and not where z-scores are normal."""

import json
import math
import warnings

import numpy as np
import pytest

from pdlt.ensemble import DoubtfulErrorsWarning, recorded, simulate
from pdlt.ensemble.doubt import HOPELESS, RELATIVE, SHARE, doubtful, expected_error
from pdlt.ensemble.specs import NAMED, moments
from pdlt.ensemble.statistics import Accumulator, Estimate, estimates
from pdlt.export.dataset import from_json, to_json
from pdlt.networks import MLP

K, V = NAMED["K"], NAMED["V"]
WANTED = moments([K, V])
SHAPES = {moment: (1,) + (1,) * (2 * len(moment)) for moment in WANTED}
BLOCKS = 200
#: An activation whose law is not known a priori, so that the data alone decide.
UNKNOWN = "tanh"


def measurements(rng, n, depth, replicates):
    """K and V / n of critical ReLU networks with one input, drawn as products of means of neurons."""
    for _ in range(replicates):
        g = np.ones((BLOCKS, 50))
        for _ in range(depth - 1):
            active = rng.binomial(n, 0.5, size=g.shape)
            g *= np.where(active > 0, 4 * rng.gamma(np.maximum(active, 1) / 2), 0.0) / n
        sums = Accumulator(len(WANTED))
        for block in g:
            sums.add(np.array([(block ** len(moment)).mean() for moment in WANTED]))
        yield estimates([K, V], sums, SHAPES, np.ones(1))


def rates(n, depth, replicates):
    """For K and V: how often the data say that the error is doubtful, and z-scores of the others."""
    rng, net = np.random.default_rng(n + depth), MLP(depth, n, UNKNOWN)
    exact = {"K": 1.0, "V": (1 + 5 / n) ** (depth - 1) - 1}
    called, scores = {"K": 0, "V": 0}, {"K": [], "V": []}
    for found in measurements(rng, n, depth, replicates):
        doubts = doubtful(net, [K, V], found, [depth], 50 * BLOCKS)
        for name, estimate in found.items():
            called[name] += name in doubts
            if name not in doubts:
                scores[name].append((estimate.value - exact[name]).item() / estimate.stderr.item())
    return {name: count / replicates for name, count in called.items()}, scores


@pytest.mark.parametrize("n, depth", [(8, 4), (16, 4), (64, 8)])
def test_ordinary_ensembles_raise_no_alarm(n, depth):
    """V of narrow networks is skewed: one group often has more than the share allowed, and z is normal all the same."""
    called, scores = rates(n, depth, 100)
    assert called["K"] == 0 and called["V"] <= 0.05
    assert all(0.8 < np.std(z) < 1.3 and np.abs(z).max() < 5 for z in scores.values())


@pytest.mark.parametrize("n, depth, names", [(8, 60, "KV"), (8, 30, "KV"), (8, 16, "V")])
def test_what_is_wrong_by_many_errors_is_found(n, depth, names):
    called, _ = rates(n, depth, 60)
    assert all(called[name] > 0.9 for name in names)


def test_the_share_alone_would_cry_wolf_and_the_size_of_the_error_too():
    def estimate(value, stderr, share, groups=200, rounding=0.0):
        value, stderr, share = (np.array([[part]]) for part in (value, stderr, share))
        return {"K": Estimate(value, stderr, np.array([rounding]), abs(value[0]), share, groups)}

    def found(*arguments, **options):
        return doubtful(MLP(3, 8, UNKNOWN), [K], estimate(*arguments, **options), [3], 10_000)

    big, wide = 1.1 * SHARE, 1.1 * RELATIVE
    assert found(1.0, wide, big) == {"K": 3}
    assert found(1.0, 0.9 * RELATIVE, big) == found(1.0, wide, 0.9 * SHARE) == {}
    assert found(1.0, wide, 0.7, groups=40) == {} != found(1.0, wide, 0.8, groups=40)
    assert found(1.0, wide, 1.0, groups=20) == {}  # one of twenty often has most
    assert found(0.0, 1e-18, 1.0, rounding=1e-15) == {} != found(0.0, 1e-12, 1.0, rounding=1e-15)


def test_a_cumulant_that_is_a_small_difference_is_only_noisy():
    """V of real networks is lost in the noise of their outputs: the error says so, and is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = simulate(MLP(3, 16, "gelu", C_W=2.0), [[1.0, 0.4]], ["V"], samples=5000, sampler="network", layers=[3])
    assert run.V_stderr.item() > RELATIVE * abs(run.V.item())


def test_expected_errors_are_exact():
    """Linear: n times the mean of squares is chi squared; ReLU: each layer costs 1 + 5/n."""
    layers = [2, 3, 5]

    def chi(n, k):
        return math.prod(1 + 2 * j / n for j in range(k))

    net = MLP(5, (3, 7, 7, 4), "z", C_W=1.3)
    for k in (1, 2, 3):
        exact = [math.prod(chi(n, 2 * k) / chi(n, k) ** 2 for n in net.width[: layer - 1]) for layer in layers]
        assert expected_error(net, k, layers, 100) == pytest.approx(np.sqrt(exact) / 10, rel=1e-9)
    relu = expected_error(MLP(5, (3, 7, 7, 4), "relu", C_W=2.0), 1, [5], 100)
    assert relu == pytest.approx(math.sqrt((1 + 5 / 3) * (1 + 5 / 7) ** 2 * (1 + 5 / 4)) / 10, rel=1e-12)
    assert (expected_error(MLP(5, 4, "relu", C_b=0.1), 1, layers, 100) == 0).all()  # not known in closed form
    assert (expected_error(MLP(5, 4, UNKNOWN), 2, layers, 100) == 0).all()
    assert np.isfinite(expected_error(MLP(3000, 2, "relu", C_W=2.0), 6, [3000], 100)).all()


def test_what_no_datum_shows_is_known_beforehand():
    quiet = {
        "K": Estimate(
            np.ones((1, 1, 1)), np.full((1, 1, 1), 1e-3), np.zeros(1), np.ones(1), np.full((1, 1, 1), 0.05), 200
        )
    }
    net = MLP(60, 8, "relu", C_W=2.0)
    assert doubtful(net, [K], quiet, [60], 10_000) == {"K": 60} and expected_error(net, 1, [60], 10_000) > HOPELESS
    assert doubtful(MLP(60, 800, "relu", C_W=2.0), [K], quiet, [60], 10_000) == {}
    # Few networks of a shallow ensemble know their errors badly, which is no news.
    assert doubtful(MLP(4, 4, "relu", C_W=2.0), [V], {"V": quiet["K"]}, [4], 100) == {}


def test_deep_relu_networks_warn_and_the_result_says_so(tmp_path):
    net, path = MLP(60, 8, "relu", C_W=2.0), tmp_path / "run.db"
    with pytest.warns(DoubtfulErrorsWarning, match=r"K \(from layer \d+ on\), V .*about 10\^14 networks") as caught:
        run = simulate(net, [[1.0, 0.0]], ["K", "V"], samples=10_000, layers=[2, 20, 60], store=path)
    assert len(caught) == 1
    assert run.attrs["errors_doubtful"] == ["K", "V"] and run.attrs["errors_doubtful_from"] == [20, 20]
    assert from_json(to_json(run)).attrs["errors_doubtful"] == json.loads(to_json(run))["attrs"]["errors_doubtful"]
    with pytest.warns(DoubtfulErrorsWarning):
        assert recorded(path).attrs["errors_doubtful"] == ["K", "V"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fine = simulate(net, [[1.0, 0.0]], ["K", "V"], samples=10_000, layers=[2])
    assert "errors_doubtful" not in fine.attrs


def test_the_halves_of_a_sequential_run_are_judged_together():
    with pytest.warns(DoubtfulErrorsWarning, match="K"):
        run = simulate(MLP(60, 8, "relu", C_W=2.0), [[1.0]], ["K"], samples=8000, layers=[60], until_stderr=0.01)
    assert run.attrs["errors_doubtful"] == ["K"]
