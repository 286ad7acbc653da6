"""Bad input of inference and training: a message that names the argument, the value and what is accepted."""

from functools import partial

import numpy as np
import pytest

import pdlt
from pdlt.learning.data import require_memory
from pdlt.learning.posterior import posterior
from pdlt.learning.spectrum import Spectrum
from pdlt.learning.training import predict_training as predict_to_an_order

#: The kernel machine.
predict_training = partial(predict_to_an_order, order=0)

NET = pdlt.MLP(depth=2, width=8, activation="linear")
X, Y, POINTS = [[1.0, 2.0], [0.5, -1.0]], [1.0, 2.0], [[0.3, 0.3]]
GIVEN = {"net": NET, "x_train": X, "y_train": Y, "x_test": POINTS}
LARGE = np.broadcast_to(np.zeros((1, 1)), (10**6, 1)) + np.arange(10**6)[:, None]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"net": "relu"}, "`net` must be a pdlt.MLP"),
        ({"x_train": [1.0, 2.0]}, r"`x_train` must be a two-dimensional array"),
        ({"x_train": [[1.0, np.nan], [0.0, 1.0]]}, r"x_train\[0, 1\] is nan"),
        ({"y_train": [1.0, np.nan]}, r"`y_train` must be .*, but y_train\[1\] is nan"),
        ({"y_train": [[1.0, 2.0], [np.inf, 0.0]]}, r"y_train\[1, 0\] is inf"),
        ({"y_train": [1.0, 2.0, 3.0]}, r"`y_train` must be .* shape \(2,\) or \(2, n_L\).*, but got shape \(3,\)"),
        ({"y_train": [[1.0], [1.0, 2.0]]}, "`y_train` .* rows differ in length"),
        ({"y_train": ["a", "b"]}, "`y_train` must be an array of finite numbers"),
        ({"y_train": [1e308, 0.0]}, r"`y_train` must be .* none beyond 1e\+150 .* the largest is 1e\+308"),
        ({"x_test": [[1.0]]}, "`x_test` must have the 2 columns of `x_train`, but has 1"),
        ({"x_test": [[np.inf, 0.0]]}, r"x_test\[0, 0\] is inf"),
        ({"covariance": "diagonal"}, "`covariance` must be one of full, variance, none, but got 'diagonal'"),
        (
            {"x_train": LARGE, "y_train": LARGE, "x_test": [[0.0]]},
            "1000000 training and 1 test inputs need about .* GiB",
        ),
        ({"x_test": LARGE + np.zeros((1, 2))}, "`?[Cc]ovariance.* GiB.*covariance='variance'"),
    ],
)
@pytest.mark.parametrize("function", [posterior, lambda **given: predict_training(**given, times=[1.0])])
def test_data(function, arguments, message):
    with pytest.raises(pdlt.PdltError, match=message):
        function(**{**GIVEN, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": [0.5, -1.0]}, "`times` must be non-negative numbers or inf, but got -1.0"),
        ({"times": [np.nan]}, "`times` must be non-negative numbers or inf, but got nan"),
        ({"times": []}, "`times` must be .* at least one"),
        ({"times": np.array([[1.0]])}, r"`times` must be .* but got array"),
        ({"times": ["late"]}, "`times` must be .* but got 'late'"),
        ({"times": [1.5], "rule": "gd", "learning_rate": 0.1}, "`times` must be non-negative integers .* but got 1.5"),
        ({"order": 2}, "`order` must be an integer from 0 to 1, but got 2"),
        ({"kernels": "tangent"}, "`kernels` must be none at order 0"),
        ({"rule": "adam"}, "`rule` must be flow or gd, but got 'adam'"),
        ({"rule": "gd"}, "`learning_rate` must be given for rule gd"),
        ({"learning_rate": 0.1}, "`learning_rate` must be left out for rule flow"),
        ({"rule": "gd", "learning_rate": 0.0}, "`learning_rate` must be .*positive"),
        ({"ridge": -0.1}, "`ridge` must be .*not negative"),
        ({"unresolved": "drop"}, "`unresolved` must be error or freeze, but got 'drop'"),
    ],
)
def test_training(arguments, message):
    with pytest.raises(pdlt.PdltError, match=message):
        predict_training(**{**GIVEN, "times": [1.0], **arguments})


