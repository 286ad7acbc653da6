"""Predictions of training beside ensembles: sums, estimates, scores and what is refused, on round numbers."""

import numpy as np
import pytest
import trained_problem as made_up

from pdlt import PdltError
from pdlt.compare import disagreements
from pdlt.compare_training import compare_training, cost, neglected, summed


def test_rows():
    table = compare_training(made_up.prediction(), made_up.ensemble(off=0.02))
    assert table.groupby("observable").size().to_dict() == {
        "mean": 3 * 3 * 2,
        "variance": 3 * 3 * 2,
        "kernel_change": 3 * (6 * 7 // 2),  # symmetric in (point, output)
        "alignment": 3,
        "hidden_kernel_change": 3 * 2 * (3 * 4 // 2),
    }
    expected = {
        "mean": (1.0, 1.05, 1.07),
        "variance": (0.04, 0.05, 0.05),
        "kernel_change": (0.0, 0.1, 0.12),
        "alignment": (0.3, 0.28, 0.3),
        "hidden_kernel_change": (0.0, 0.1, 0.12),
    }
    for name, numbers in expected.items():
        rows = table[(table.observable == name) & (table.time < 3)]
        found = rows[["kernel_machine", "prediction", "measured"]].to_numpy()
        np.testing.assert_allclose(found, np.tile(numbers, (len(found), 1)), atol=1e-15)
        np.testing.assert_allclose(rows.z, 0 if name == "variance" else 2, atol=1e-12)
        assert (abs(rows.z_total) <= abs(rows.z)).all()
    late = table[np.isinf(table.time)]
    assert late.measured.isna().all() and late.z.isna().all() and not late.prediction.isna().any()


def test_theory_alone_and_order_0():
    table = compare_training(made_up.prediction(order=0))
    assert set(table.observable) == {"mean", "variance"} and (table.kernel_machine == table.prediction).all()
    assert table.measured.isna().all()
    # Two hidden layers over width 10, of a mean of 1.
    np.testing.assert_allclose(table[table.observable == "mean"].neglected, 0.2)


def test_what_is_left_out():
    """Parts 0.5, -0.4, 0.2, 0.2 over 10 add up to 0.13 in size, 0.65 of the standard deviation 0.2."""
    prediction = made_up.prediction()
    np.testing.assert_allclose(cost(prediction), 0.65)
    np.testing.assert_allclose(neglected(prediction, "mean"), 0.65 * 0.13)
    np.testing.assert_allclose(neglected(prediction, "variance"), 0.65**2 * 0.04)
    np.testing.assert_allclose(neglected(prediction, "alignment"), 0.65 * 0.02)
    without = prediction.drop_vars(["variance", "variance_1"])
    np.testing.assert_allclose(cost(without), 0.2)  # of the mean, 0.13: more is lost by two layers over width 10
    full = without.assign(covariance=(made_up.PAIR, 0.04 * np.ones((3, 3, 3, 2, 2))))
    np.testing.assert_allclose(cost(full), 0.65)
    at_start = prediction.assign(variance=0 * prediction.variance)
    np.testing.assert_allclose(cost(at_start), 0.2)


def test_sampling_errors_of_both_sides_add_up():
    prediction = made_up.prediction()
    prediction["mean_1_stderr"] = 0.0 * prediction.mean_1 + 0.2
    np.testing.assert_allclose(summed(prediction, "mean")[2], 0.02)
    table = compare_training(prediction, made_up.ensemble(off=0.05))
    assert table.z[0] == pytest.approx(0.05 / np.hypot(0.01, 0.02))


def test_disagreements_are_found():
    near, far = (compare_training(made_up.prediction(), made_up.ensemble(off)) for off in (0.04, 0.6))
    assert len(disagreements(near[near.measured.notna()], 5)) == 0
    bad = disagreements(far[far.measured.notna()], 5)
    assert set(bad.observable) == {"mean", "kernel_change", "alignment", "hidden_kernel_change"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "prediction"}, "`run` must come from pdlt.simulate_training"),
        ({"network": "other"}, "different networks: "),
        ({"test_sha256": "other"}, "different test points."),
        ({"rule": "gd"}, "different rules of training: flow and gd"),
        ({"learning_rate": 0.1}, "different learning rates: None and 0.1"),
    ],
)
def test_what_does_not_belong_together(change, message):
    with pytest.raises(PdltError) as raised:
        compare_training(made_up.prediction(), made_up.ensemble().assign_attrs(change))
    assert message in str(raised.value)


def test_other_bad_arguments():
    with pytest.raises(PdltError, match="`prediction` must come from pdlt.predict_training"):
        compare_training(made_up.ensemble(), made_up.ensemble())
    with pytest.raises(PdltError, match="share no time"):
        compare_training(made_up.prediction(), made_up.ensemble().assign_coords(time=[1.0, 3.0]))


def test_other_training_data_are_refused():
    prediction, run = made_up.prediction(), made_up.ensemble(off=0.02)
    with pytest.raises(PdltError, match="belong to different training data"):
        compare_training(prediction.assign_attrs(train_sha256="one"), run.assign_attrs(train_sha256="another"))
