"""Runs of trained networks: killed and resumed to the same bits, on any executor; what is refused, and how."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pdlt.ensemble import DoubtfulErrorsWarning, simulate
from pdlt.ensemble.statistics import Estimate
from pdlt.ensemble.store import Store
from pdlt.errors import PdltError
from pdlt.networks import MLP
from pdlt.trained import recorded_training, simulate_training
from pdlt.trained import simulate as driver
from pdlt.trained.blocks import TrainingRecipe
from pdlt.trained.problem import Problem
from pdlt.trained.results import doubts

NET = MLP(2, 3, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
X, Y, POINTS = np.array([[0.5, -1.0], [1.0, 0.3]]), np.array([0.4, -0.7]), np.array([[0.1, 0.2]])
ARGUMENTS = {"times": [0, 2], "rule": "gd", "learning_rate": 0.1, "samples": 600, "linearised": 1}

# One transaction per block, slowly, so that a kill falls between many, or into one.
WRITER = """
import sys, time
from pdlt.ensemble import execution
from pdlt.ensemble.statistics import Estimate
from pdlt.ensemble.store import Store
from pdlt.networks import MLP
from pdlt.trained import simulate_training
execution.WRITE_EVERY = 0
write = Store.write
Store.write = lambda *arguments: (write(*arguments), time.sleep(0.3))
net = MLP(2, 3, "tanh", C_b=0.1, C_W=1.5, lambda_b=0.2, lambda_W=1.0)
x, y, points = [[0.5, -1.0], [1.0, 0.3]], [0.4, -0.7], [[0.1, 0.2]]
simulate_training(net, x, y, points, [0, 2], "gd", 0.1, samples=600, linearised=1, store=sys.argv[1], batch=50)
"""


def run(path=None, **changes):
    return simulate_training(NET, X, Y, POINTS, **{**ARGUMENTS, "store": path, **changes})


@pytest.fixture(scope="module")
def whole():
    return run()


def blocks(path):
    if not path.exists() or not path.stat().st_size:
        return []
    with Store(path) as store:
        return store.numbers()


def test_killed_and_resumed_to_the_same_bits(tmp_path, whole):
    path = tmp_path / "run.db"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stderr=subprocess.DEVNULL)
    try:
        while len(blocks(path)) < 3:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == -signal.SIGKILL and 3 <= len(blocks(path)) < 12
    assert run(path).identical(whole)
    recorded = recorded_training(path)
    assert recorded.attrs.pop("versions") and recorded.equals(whole)
    assert sorted(os.listdir(tmp_path)) == ["run.db"]
    # More networks are added to those that are there, and fewer need none.
    assert len(blocks(path)) == 12 and run(path, samples=300).attrs["samples"] == 300
    with pytest.raises(PdltError, match=r"holds another run: y_train are \[\[0.4\], \[-0.7\]\] in the file, but "):
        simulate_training(NET, X, [0.4, -0.8], POINTS, **ARGUMENTS, store=path)
    with pytest.raises(PdltError, match=r"x_test have shape \(1, 2\) in the file, but \(2, 2\) is asked for"):
        simulate_training(NET, X, Y, X, **ARGUMENTS, store=path)
    with pytest.raises(
        PdltError, match="another run: seed is 0 in the file, but 1 .*; times .* is 2.*|another run: seed"
    ):
        run(path, seed=1)
    with pytest.raises(PdltError, match="another run"):
        simulate(NET, X, ["K"], samples=100, store=path)


def test_results_do_not_depend_on_the_batch_or_on_the_process(whole):
    assert run(batch=150).identical(whole)
    assert run(executor=1).identical(whole)


def test_a_store_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "run.db"
    simulate(NET, X, ["K"], samples=100, store=path)
    with pytest.raises(PdltError, match="another run: "):
        run(path)
    with pytest.raises(PdltError, match="does not hold a run of simulate_training"):
        recorded_training(path)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"times": [1, np.inf]},
            "`times` must be finite, but got inf: real networks are trained for as long as it takes",
        ),
        ({"times": [-1.0]}, "`times` must be increasing numbers that are not negative, numbers of steps for gd"),
        ({"times": [0.5]}, "`times` must be .* numbers of steps"),
        ({"times": [10**10]}, "`times` must be at most 1000000000 steps"),
        ({"learning_rate": None}, "`learning_rate` must be a positive number"),
        ({"rule": "flow"}, "`learning_rate` must be left out"),
        ({"rule": "sgd"}, '`rule` must be "flow" or "gd"'),
        ({"observables": ["mean", "kernel_chnage"]}, "'kernel_chnage' is not known. Did you mean 'kernel_change'?"),
        ({"observables": []}, "at least one observable"),
        ({"samples": 50}, "`samples` must be an integer from 100"),
        ({"pairs": 1}, "`pairs` must be True or False"),
        ({"linearised": -1}, "`linearised` must be an integer from 0"),
        ({"tolerance": 1e-20}, "`tolerance` must be a number from 1e-13 to 1e-2"),
        ({"seed": -1}, "`seed` must be"),
        ({"store": "/no/such/folder/run.db"}, "existing folder"),
    ],
)
def test_bad_arguments(changes, message):
    with pytest.raises(PdltError, match=message):
        run(**{"store": None, **changes})


@pytest.mark.parametrize(
    "data, message",
    [
        ((X, [0.4, np.nan], POINTS), r"`y_train` must be .*, but y_train\[1, 0\] is nan"),
        ((X, [0.4], POINTS), "`y_train` must be an array of finite numbers of shape"),
        ((X, [[[0.4]], [[0.1]]], POINTS), r"`y_train` must be .* shape \(2,\) or \(2, n_L\)"),
        ((X, ["a", "b"], POINTS), "`y_train` must be "),
        ((X, Y, [[1.0]]), "`x_test` must have the 2 columns of `x_train`, but has 1"),
        (([[np.inf, 1.0]], [1.0], POINTS), "`x_train` must be .* is inf"),
        ((X, 0 * Y, POINTS), "`y_train` must not be zero everywhere for the alignment"),
    ],
)
def test_bad_data(data, message):
    with pytest.raises(PdltError, match=message):
        simulate_training(NET, *data, **{**ARGUMENTS, "observables": ["alignment"]})


def test_networks_that_diverge_are_named_with_their_bound():
    with pytest.warns(UserWarning, match="start above their bound 2/lambda_max"), pytest.raises(PdltError) as caught:
        run(learning_rate=9.0, times=[0, 60])
    message = str(caught.value)
    assert "Argument `learning_rate` must be small enough" in message and "diverges before step 60" in message
    assert 0.1 < float(message.rsplit(" is ", 1)[1].rstrip(".")) < 2


def test_a_network_too_large_for_the_machine_is_refused():
    with pytest.raises(PdltError, match="GiB"):
        simulate_training(MLP(3, 10**7, "tanh"), X, Y, POINTS, [1.0])


def test_what_is_said_when_a_flow_or_a_control_fails():
    problem = Problem.of(MLP(2, 3, "relu", C_W=2.0), X, Y, POINTS, [0.0, 0.1], "flow", None, 1e-6)
    spec = {**driver._spec(problem, ("mean",), 0, True), "linearised": 1}
    recipe = TrainingRecipe(json.dumps(spec), problem.numbers().tobytes())
    message = str(recipe.unfinite(1, 1))
    assert "`times`: of networks 50 to 99 one does not reach time 0.1" in message and "has a kink" in message
    assert "largest eigenvalue of their tangent kernels at initialisation is" in message
    assert "`linearised` must be 0 here" in str(recipe.unfinite(0, 2))


def test_errors_that_rare_networks_make_are_doubted():
    problem = Problem.of(NET, X, Y, POINTS, [1, 2], "gd", 0.1, 1e-6)
    one = np.ones((2, 1))
    share = np.array([[0.1], [0.6]])  # of one group of networks in the squared error
    rare = Estimate(one, 0.3 * one, 0 * one[:, 0], one[:, 0], share, 200)
    with pytest.warns(
        DoubtfulErrorsWarning, match=r"standard errors of mean \(from time 2 on\) are not to be believed"
    ):
        attrs = doubts(problem, {"mean": rare})
    assert attrs == {"errors_doubtful": ["mean"], "errors_doubtful_from": [2.0]}
    assert doubts(problem, {"mean": Estimate(one, 0.01 * one, 0 * one[:, 0], one[:, 0], share, 200)}) == {}