def test_the_learning_rate_bound_is_named():
    bound = predict_training(**GIVEN, times=[1.0], ridge=0.5).attrs["learning_rate_bound"]
    for rate in (bound, 10 * bound):
        with pytest.raises(pdlt.PdltError, match=rf"below 2/\(lambda_max \+ ridge\) = {bound:.6g}"):
            predict_training(**GIVEN, times=[1], rule="gd", learning_rate=rate, ridge=0.5)
    predict_training(**GIVEN, times=[1], rule="gd", learning_rate=0.999 * bound, ridge=0.5)


@pytest.mark.parametrize("noise", [-1.0, np.nan, "much"])
def test_noise(noise):
    with pytest.raises(pdlt.PdltError, match="`noise` must be a finite number, not negative"):
        posterior(**GIVEN, noise=noise)


def test_memory_that_suffices_and_memory_that_does_not(monkeypatch):
    monkeypatch.setattr("pdlt.learning.data.machine_memory", lambda: 10 * 2.0**30)
    assert require_memory(8 * 2**27, "Numbers", "") is None  # 8 GiB are 80 % of 10
    with pytest.raises(pdlt.PdltError, match="Numbers need about 8 GiB, but this machine has 10 GiB. Use fewer."):
        require_memory(8 * 2**27 + 1, "Numbers", "Use fewer.")


def test_spectrum_tells_zero_from_small():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    exact = np.array([4.0, 1.0, 1e-3, 1e-12, 0.0])
    found = Spectrum.of((basis * exact) @ basis.T)
    np.testing.assert_allclose(found.values, exact, atol=found.resolution)
    assert found.resolution == pytest.approx(5 * np.finfo(float).eps * 4.0)
    assert found.rank == 4 and found.condition == np.inf
    vector = rng.normal(size=5)
    np.testing.assert_allclose(found.apply(np.sqrt, found.apply(np.sqrt, vector)), (basis * exact) @ basis.T @ vector)
    # A kernel known to six digits resolves less.
    assert Spectrum.of((basis * exact) @ basis.T, 1e-6).rank == 3
    with pytest.raises(pdlt.PdltError, match="not positive semidefinite"):
        Spectrum.of(np.diag([1.0, -1e-6]))


def test_times_of_every_kind():
    wanted = predict_training(**GIVEN, times=[0.0, 1.0, 2.0])
    assert predict_training(**GIVEN, times=range(3)).equals(wanted)
    assert predict_training(**GIVEN, times=np.arange(3)).equals(wanted)
    assert predict_training(**GIVEN, times=np.array(2.0)).equals(wanted.isel(time=[2]))


def test_extreme_numbers_have_limits():
    """No warning (they are errors here), and what the limit is."""
    late = predict_training(**GIVEN, times=[1e308, np.inf])["mean"].values
    np.testing.assert_allclose(late[0], late[1], rtol=1e-12)
    slow = {"rule": "gd", "learning_rate": 1e-320}
    start, end = predict_training(**GIVEN, times=[2**53, np.inf], **slow)["mean"].values
    assert np.abs(start).max() < 1e-290
    np.testing.assert_allclose(end, late[1], rtol=1e-12)


def test_a_kernel_that_is_zero():
    zero = (pdlt.MLP(2, 8, "relu"), [[0.0]], [1.0], [[0.0]])
    with pytest.raises(pdlt.PdltError, match="kernel of the 1 .* is zero: training cannot move their outputs"):
        predict_training(*zero, np.inf)
    with pytest.raises(pdlt.PdltError, match="is singular: at one of them the output has no variance"):
        posterior(*zero)
    for arguments in ({"times": 1e308}, {"times": np.inf, "ridge": 0.1}, {"times": np.inf, "unresolved": "freeze"}):
        assert predict_training(*zero, **arguments)["mean"].item() == 0
