"""Sweeps over widths: fits of known series, exactly solvable networks, planted errors."""

import dataclasses
import json

import numpy as np
import pytest

import pdlt
from pdlt.report.sweep import sweep_html, sweep_table
from pdlt.sweep.fitting import fit_power, fit_series

ONE = [[0.9, -0.4, 1.1]]
N = np.array([6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0])


def series(coefficients, n=N):
    return sum(c / n**j for j, c in enumerate(coefficients))


# --- fits -------------------------------------------------------------------------------------------------------------


def test_fit_recovers_a_series_exactly():
    c = [1.0, -3.0, 20.0]
    found = fit_series(N, series(c), 1e-3 * np.ones(7), degree=2)
    np.testing.assert_allclose(found.values, c, rtol=1e-10)
    assert found.dof == 4 and found.chi2 < 1e-12
    held = fit_series(N, series(c), 1e-3 * np.ones(7), degree=2, given=c[:1])
    np.testing.assert_allclose(held.values, c[1:], rtol=1e-10)
    # The textbook covariance, (X^T W X)^-1, in units that make it well conditioned.
    design = N[:, None] ** -np.arange(3.0)
    np.testing.assert_allclose(found.covariance, 1e-6 * np.linalg.inv(design.T @ design), rtol=1e-8)
    value, error = found.at(np.array([10.0]))
    assert value == pytest.approx(1 - 0.3 + 0.2)
    row = 10.0 ** -np.arange(3.0)
    assert error == pytest.approx(np.sqrt(row @ found.covariance @ row))


def replicas(c, sigma, count, **options):
    """Return fits of `count` series with known normal errors."""
    rng = np.random.default_rng(3)
    return [fit_series(N, series(c) + sigma * rng.normal(size=7), sigma, **options) for _ in range(count)]


def test_errors_are_calibrated():
    """z of every coefficient and at every width is standard normal, chi^2 has its distribution (Kolmogorov-Smirnov)."""
    from scipy.stats import kstest

    c, sigma = [1.0, 3.0, -8.0], 0.01 * np.linspace(1, 3, 7)
    fits = replicas(c, sigma, 500, degree=2)
    for j in range(3):
        assert kstest([(f.values[j] - c[j]) / f.stderr[j] for f in fits], "norm").pvalue > 0.01
    at = np.array([10.0])
    assert kstest([((v - series(c, at)) / e).item() for v, e in (f.at(at) for f in fits)], "norm").pvalue > 0.01
    assert kstest([f.p_value for f in fits], "uniform").pvalue > 0.01
    assert kstest([f.distance(c)[1] for f in fits], "uniform").pvalue > 0.01
    held = replicas(c, sigma, 500, degree=2, given=c[:1])
    assert kstest([(f.values[0] - c[1]) / f.stderr[0] for f in held], "norm").pvalue > 0.01
    # The control: errors that are too small by a fifth.
    small = np.array([(f.values[1] - c[1]) / (0.8 * f.stderr[1]) for f in fits])
    assert kstest(small, "norm").pvalue < 0.01


@pytest.mark.parametrize("c, sigma", [([1, 3, 8, 20, 50], 0.005), ([1, 0, 0, 0, 0], 0.01), ([1, 1, 1, 1, 1], 5e-4)])
def test_the_chosen_degree_keeps_errors_honest(c, sigma):
    """With the degree chosen by the data z of the first two keeps its mean 0, and errors are rather too large.

    A degree is taken when its successor's coefficient looks small, which cuts the tails of z: by up to a fifth.
    """
    fits = replicas(c, sigma * series(c), 500)
    z = np.array([(f.values[:2] - c[:2]) / f.stderr[:2] for f in fits])
    assert (np.abs(z.mean(axis=0)) < 0.2).all()
    assert ((z.std(axis=0) > 0.75) & (z.std(axis=0) < 1.1)).all()


def test_one_power_more_is_what_makes_them_honest():
    """The sibling: without the one power more than suffices K_1 is off by more than its error, on average."""
    c, sigma, rng = [1, 3, 8, 20, 50], 0.005 * series([1, 3, 8, 20, 50]), np.random.default_rng(3)
    z = []
    for _ in range(300):
        y = series(c) + sigma * rng.normal(size=7)
        chosen = fit_series(N, y, sigma)
        if not chosen.biased:
            demanded = fit_series(N, y, sigma, degree=chosen.sufficient)
            z.append((demanded.values[1] - c[1]) / demanded.stderr[1])
    assert abs(np.mean(z)) > 1


