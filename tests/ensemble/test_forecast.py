"""What a run will cost, said before it starts."""

import json

import numpy as np
import pytest

from pdlt.ensemble import simulate, tasks
from pdlt.ensemble.blocks import OUTPUTS
from pdlt.ensemble.forecast import UNROLLED, cost
from pdlt.ensemble.simulate import _spec
from pdlt.ensemble.specs import cumulants, moments
from pdlt.networks import MLP

X = np.array([[1.0, 0.3]])


def guessed(net, sampler, names, layers, samples=50):
    measured = cumulants(names)
    spec = _spec(net, X, sampler, 0, "float64", OUTPUTS.get(sampler), measured, layers)
    return cost(net, X, spec, moments(measured), layers, samples // 50).seconds, spec


@pytest.mark.parametrize(
    "sampler, width, depth, names, every",
    [
        ("jets", 64, 8, ["K", "A"], False),
        ("jets", 8, 1000, ["K", "V"], True),
        ("path", 8, 1000, ["K"], False),
        ("conditioned", 64, 8, ["Theta"], False),
        ("structured", 256, 4, ["Theta"], False),
        ("network", 64, 3, ["Theta"], False),
    ],
)
def test_guesses_are_good_to_a_factor_of_thirty(sampler, width, depth, names, every):
    """Of ten on an idle machine: a guess must not say seconds where it takes hours, nor the other way round."""
    net, layers = MLP(depth, width, "tanh"), tuple(range(2, depth + 1)) if every else (depth,)
    seconds, spec = guessed(net, sampler, names, layers)
    recipe = tasks.Recipe(json.dumps(spec), X.tobytes())
    took = min(tasks.draw(recipe, [number])[2] for number in range(3))
    compiling = UNROLLED * (depth - 1) if sampler == "network" else 0.0
    assert 1 / 30 < took / (seconds - compiling) < 30


def test_wide_and_deep_runs_take_hours():
    for sampler in ("jets", "path"):
        assert guessed(MLP(3, 10**8, "tanh"), sampler, ["K"], (3,), 10_000)[0] > 3600
        assert 60 < guessed(MLP(10**5, 8, "tanh"), sampler, ["K"], (10**5,), 10_000)[0] < 36_000
    assert guessed(MLP(2000, 8, "tanh"), "network", ["K"], (2000,), 100)[0] > 600


def test_a_long_run_says_so_before_its_first_block_without_a_terminal(capsys, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("pdlt.ensemble.execution.draw_sums", stop)
    net = MLP(3, 10**7, "tanh")
    for progress, said in ((None, True), (True, True), (False, False)):
        with pytest.raises(KeyboardInterrupt):
            simulate(net, X, ["K"], samples=10_000, progress=progress)
        assert ("A rough guess: this run will take" in capsys.readouterr().err) is said
    with pytest.raises(KeyboardInterrupt):
        simulate(net, X, ["K"], until_time=5)
    assert capsys.readouterr().err == ""  # two blocks
    with pytest.raises(KeyboardInterrupt):
        simulate(net, X, ["K"], samples=100)
    assert capsys.readouterr().err == ""
