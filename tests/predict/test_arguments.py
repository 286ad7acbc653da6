"""Arguments of `predict` and `total`: what is refused, with which words, and what results carry."""

import hashlib
import json

import numpy as np
import pytest

import pdlt
from pdlt.predict import AccuracyWarning

NET = pdlt.MLP(3, (10, 30), "sin", C_b=0.2, C_W=1.3)
X = np.array([[0.5, 1.5]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observables": ["theta"]}, r"'theta' is not known. Did you mean 'Theta'\?"),
        ({"observables": []}, "must name at least one observable, but is empty"),
        ({"observables": 5}, "`observables` must be names or specs of observables, but got 5"),
        ({"observables": [["K"]]}, r"\['K'\] is not known"),
        ({"observables": ["a1 a2 | b3 c4"]}, "direction 'b' occurs an odd number of times"),
        ({"observables": ["1 2 3"]}, "'1 2 3' is not two slots"),
        ({"observables": ["V"], "order": 0}, "'V' first appears at order 1, but `order` is 0"),
        ({"order": 8}, "`order`: deriving .* at order 8 needs about .* more than `budget` = 600 seconds"),
        ({"order": True}, "`order` must be an integer of at least 0, but got True"),
        ({"order": 1.0}, "`order` must be an integer of at least 0, but got 1.0"),
        ({"order": [1]}, r"`order` must be an integer of at least 0, but got \[1\]"),
        ({"rtol": 0}, "`rtol` must be a number between 0 and 1, but got 0"),
        ({"rtol": float("nan")}, "`rtol` must be a number between 0 and 1, but got nan"),
        ({"rtol": "small"}, "`rtol` must be a number between 0 and 1, but got 'small'"),
        ({"method": "magic"}, "`method` must be one of auto, closed, quadrature, qmc, but got 'magic'"),
        ({"kinks": "none"}, "`kinks` must be one of atoms, pointwise, but got 'none'"),
        ({"net": "tanh"}, "`net` must be a pdlt.MLP, but got str"),
        ({"x": [1.0, 2.0]}, r"`x` must be a two-dimensional array .* got an array of shape \(2,\)"),
        ({"x": [[1.0, 2.0], [1.0]]}, "its rows differ in length"),
        ({"x": [[1.0, np.inf]]}, r"x\[0, 1\] is inf"),
        ({"x": np.zeros((0, 2))}, r"got an array of shape \(0, 2\)"),
    ],
)
def test_refusals(arguments: dict, message: str) -> None:
    given = {"net": NET, "x": X, **arguments}
    with pytest.raises(pdlt.PdltError, match=message):
        pdlt.predict(given.pop("net"), given.pop("x"), **given)


def test_good_orders_do_not_admit_bad_ones() -> None:
    """Theories are remembered by their arguments, where 1, 1.0 and True are equal; they must not be here."""
    pdlt.predict(NET, X, ["K"], order=1)
    for order in (1.0, True):
        with pytest.raises(pdlt.PdltError, match="`order` must be an integer"):
            pdlt.predict(NET, X, ["K"], order=order)


def test_spellings_of_one_observable() -> None:
    """A name, a list, a tuple, an Observable, a coefficient: all the same request."""
    expected = pdlt.predict(NET, X, ["V"], order=2)
    for given in ("V", ("V",), [pdlt.cumulant("1 2 | 3 4")], ["V_1"], {"V"}):
        found = pdlt.predict(NET, X, given, order=2)
        assert list(found) == list(expected) == ["V", "V_1"]
        assert all((found[k].values == expected[k].values).all() for k in found)


def test_what_results_carry() -> None:
    prediction = pdlt.predict(NET, X, ["K", "V"])
    attrs = prediction.attrs
    assert attrs["kind"] == "prediction"
    assert json.loads(attrs["network"])["activation"] == "sin"
    assert attrs["fan_in"] == [2, 10, 30]
    assert attrs["inputs_sha256"] == hashlib.sha256(X.tobytes()).hexdigest()
    assert attrs["inputs_shape"] == [1, 2]
    assert attrs["method"] == "closed"
    assert attrs["rtol_reached"] == 1
    assert attrs["kinks"] == "none"
    assert attrs["pdlt"] == pdlt.__version__
    assert prediction["V"].attrs["latex"] == "V"
    other = pdlt.predict(NET, X + 1e-15, ["K", "V"])
    assert other.attrs["inputs_sha256"] != attrs["inputs_sha256"]


