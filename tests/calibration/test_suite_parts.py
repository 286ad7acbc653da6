"""Cases, statistics, journal, report and command of the calibration suite, without drawing networks."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from scipy import stats

from pdlt.calibration import Settings, calibrate, layerwise, shallow
from pdlt.calibration.cases import FLUCTUATION, draw_case
from pdlt.calibration.comparison import compare, exact, score
from pdlt.calibration.journal import Journal
from pdlt.calibration.normality import ALPHA, examine
from pdlt.calibration.plants import PLANTS
from pdlt.calibration.report import case_text, document, markdown
from pdlt.cli import main
from pdlt.ensemble.specs import NAMED
from pdlt.errors import PdltError

SAMPLERS = ("jets", "conditioned", "network")


def record(z, number=0, observable="K", sides=("jets", "network"), kind="pair"):
    found = [score((0, 0), (value, 0.0), (1.0, 0.0), 1.0) for value in z]
    return {
        "case": number,
        "kind": kind,
        "observable": observable,
        "sides": list(sides),
        "scores": found,
        "seconds": 0.1,
    }


def fake(net, x, observable, sampler, samples, seed):
    """Normal "measurements" around 0 of what is exactly 0: with `exact` replaced, a suite without any network."""
    axes = 6 if "|" in observable else 2 * NAMED[observable].order
    rng = np.random.default_rng([seed, len(sampler)])
    error = 1.0 if sampler == "jets" else 0.3
    return error * rng.normal(size=(len(x),) * axes), np.full((len(x),) * axes, error)


@pytest.fixture
def nothing_is_exact(monkeypatch):
    def zero(case, net):
        return np.zeros((len(case.x),) * len(case.entries[0]))

    monkeypatch.setattr("pdlt.calibration.comparison.exact", zero)


def test_cases_are_a_function_of_seed_and_number():
    first, second = (draw_case(3, 17, SAMPLERS, 4) for _ in range(2))
    assert (first.net, first.entries, first.seeds, first.sides) == (
        second.net,
        second.entries,
        second.seeds,
        second.sides,
    )
    assert np.array_equal(first.x, second.x)
    fewer = draw_case(3, 17, ("jets", "network"), 4)
    assert fewer.net == first.net and np.array_equal(fewer.x, first.x)
    assert draw_case(4, 17, SAMPLERS, 4).net != first.net


def test_cases_cover_what_they_promise():
    cases = [draw_case(1, k, SAMPLERS, 2) for k in range(400)]
    nets = [case.net for case in cases]
    assert {case.observable for case in cases} >= set(NAMED)
    assert {net.depth for net in nets} == {2, 3, 4, 5, 6}
    assert min(min(net.width) for net in nets) <= 6 and max(max(net.width) for net in nets) >= 60
    assert all(sum(1 / n for n in net.width) <= FLUCTUATION for net in nets)
    assert {len(case.x) for case in cases} == {1, 2, 3}
    ranks = [np.linalg.matrix_rank(case.x) < min(case.x.shape) for case in cases]
    assert sum(ranks) > 10  # collinear or equal inputs
    assert any(len(set(net.lambda_W)) > 1 for net in nets) and any(0 in net.lambda_b for net in nets)
    assert {case.sides for case in cases if case.kind == "pair"} == {
        ("jets", "conditioned"),
        ("jets", "network"),
        ("conditioned", "network"),
    }
    for kind, solvable in (
        ("layerwise", lambda c: layerwise.solvable(c.net, len(c.x))),
        ("shallow", lambda c: shallow.solvable(c.net, c.x)),
    ):
        members = [case for case in cases if case.kind == kind]
        assert len(members) > 60 and all(map(solvable, members))
        assert {case.sides[0] for case in members} == set(SAMPLERS)
    assert sum(case.kind == "covariance" for case in cases) > 10
    assert all(len(case.seeds) == len(set(case.seeds)) == 2 for case in cases)


def test_every_exact_case_has_a_finite_answer():
    for number in (*range(1, 60, 4), *range(3, 40, 4)):
        case = draw_case(1, number, SAMPLERS, 1)
        value = exact(case, case.net)
        assert np.isfinite(value).all() and value.shape == (len(case.x),) * len(case.entries[0])


def test_standard_normal_scores_pass_and_others_fail():
    z = stats.norm.ppf((np.arange(400) + 0.5) / 400)
    np.random.default_rng(0).shuffle(z)

    def failed(values):
        tests = examine([record(part, number) for number, part in enumerate(values.reshape(-1, 4))])
        assert {test.threshold for test in tests} == {ALPHA / len(tests)}
        return {test.name for test in tests if not test.passed}

    assert not failed(z)
    assert "variance" in failed(1.25 * z)
    assert "variance" in failed(z / 1.25)
    assert "mean" in failed(z + 0.3)
    assert {"largest |z|", "worst case"} <= failed(np.where(np.arange(400) == 7, 5.5, z))
    assert "Kolmogorov-Smirnov" in failed(np.sign(z))
    assert "|z| > 3" in failed(np.where(np.arange(400) % 60 == 0, 3.2, z))
    four = z.reshape(-1, 4).copy()
    four[3] = 2.9  # no single score is large, all four of one case are
    assert failed(four.ravel()) == {"worst case"}


def test_without_noise_equality_to_rounding_is_asked():
    assert score((0,), (1.0, 1.0 + 1e-12), (0.0, 0.0), 1.0)["agrees"]
    assert not score((0,), (1.0, 1.0 + 1e-6), (0.0, 0.0), 1.0)["agrees"]
    assert score((0,), (0.0, 0.0), (0.0, 0.0), 0.0)["agrees"]
    quiet = record([0.5] * 12)
    quiet["scores"].append(score((0, 0), (1.0, 1.1), (0.0, 0.0), 1.0))
    (test,) = [t for t in examine([quiet]) if t.name == "equality"]
    assert not test.passed


def test_plants_change_what_they_say():
    net = draw_case(1, 2, SAMPLERS, 1).net
    faster = PLANTS["lambda_W"].network(net)
    assert sum(a != b for a, b in zip(net.lambda_W, faster.lambda_W, strict=True)) == 1
    assert PLANTS["lambda_b"].network(net).lambda_b == (0.0,) * net.depth
    tensor = np.arange(16.0).reshape(2, 2, 2, 2)
    assert PLANTS["index"].value(tensor, 8)[0, 1, 0, 1] == tensor[0, 0, 1, 1]
    assert PLANTS["factor"].value(tensor, 8)[1, 1, 1, 1] == 15 * 9 / 8
    assert PLANTS["factor"].value(tensor[0, 0], 8)[1, 1] == tensor[0, 0, 1, 1]  # a mean is left alone


def test_a_refusal_is_recorded():
    def refuse(net, x, observable, sampler, samples, seed):
        raise PdltError("Argument `net` is too large.")

    case = draw_case(1, 1, SAMPLERS, 2)
    found = compare(case, 100, measure=refuse)
    assert found["refused"] == "Argument `net` is too large." and found["by"] == case.sides[0]
    assert "scores" not in found


def test_a_suite_from_cases_to_report(nothing_is_exact):
    settings = Settings(cases=60, seed=2, samplers=SAMPLERS)
    outcome = calibrate(settings, measure=fake)
    assert outcome.passed
    report = markdown(outcome, "z.png")
    assert "All tests passed." in report and "![Histogram and quantiles of z](z.png)" in report
    assert "pdlt calibrate --cases 60 --seed 2 --samplers jets,conditioned,network" in report
    assert all(line.count("|") - line.count("\\|") >= 3 for line in report.splitlines() if line.startswith("|"))
    data = json.loads(json.dumps(document(outcome)))
    assert data["passed"] and len(data["records"]) == 60
    assert "pdlt.MLP(" in case_text(settings, 5, outcome.records[5])

    planted = calibrate(Settings(cases=60, seed=2, samplers=SAMPLERS, plant="errors"), measure=fake)
    assert not planted.passed
    assert "FAILED" in markdown(planted) and "planted on purpose" in markdown(planted)


def test_a_journal_continues_and_is_checked(nothing_is_exact, tmp_path):
    path = tmp_path / "journal.jsonl"
    settings = Settings(cases=12, seed=2, samplers=SAMPLERS)
    uninterrupted = calibrate(settings, measure=fake).records
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        if len(calls) == 40:
            raise KeyboardInterrupt
        return fake(*arguments)

    with pytest.raises(KeyboardInterrupt):
        calibrate(settings, path, measure=counted)
    whole = path.read_bytes()
    path.write_bytes(whole + b'0badc0de {"case')  # power was lost while a line was written
    done = whole.count(b"\n") - 1
    assert 0 < done < 12
    calls.clear()
    again = calibrate(settings, path, measure=fake).records
    assert [r["scores"] for r in again] == [r["scores"] for r in uninterrupted]
    assert path.read_bytes().startswith(whole)

    def never(*arguments):
        raise AssertionError("everything is in the journal")

    assert calibrate(settings, path, measure=never).records == again

    with pytest.raises(PdltError, match="holds another suite: seed is 2 in the file, but 3 is asked for"):
        calibrate(Settings(cases=12, seed=3, samplers=SAMPLERS), path, measure=never)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(PdltError, match="line .* is damaged"):
        calibrate(settings, path, measure=never)
    assert path.read_bytes() == bytes(damaged)
    path.write_text("something else\n")
    with pytest.raises(PdltError, match="not a journal"):
        calibrate(settings, path, measure=never)


#: A suite of sleepers: every measurement takes a while and is a function of its seed.
SLEEPERS = """
import sys, time
import numpy as np
from pathlib import Path
from pdlt.calibration import Settings, calibrate