def test_degrees():
    noise = 1e-4 * np.random.default_rng(0).normal(size=7)
    sigma = 1e-4 * np.ones(7)
    flat = fit_series(N, 1 + noise, sigma)
    assert (flat.sufficient, flat.degree, flat.biased) == (0, 1, False)
    assert fit_series(N, 1 + noise, sigma, least=3).degree == 3
    # One width off by five errors is scatter, not a power of 1/n: it does not change the degree.
    outlier = fit_series(N, 1 + noise + 5 * sigma * (N == 16), sigma)
    assert outlier.degree <= 2 and outlier.p_value < 0.01
    steep = fit_series(N[:3], np.array([1.0, 2.0, 1.0]), 1e-6 * np.ones(3))
    assert steep.biased and steep.degree == 2 and np.isnan(steep.p_value)
    with pytest.raises(ValueError, match="degree 3 with 3 widths"):
        fit_series(N[:3], np.ones(3), sigma[:3], degree=3)


def test_exact_and_vanishing_measurements():
    assert np.allclose(fit_series(N, series([2, 1]), np.zeros(7)).values[:2], [2, 1])
    nothing = fit_series(N, np.zeros(7), np.zeros(7))
    assert not nothing.values.any() and not nothing.stderr.any()
    assert np.isnan(fit_power(N, np.zeros(7), np.zeros(7)).p)


def test_power():
    assert fit_power(N, -3 * N**-2, 1e-6 * np.ones(7)).p == pytest.approx(2)
    assert np.isnan(fit_power(N, 3 * N**-2, np.ones(7)).p)
    # The next order bends it; a correction straightens it.
    bent, sigma = N**-2 * (1 + 4 / N), 1e-3 * N**-2
    assert fit_power(N, bent, sigma).p > 2.2
    assert fit_power(N, bent, sigma, corrections=None).p == pytest.approx(2, abs=0.02)


@pytest.mark.parametrize("corrections, exponent", [(0, 0.0), (None, 2.0)])
def test_errors_of_powers_are_calibrated(corrections, exponent):
    """Mean within 0.4 of 0 and deviation about 1 of z, though the residual at the largest width is a few errors."""
    rng = np.random.default_rng(1)
    exact, sigma = 2 / N * np.exp(exponent / N), 0.005 * np.ones(7)
    found = [fit_power(N, exact + sigma * rng.normal(size=7), sigma, corrections) for _ in range(300)]
    z = np.array([(f.p - 1) / f.stderr for f in found if not np.isnan(f.p)])
    assert len(z) > 270 and abs(z.mean()) < 0.4 and 0.75 < z.std() < 1.2


# --- exactly solvable networks -------------------------------------------------------------------------------------


# Most tests sample the same networks, whose programs are compiled once.
WIDTHS = [2, 3, 4, 8, 16]
LINEAR = pdlt.MLP(3, 8, "linear", C_W=1.0)


@pytest.fixture(scope="module")
def linear():
    """A deep linear network: E z1^2 z2^2 = K^2 (1 + 2/n)^2 at depth 3, so V = K^2 (4 + 4/n), K_1 = 0."""
    return pdlt.sweep(LINEAR, [[1.0]], ["K", "V"], WIDTHS, samples=60_000, order=2, seed=2)


def test_deep_linear_network(linear):
    exact = {"K": 1.0, "K_1": 0.0, "K_2": 0.0, "V": 4.0, "V_1": 4.0}
    table = linear.coefficients.set_index("coefficient")
    for name, value in exact.items():
        assert abs(table.measured[name] - value) < 4 * table.stderr[name]
        assert table.derived[name] == pytest.approx(value, abs=1e-9)
        assert abs(table.z[name]) < 4
    assert abs(table.held["V_1"] - 4) < 4 * table.held_stderr["V_1"] < 2
    assert (linear.fits.p_value > 1e-3).all() and (linear.fits.derived_p > 1e-3).all()
    assert not len(linear.disagreements(4.5))
    # After its leading order V is 4/n off, exactly.
    slopes = linear.slopes.set_index(["observable", "order"])
    assert abs(slopes.slope["V", 1] - 1) < 4 * slopes.slope_stderr["V", 1] < 0.4
    assert np.isnan(slopes.slope["V", 2]) and np.isnan(slopes.slope["K", 1])


