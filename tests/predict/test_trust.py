"""The warning that a network is too deep for its width: against exact finite-width results, and its advice followed."""

import re
import subprocess
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest
from reference_systems import homogeneous_moments

import pdlt
from pdlt.export.dataset import from_json, to_json
from pdlt.predict import TruncationWarning
from pdlt.predict.trust import THRESHOLD, neglect, relative_neglect

ONE = [[1.0]]
NAMES = ["V", "D", "F", "A", "B"]


def relu(depth, width, names=("K", "V"), order=1):
    return pdlt.predict(pdlt.MLP(depth, width, "relu", C_W=2.0), ONE, names, order=order, kinks="pointwise")


def flat(prediction, width: float) -> np.ndarray:
    return np.full(prediction.sizes["layer"], float(width))


def silent(call):
    """Return the result of a call that must not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return call()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name, slope", [("relu", Fraction(1, 2)), ("linear", Fraction(1))])
def test_it_comes_between_five_and_twenty_five_percent_of_true_error(name, slope, order) -> None:
    """Exact second moments of homogeneous networks at every width, one input, critical, depth 16.

    Coefficients do not depend on the width if all are equal, so one prediction serves them all.
    """
    depth = 16
    exact = homogeneous_moments(slope, 1 / slope, Fraction(1), Fraction(1), depth, 2 * depth + 2)
    net = pdlt.MLP(depth, 1000, name, C_W=float(1 / slope))
    prediction = pdlt.predict(net, ONE, NAMES, order=order, kinks="pointwise")
    missed, early = [], []
    for width in np.geomspace(8, 1000, 40).round():
        for tensor in NAMES:
            true = sum(c / width**k for k, c in enumerate(exact[tensor]))
            series = sum(c / width**k for k, c in enumerate(exact[tensor][:order]))
            error = abs(series / true - 1)
            warned = relative_neglect(prediction, tensor, flat(prediction, width))[-1] > THRESHOLD
            if error > 0.25 and not warned:
                missed.append((tensor, width, error))
            if error < 0.05 and warned:
                early.append((tensor, width, error))
    assert not missed
    assert not early


def test_the_vertex_of_relu_is_the_published_product() -> None:
    """n K^2 [(1 + 5/n)^(L-1) - 1]: the layer it names is where a quarter of V is missing, or a little before."""
    with pytest.warns(TruncationWarning):
        prediction = relu(32, 64)
    first = neglect(prediction, flat(prediction, 64)).first
    layers = np.arange(2, 33)
    true = 64 * ((1 + 5 / 64) ** (layers - 1) - 1)
    error = 1 - 5 * (layers - 1) / true
    assert error[layers < first].max() < 0.25
    assert error[layers == first] > 0.05


def test_it_says_what_where_and_what_to_do() -> None:
    with pytest.warns(TruncationWarning) as caught:
        relu(32, 64, ["K", "Theta", "V"])
    assert len(caught) == 1  # one for the call, not one per observable
    text = str(caught[0].message)
    assert text == (
        "At depth 32 and width 64 this network is too deep for its width: the expansion in 1/width to order 1 cannot "
        "be trusted from layer 8 on. What it leaves out is estimated to be larger than V itself at layer 32. Between "
        "networks that differ in nothing but their random initial weights, the kernel there has a relative variance of "
        "about 2.4. Use width 320 or more at this depth, depth 7 or less at this width, or measure it "
        "(pdlt.simulate, which warns where it cannot)."
    )
    assert caught[0].filename == __file__


def test_its_advice_holds() -> None:
    """V/(n K^2) = 5 (L - 1)/n reaches one half at n = 310 for L = 32; within the search's five percent, rounded up."""
    assert silent(lambda: relu(32, 320)).attrs["trusted"] == 1
    assert silent(lambda: relu(7, 64)).attrs["trusted"] == 1
    with pytest.warns(TruncationWarning):
        assert relu(32, 300).attrs["trusted"] == 0
    with pytest.warns(TruncationWarning):
        relu(8, 64)


def test_unequal_widths() -> None:
    net = pdlt.MLP(6, (16, 8, 16, 8, 16), "relu", C_W=2.0)
    with pytest.warns(TruncationWarning, match=r"widths from 8 to 16 .* Use widths [\d.]+ times as large") as caught:
        pdlt.predict(net, ONE, ["V"])
    factor = float(re.search(r"widths ([\d.]+) times", str(caught[0].message))[1])
    larger = tuple(round(factor * width) for width in net.width)
    silent(lambda: pdlt.predict(pdlt.MLP(6, larger, "relu", C_W=2.0), ONE, ["V"]))