def slow(net, x, observable, sampler, samples, seed):
    time.sleep(0.02)
    axes = 6 if "|" in observable else 4 if observable not in ("K", "Theta") else 2
    value = np.random.default_rng([seed, len(sampler)]).normal(size=(len(x),) * axes)
    return value, np.ones_like(value)

calibrate(Settings(cases=16, seed=2, samplers=("jets", "network")), Path(sys.argv[1]), measure=slow)
"""


def test_a_killed_suite_loses_nothing(tmp_path):
    command = [sys.executable, "-c", SLEEPERS]
    path, other = tmp_path / "killed.jsonl", tmp_path / "whole.jsonl"
    with subprocess.Popen([*command, str(path)], stderr=subprocess.DEVNULL) as suite:
        deadline = time.monotonic() + 300
        while not path.exists() or path.read_bytes().count(b"\n") < 4:
            assert suite.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        suite.send_signal(signal.SIGKILL)
    assert suite.returncode == -signal.SIGKILL
    kept = path.read_bytes()
    assert kept.count(b"\n") < 17
    for journal in (path, other):
        subprocess.run([*command, str(journal)], check=True, stderr=subprocess.DEVNULL, timeout=300)
    assert path.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    resumed, uninterrupted = ([json.loads(line[9:]) for line in p.read_bytes().splitlines()] for p in (path, other))
    assert [line.get("scores") for line in resumed] == [line.get("scores") for line in uninterrupted]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"cases": 0}, "`cases` must be an integer from 1"),
        ({"samples": 100}, "`samples` must be an integer from 10000"),
        ({"samplers": ("jet",)}, "'jet' is not known. Did you mean 'jets'"),
        ({"samplers": ("jets", "jets")}, "`samplers` must be distinct"),
        ({"plant": "sign"}, "`plant` must be one of factor"),
    ],
)
def test_bad_settings(arguments, message):
    with pytest.raises(PdltError, match=message):
        Settings(**arguments)


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--samplers", "jets,dense"], 2, "'dense' is not known"),
        (["-o", "report.txt"], 2, "must end in .md or .json"),
        (["--workers", "0"], 2, "--workers must be an integer"),
        (["--figure", "z.txt"], 2, "--figure must end in"),
    ],
)
def test_command_refuses(arguments, code, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["calibrate", *arguments])
    assert end.value.code == code
    assert message in capsys.readouterr().err


def test_command(monkeypatch, nothing_is_exact, tmp_path, capsys):
    monkeypatch.setattr("pdlt.calibration.suite.calibrate.__defaults__", (None, None, fake))
    report, figure = tmp_path / "report.md", tmp_path / "z.png"
    arguments = ["calibrate", "--cases", "60", "--seed", "2", "--samplers", ",".join(SAMPLERS)]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "-o", str(report), "--figure", str(figure)])
    assert end.value.code == 0
    assert "(z.png)" in report.read_text(encoding="utf-8") and figure.stat().st_size > 10_000
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--plant", "errors"])
    assert end.value.code == 1
    assert "not standard normal" in capsys.readouterr().err


def test_a_file_that_is_no_journal_is_left_alone(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("my precious text without a newline")
    with pytest.raises(PdltError, match="left as it is"):
        Journal(path, {"seed": 1})
    assert path.read_text() == "my precious text without a newline"


def refused(case):
    record = {"case": case, "kind": "samplers", "observable": "K", "sides": ["jets", "path"]}
    return record | {"refused": "no", "by": "path", "seconds": 0.0}


@pytest.mark.parametrize("missing", ["case", "kind", "observable", "sides", "by", "seconds"])
def test_a_line_with_its_checksum_that_lacks_a_field_is_damage(tmp_path, missing):
    path, header = tmp_path / "journal.jsonl", {"seed": 1}
    journal = Journal(path, header)
    journal.add(refused(0))
    line = {**refused(1), "case": "1"} if missing == "case" else refused(1)  # Journal.add itself wants the key
    journal.add({key: value for key, value in line.items() if key != missing or key == "case"})
    with pytest.raises(PdltError, match="line 3 is damaged"):
        Journal(path, header)


def test_two_processes_do_not_write_one_journal(tmp_path):
    """Each would cut off what the other has written since it read the file."""
    path, header = tmp_path / "journal.jsonl", {"seed": 1}
    first = Journal(path, header)
    first.add(refused(0))
    second = Journal(path, header)
    first.add(refused(2))
    before = path.read_bytes()
    with pytest.raises(PdltError, match="written by another process since it was read; it was left as it is"):
        second.add(refused(1))
    assert path.read_bytes() == before and set(Journal(path, header).records) == {0, 2}
    path.unlink()
    with pytest.raises(PdltError, match="cannot be written"):
        first.add(refused(3))
    assert not path.exists()