def test_relu_at_one_input():
    """V = n K^2 [(1 + 5/n)^(L-1) - 1]: at depth 3, K = 1, V = 10 + 25/n; K has no correction."""
    net = pdlt.MLP.critical("relu", 3, 8)
    sweep = pdlt.sweep(net, [[1.0]], ["K", "V"], [6, 8, 16, 32], samples=80_000, order=2)
    table = sweep.coefficients.set_index("coefficient")
    size = 2.0  # K = C_W x.x/n_0
    for name, value in {"K": size, "K_1": 0.0, "V": 10 * size**2, "V_1": 25 * size**2}.items():
        assert abs(table.measured[name] - value) < 4 * table.stderr[name]
    assert abs(table.held["V_1"] - 100) < 4 * table.held_stderr["V_1"] < 80
    assert sweep.slopes.query("observable == 'V' and order == 1").slope.item() == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("key, wrong", [("V", lambda v: 1.2 * v), ("V_1", lambda v: -v), ("K_1", lambda v: v + 0.5)])
def test_planted_errors_are_caught(linear, key, wrong):
    prediction = linear.predictions[3].copy(deep=True)
    prediction[key] = wrong(prediction[key]).assign_attrs(prediction[key].attrs)
    bad = dataclasses.replace(linear, predictions={3: prediction}).disagreements(5)
    assert key in set(bad.coefficient)


def test_planted_factor_of_one_over_n(linear):
    """A formula with a factor 1 + 1/n too much: V is right, V_1 = 4 becomes 4 + V."""
    prediction = linear.predictions[3].copy(deep=True)
    prediction["V_1"] = (prediction["V_1"] + prediction["V"]).assign_attrs(prediction["V_1"].attrs)
    wrong = dataclasses.replace(linear, predictions={3: prediction})
    table = wrong.coefficients.set_index("coefficient")
    assert abs(table.held_z["V_1"]) > 10 and abs(table.z["V"]) < 4
    # What it leaves out falls as 1/n, not as 1/n^2.
    row = wrong.slopes.query("observable == 'V' and order == 2").iloc[0]
    assert row.expected == 2 and abs(row.slope - 1) < 4 * row.slope_stderr < 0.6


# --- results -------------------------------------------------------------------------------------------------------


def test_tables_and_json(linear):
    document = json.loads(linear.to_json(), parse_constant=lambda token: pytest.fail(f"{token} is not JSON"))
    assert document["schema"] == "pdlt.sweep/1" and document["network"]["activation"] == "linear"
    assert [run["hidden"] for run in document["runs"]] == [[n, n] for n in WIDTHS]
    assert len(document["coefficients"]) == len(linear.coefficients)
    unresolved = [row for row in document["slopes"] if row["observable"] == "K"]
    assert all(row["slope"] is None for row in unresolved)
    assert len(linear.residuals) == 5 * (3 + 2)
    assert "V_1" in repr(linear) and "<table>" in linear._repr_html_()


def test_each_run_is_the_run_of_simulate(linear):
    alone = pdlt.simulate(pdlt.MLP(3, 4, "linear", C_W=1.0), [[1.0]], ["K", "V"], 60_000, seed=2, layers=[3])
    assert linear.runs[3, 4].identical(alone)


def test_underived_observables_are_measured_only():
    three = "1 2 | 3 4 | 5 6"
    sweep = pdlt.sweep(pdlt.MLP(2, 4, "linear"), [[1.0]], ["V", three], [4, 8], samples=2000, order=1)
    table = sweep.coefficients.query("observable == @three")
    assert table.derived.isna().all() and table.z.isna().all() and np.isfinite(table.measured).all()
    alone = pdlt.sweep(pdlt.MLP(2, 4, "linear"), [[1.0]], ["V", three], [4, 8], samples=2000, order=0)
    assert not alone.predictions and alone.coefficients.derived.isna().all()
    assert three in repr(alone)


def test_several_inputs_and_depths(tmp_path):
    x = [[1.0, 0.5], [0.2, -1.0]]
    net = pdlt.MLP(2, 8, "relu", C_W=2.0)
    sweep = pdlt.sweep(net, x, ["K", "V"], [6, 8], [2, 3], samples=1000, stores=tmp_path / "runs")
    assert set(sweep.coefficients.depth) == {2, 3}
    assert len(sweep.series) == 2 * (3 + 6)  # two depths; independent entries of K and V for two inputs
    assert sorted(p.name for p in (tmp_path / "runs").iterdir())[0] == "depth2_width6.db"
    assert "K_1[0,0]" in repr(sweep) and "K_1[0,1]" not in repr(sweep)
    pytest.importorskip("matplotlib")
    for name, depth in (("all.png", None), ("three.svg", 3)):
        sweep.plot(tmp_path / name, depth)
        assert (tmp_path / name).stat().st_size > 10_000
    with pytest.raises(pdlt.PdltError, match="`depth`"):
        sweep.plot(tmp_path / "four.png", 4)
    # Nothing to show: no derived corrections, no derived coefficients, no residual beyond its error.
    leading = {depth: p.drop_vars(["K_1", "V"]) for depth, p in sweep.predictions.items()}
    quiet = {key: run.assign(K_stderr=run.K_stderr + 10) for key, run in sweep.runs.items()}
    for predictions in (leading, {}):
        bare = dataclasses.replace(sweep, predictions=predictions, runs=quiet)
        bare.plot(tmp_path / "bare.png", 2)
    dataclasses.replace(sweep, predictions=leading).plot(tmp_path / "bare.png")
    with pytest.raises(pdlt.PdltError, match="needs derived coefficients"):
        dataclasses.replace(sweep, predictions={}).plot(tmp_path / "bare.png")