def test_double_precision_stays_local() -> None:
    import jax.numpy as jnp

    before = jnp.ones(1).dtype
    assert pdlt.predict(NET, X, ["K"])["K"].dtype == np.float64
    assert jnp.ones(1).dtype == before == np.float32


def test_unreachable_accuracy_is_said() -> None:
    """tanh at K of about 10^5 is almost a step, too steep for the finest grid: the warning states what was reached."""
    net = pdlt.MLP(2, 10, "tanh", C_W=1e5)
    with pytest.warns(
        AccuracyWarning, match=r"rtol=1e-08 was not reached with method 'quadrature'.*Theta \d\.\de"
    ) as said:
        prediction = pdlt.predict(net, X, ["K", "Theta"])
    assert len(said) == 1
    assert prediction.attrs["rtol_reached"] == 0
    variance = prediction["K"].values[0].item()
    # For K -> infinity 1 - tanh^2 and tanh'^2 are atoms of weight 2 and 4/3, up to corrections in 1/K.
    density = 1 / np.sqrt(2 * np.pi * variance)
    exact = 1 - 2 * density + 1e5 * 4 / 3 * density * prediction["Theta"].values[0].item()
    true_error = abs(prediction["Theta"].values[1].item() / exact - 1)
    assert 1e-4 < true_error < 2 * prediction["Theta"].attrs["relative_error"]
    # A loose tolerance is met where it can be, without a warning.
    pdlt.predict(pdlt.MLP(2, 10, "tanh", C_W=100.0), X, ["K", "Theta"], rtol=1e-3)


def test_quasi_monte_carlo_on_request() -> None:
    """The estimate is a standard error of eight scramblings; within six of them here."""
    net = pdlt.MLP(2, 10, "tanh", C_W=1.5)
    with pytest.warns(AccuracyWarning, match="method 'qmc'"):
        noisy = pdlt.predict(net, X, ["K", "V"], method="qmc")
    sharp = pdlt.predict(net, X, ["K", "V"])
    for name in ("K", "V"):
        difference = np.abs(noisy[name] - sharp[name]).values.max() / np.abs(sharp[name].values).max()
        assert 0 < difference < 6 * noisy[name].attrs["relative_error"]
    assert pdlt.predict(net, X, ["K"], method="qmc", rtol=0.1)["K"].equals(noisy["K"])  # same seeds, same numbers


def test_total() -> None:
    """K + K_1/n + K_2/n^2 with n = n_{l-1} of each layer, or with the width asked for."""
    prediction = pdlt.predict(NET, X, ["K", "V"], order=2)
    K, K_1, K_2 = (prediction[k].values.reshape(-1) for k in ("K", "K_1", "K_2"))
    n = np.array([2, 10, 30])
    np.testing.assert_allclose(pdlt.total(prediction)["K"].values.reshape(-1), K + K_1 / n + K_2 / n**2, rtol=1e-14)
    np.testing.assert_allclose(pdlt.total(prediction, 7)["K"].values.reshape(-1), K + K_1 / 7 + K_2 / 49, rtol=1e-14)
    V = prediction["V"] + prediction["V_1"] / 7
    np.testing.assert_allclose(pdlt.total(prediction, 7)["V"], V, rtol=1e-14)
    assert list(pdlt.total(prediction)) == ["K", "V"]
    assert abs(K_1[-1]) > 1e-3  # the sum is not trivially its first term
    for width in (0, -1, 1.5, True, "7"):
        with pytest.raises(pdlt.PdltError, match="`width` must be a positive integer or None"):
            pdlt.total(prediction, width)