def test_order_changes_what_can_be_trusted() -> None:
    """5 (L - 1)/n = 0.72: 26 percent of V are missing at order 1, 6 percent at order 2 (exactly)."""
    with pytest.warns(TruncationWarning, match="to order 1"):
        relu(16, 104, ["V"])
    silent(lambda: relu(16, 104, ["V"], order=2))


def test_depth_does_no_harm_where_fluctuations_are_forgotten() -> None:
    """tanh in the ordered phase: V/(n K^2) settles at 0.3/n; the series holds for 24 layers of 8 neurons."""
    net = pdlt.MLP(24, 8, "tanh", C_b=0.3, C_W=1.4)
    prediction = silent(lambda: pdlt.predict(net, ONE, ["K", "V"]))
    run = pdlt.simulate(net, ONE, ["K", "V"], samples=20_000, seed=2, layers=[24], progress=False)
    for name in ("K", "V"):
        series, measured = pdlt.total(prediction)[name].values[-1].item(), run[name].values[-1].item()
        assert abs(series / measured - 1) < 0.05
    assert np.isfinite(relative_neglect(prediction, "K", flat(prediction, 8))).all()


def test_a_tensor_of_accidental_size_is_no_alarm() -> None:
    """A of critical tanh nearly vanishes at order 1, which is no matter of depth and width. B decides."""
    net = pdlt.MLP(12, 256, "tanh", C_W=1.0)
    prediction = silent(lambda: pdlt.predict(net, ONE, ["A", "B"]))
    largest = {name: relative_neglect(prediction, name, flat(prediction, 256)).max() for name in ("A", "B")}
    assert largest["A"] < THRESHOLD
    assert largest["B"] < THRESHOLD


def test_total_at_another_width_warns_about_that_width() -> None:
    prediction = silent(lambda: relu(12, 1000))
    assert silent(lambda: pdlt.total(prediction)).attrs["trusted"] == 1
    assert silent(lambda: pdlt.total(prediction, width=500)).attrs["trusted"] == 1
    with pytest.warns(TruncationWarning, match="At depth 12 and width 20 this network"):
        assert pdlt.total(prediction, width=20).attrs["trusted"] == 0


def test_the_verdict_survives_a_file() -> None:
    with pytest.warns(TruncationWarning):
        prediction = relu(32, 16)
    assert from_json(to_json(prediction)).attrs["trusted"] == 0


def test_nothing_fluctuates_before_layer_two() -> None:
    assert silent(lambda: pdlt.predict(pdlt.MLP(2, 1, "relu", C_W=2.0), ONE, NAMES, kinks="pointwise")).attrs["trusted"]
    assert silent(lambda: pdlt.predict(pdlt.MLP(1, (), "relu", C_W=2.0), ONE, ["K"])).attrs["trusted"]


def test_a_sweep_to_small_widths_is_silent() -> None:
    # With biases: errors of measurements that rare networks carry have a warning of their own.
    net = pdlt.MLP(8, 16, "relu", C_b=0.1, C_W=2.0)
    # `silent` makes the warning an error.
    swept = silent(lambda: pdlt.sweep(net, ONE, ["V"], [4, 8], samples=100))
    assert swept.widths == (4, 8)
    with pytest.warns(TruncationWarning):
        pdlt.predict(pdlt.MLP(8, 4, "relu", C_b=0.1, C_W=2.0), ONE, ["V"])


def test_hopeless_depth_ends_in_a_warning() -> None:
    """Far beyond any width: the search for one ends."""
    with pytest.warns(TruncationWarning):
        pdlt.predict(pdlt.MLP(400, 1, "relu", C_W=2.0), ONE, ["V"], order=2)


def test_the_command_line_prints_it() -> None:
    command = "predict --activation relu --C-W 2 --depth 32 --width 16 --x [[1.0]] --observables K,V --json"
    run = subprocess.run([sys.executable, "-m", "pdlt", *command.split()], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0
    assert run.stderr.startswith("Warning: At depth 32 and width 16 this network is too deep for its width")
    assert from_json(run.stdout).attrs["trusted"] == 0