def test_figures_are_readable(linear, monkeypatch, tmp_path):
    """Titles fit, ticks are at what was measured, and what is not shown is said."""
    pytest.importorskip("matplotlib")
    from pdlt.report import sweep_figure

    drawn = []
    monkeypatch.setattr(sweep_figure, "_save", lambda figure, path: drawn.append(figure))
    net = pdlt.MLP(2, 8, "linear")
    depths = pdlt.sweep(net, [[1.0]], ["V"], [16, 32], [2, 3, 11], samples=2000)
    depths.plot(tmp_path / "depths.png")
    depths.plot(tmp_path / "one.png", 3)
    noisy = {key: run.assign(V_stderr=run.V_stderr + 0.5) for key, run in linear.runs.items()}
    dataclasses.replace(linear, runs=noisy).plot(tmp_path / "noisy.png")
    for figure in drawn:
        figure.canvas.draw()
        title = figure.get_suptitle() and figure._suptitle.get_window_extent()
        assert title.x0 >= 0 and title.x1 <= figure.bbox.width
        for axes in figure.axes:
            boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
            boxes = sorted((box.x0, box.x1) for box in boxes)
            assert all(left[1] <= right[0] for left, right in zip(boxes, boxes[1:], strict=False))
    assert [label.get_text() for label in drawn[0].axes[0].get_xticklabels()] == ["11", "3", "2"]
    assert set(drawn[1].axes[1].get_xticks()) == {16, 32}
    notes = [text.get_text() for axes in drawn[2].axes for text in axes.texts]
    assert any("below their error not shown" in note for note in notes)
    for axes in drawn[2].axes[len(drawn[2].axes) // 2 :]:  # every series of points has its dashed line
        legend = axes.get_legend()
        dashed = {line.get_color() for line in axes.lines if line.get_linestyle() == "--"}
        assert legend is None or len(dashed) == len(legend.get_texts())


def test_doubtful_errors_are_passed_on():
    net = pdlt.MLP(2, 4, "relu", C_W=2.0)
    with pytest.warns(UserWarning, match=r"Rare networks carry .*K at depth 60 \(n = 4\)") as caught:
        sweep = pdlt.sweep(net, [[1.0]], ["K"], [4, 2000], [60], samples=2000)
    assert len(caught) == 1 and sweep.doubtful == (("K", 60, 4),)
    assert "K at depth 60 (n = 4)" in repr(sweep)
    assert json.loads(sweep.to_json())["errors_doubtful"] == [["K", 60, 4]]


def test_shapes_are_scaled():
    net = pdlt.MLP(3, [4, 2], "linear")
    sweep = pdlt.sweep(net, [[1.0]], ["V"], [2, 8], samples=20_000)
    assert json.loads(sweep.runs[3, 8].attrs["network"])["width"] == [16, 8]
    # V = n_2 [(1 + 2/n_1)(1 + 2/n_2) - 1] with n_1 = 2 n_2.
    row = sweep.coefficients.iloc[0]
    assert row.derived == pytest.approx(3)
    assert abs(row.z) < 4


def test_an_interrupted_sweep_resumes(tmp_path, monkeypatch):
    from pdlt.sweep import measure

    whole = pdlt.sweep(LINEAR, [[1.0]], ["K", "V"], [2, 4, 8], samples=400)
    monkeypatch.setattr(measure, "simulate", _after(1, pdlt.simulate))
    with pytest.raises(KeyboardInterrupt):
        pdlt.sweep(LINEAR, [[1.0]], ["K", "V"], [2, 4, 8], samples=400, stores=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["depth3_width2.db"]
    monkeypatch.undo()
    again = pdlt.sweep(LINEAR, [[1.0]], ["K", "V"], [2, 4, 8], samples=400, stores=tmp_path)
    assert again.to_json() == whole.to_json()


def _after(count, function):
    """Return a function that is interrupted after `count` calls."""
    calls = []

    def limited(*arguments, **options):
        calls.append(1)
        if len(calls) > count:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    return limited


def test_time_is_shared(monkeypatch):
    from pdlt.sweep import measure

    shares = []

    def watched(*arguments, until_time, **options):
        shares.append(until_time)
        return pdlt.simulate(*arguments, samples=200, **{k: v for k, v in options.items() if k != "samples"})

    monkeypatch.setattr(measure, "simulate", watched)
    pdlt.sweep(LINEAR, [[1.0]], ["K", "V"], [2, 4, 8], until_time=600.0)
    assert 190 < shares[0] <= 200 and 190 < shares[1] <= 300 and 500 < shares[2] <= 600


NET = pdlt.MLP(3, 8, "tanh")
UNEVEN = pdlt.MLP(3, 8, "tanh", C_b=[0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    "net, keywords, message",
    [
        (NET, {"widths": [16]}, "`widths` must hold at least 2"),
        (NET, {"widths": [16, 16]}, "`widths` must hold different integers, but 16"),
        (NET, {"widths": [0, 16]}, "`widths` must be an integer from 1"),
        (NET, {"widths": [8.5, 16]}, "`widths`"),
        (NET, {"widths": "8,16"}, "`widths` must be a list"),
        (NET, {"widths": 8}, "`widths` must be a list"),
        (NET, {"depths": [1, 2]}, "`depths` must be an integer from 2"),
        (NET, {"depths": []}, "`depths` must not be empty"),
        (UNEVEN, {"depths": [4]}, "`depths` must be 3, .* because C_b"),
        (pdlt.MLP(3, [3, 2], "tanh"), {"widths": [2, 3]}, "`widths` must keep the ratios .* but 3 does not"),
        (pdlt.MLP(1, (), "tanh"), {}, "`net` must have depth 2"),
        ("tanh", {}, "`net`"),
        (NET, {"observables": ["W"]}, "`observables`: 'W'"),
        (NET, {"observables": "K"}, "`observables` must be a list"),
        (NET, {"degree": 2}, "`degree` must be an integer from 0 to 1 .*widths, 2"),
        (NET, {"samples": [1000]}, "`samples` must be one number or 2"),
        (NET, {"order": -1}, "`order`"),
        (NET, {"until_time": 0}, "`until_time`"),
        (NET, {"sampler": "jet"}, "`sampler`"),
        (NET, {"executor": 0}, "`executor`"),
        (NET, {"stores": __file__}, "`stores`"),
    ],
)
def test_nonsense_is_refused(net, keywords, message):
    arguments = {"observables": ["K"], "widths": [8, 16], "samples": 100, **keywords}
    with pytest.raises(pdlt.PdltError, match=message):
        pdlt.sweep(net, ONE, **arguments)


@pytest.mark.slow
def test_residual_falls_as_the_next_power():
    """After order 1 the residual of F falls as n^-1, after order 2 (F + F_1/n) as n^-2.

    At n = 6 ... 16 the order after that contributes to the fitted power, about 0.2 by the series itself; with a wrong
    F_1 the second residual would fall as n^-1 again.
    """
    net = pdlt.MLP(4, 8, "gelu", C_b=0.172922391, C_W=1.983058257, lambda_b=0.3)
    sweep = pdlt.sweep(net, ONE, ["F"], [6, 8, 12, 16], samples=400_000, seed=5, order=2)
    for row in sweep.slopes.itertuples():
        assert row.expected == row.order
        assert row.slope_stderr < 0.3
        assert abs(row.slope - row.expected) < 0.3 + 2 * row.slope_stderr
    # Planted: twice F_1 leaves a residual of order n^-1.
    prediction = sweep.predictions[4].copy(deep=True)
    prediction["F_1"] = (2 * prediction["F_1"]).assign_attrs(prediction["F_1"].attrs)
    wrong = dataclasses.replace(sweep, predictions={4: prediction})
    assert wrong.slopes.slope.iloc[-1] < 1.4


def test_too_few_networks_are_remarked_upon():
    net = pdlt.MLP(3, 8, "linear")
    for samples, said in ((1000, True), (2000, False)):
        sweep = pdlt.sweep(net, [[1.0]], ["K"], [4, 8], samples=samples)
        assert [("A run of 1000 networks" in text) for text in (sweep_table(sweep), sweep_html(sweep))] == [said] * 2
