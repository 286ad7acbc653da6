"""Comparison of predictions with measurements, on runs made by hand and on real ones."""

import numpy as np
import pytest
import xarray

import pdlt
from pdlt.compare import disagreements, neglected_order

NET = pdlt.MLP(3, 64, "tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
X = [[0.9, -0.4, 1.1], [-0.3, 0.8, 0.5]]


@pytest.fixture(scope="module")
def prediction():
    return pdlt.predict(NET, X, ["K", "Theta", "V", "B", "P"])


@pytest.fixture(scope="module")
def run():
    return pdlt.simulate(NET, X, ["K", "Theta", "V", "B", "P"], samples=20_000, seed=3, progress=False)


def test_networks_agree_with_theory(prediction, run):
    # 64 entries of two layers; P(|z| > 4.5) is 7e-6 each. The truncation at n = 64 is allowed for.
    table = pdlt.compare(prediction, run)
    assert set(table.observable) == {"K", "Theta", "V", "B", "P"}
    assert set(table.layer) == {2, 3}
    assert len(disagreements(table, z_max=4.5)) == 0


@pytest.mark.parametrize("name, factor", [("B", 1.15), ("V", 1.3), ("Theta", 1.02)])
def test_planted_factor_is_caught(prediction, run, name, factor):
    wrong = prediction.copy(deep=True)
    wrong[name] = prediction[name] * factor
    bad = disagreements(pdlt.compare(wrong, run), z_max=4.5)
    assert set(bad.observable) == {name}


def test_swapped_index_is_caught(prediction, run):
    wrong = prediction.copy(deep=True)
    # B[1,3,2,4] read as A-like B[1,2,3,4]
    wrong["B"] = (prediction["B"].dims, np.swapaxes(prediction["B"].values, 2, 3), prediction["B"].attrs)
    assert set(disagreements(pdlt.compare(wrong, run), z_max=4.5).observable) == {"B"}


def test_entries_are_the_independent_ones(prediction, run):
    table = pdlt.compare(prediction, run, layers=[3])
    # Two inputs: K and Theta are symmetric; V_(12)(34) has the symmetries of a square, 6 orbits on 16 entries.
    counts = table.groupby("observable").size()
    assert (counts["K"], counts["Theta"], counts["V"]) == (3, 3, 6)


def test_z_is_the_difference_in_standard_errors(prediction, run):
    row = pdlt.compare(prediction, run, layers=[3]).iloc[0]
    assert row.z == pytest.approx((row.measured - row.prediction) / row.stderr)


def test_neglected_order_shrinks_with_width_by_the_next_power():
    sizes = {}
    for width in (32, 64):
        net = pdlt.MLP(3, width, "tanh", C_b=0.3, C_W=1.4)
        prediction = pdlt.predict(net, X, ["K", "V"])
        sizes[width] = [float(abs(neglected_order(prediction, name)[-1]).max()) for name in ("K", "V")]
        assert float(abs(neglected_order(prediction, "V")[:2]).max()) == 0  # nothing fluctuates before layer 2
    assert sizes[32][0] / sizes[64][0] == pytest.approx(4)  # K is known to 1/n, the next is 1/n^2
    assert sizes[32][1] / sizes[64][1] == pytest.approx(2)  # V is known to leading order


def test_a_coefficient_that_vanishes_has_a_neglected_order():
    # P of ReLU is zero at order 1 (pointwise), not at order 2; the issue is seen whatever else was asked for.
    net = pdlt.MLP(4, 64, "relu", C_W=2.0)
    x = [[1.0, 0.5]]
    for names in (["P"], ["K", "Theta", "P"]):
        prediction = pdlt.predict(net, x, names, kinks="pointwise")
        assert float(neglected_order(prediction, "P")[-1].max()) > 0.01
        run = pdlt.simulate(net, x, names, samples=20_000, seed=1, progress=False)
        assert len(disagreements(pdlt.compare(prediction, run), 4.5)) == 0


def test_swapped_or_summed_datasets_are_refused(prediction, run):
    with pytest.raises(pdlt.PdltError, match="`prediction` must come from pdlt.predict, but it is a measurement"):
        pdlt.compare(run, prediction)
    with pytest.raises(pdlt.PdltError, match="it is a total"):
        pdlt.compare(pdlt.total(prediction), run)


def test_json_round_trip_compares_the_same(prediction, run):
    from pdlt.export.dataset import from_json, to_json

    again = pdlt.compare(from_json(to_json(prediction)), from_json(to_json(run)))
    assert again.equals(pdlt.compare(prediction, run))


def test_different_networks_and_inputs_are_refused(prediction, run):
    other = pdlt.predict(pdlt.MLP(3, 65, "tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1), X, ["K"])
    with pytest.raises(pdlt.PdltError, match="different networks"):
        pdlt.compare(other, run)
    with pytest.raises(pdlt.PdltError, match="different inputs"):
        pdlt.compare(pdlt.predict(NET, [[1.0, 2.0, 3.0]], ["K"]), run)


def test_nothing_in_common_is_refused(run):
    with pytest.raises(pdlt.PdltError, match="share no observable"):
        pdlt.compare(pdlt.predict(NET, X, ["A"]), run)


def test_unknown_layers_are_refused(prediction, run):
    with pytest.raises(pdlt.PdltError, match="`layers`"):
        pdlt.compare(prediction, run, layers=[7])


def test_kinks_are_never_compared_silently():
    net = pdlt.MLP(2, 8, "relu", C_W=2.0)
    x = [[1.0, 0.5], [0.2, -1.0]]
    run = pdlt.simulate(net, x, ["V", "P"], samples=200, progress=False)
    with pytest.raises(pdlt.PdltError, match="kinks='pointwise'"):
        pdlt.compare(pdlt.predict(net, x, ["V", "P"]), run)
    assert len(pdlt.compare(pdlt.predict(net, x, ["V", "P"], kinks="pointwise"), run))
    assert len(pdlt.compare(pdlt.predict(net, x, ["V"]), run))


def test_total_sums_the_series(prediction):
    summed = pdlt.total(prediction, width=10)
    expected = prediction["K"] + prediction["K_1"] / 10
    xarray.testing.assert_allclose(summed["K"], expected)
    with pytest.raises(pdlt.PdltError, match="`width`"):
        pdlt.total(prediction, width=0)
