"""Running derivations: what passes, and every way to fail."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pdlt.checks import Agreement, Identity, Scores, check, claim, load, run
from pdlt.checks.ledger import problems
from pdlt.errors import PdltError

HEAD = "from pdlt.checks import Agreement, Identity, Scores, claim\n"


def text(id: str = "one", level: str = "precision", evidence: str = "Agreement([1], [1], 0, 'w')", **more: str) -> str:
    """Return the source of a claim with a control."""
    uses = more.get("uses", "[]")
    control = more.get("control", "Agreement([1], [2], 0, 'w')")
    body = f"@claim(id={id!r}, statement='s & <t>', level={level!r}, uses={uses})\n"
    body += f"def evidence():\n    return {evidence}\n"
    if control:
        body += f"@evidence.control('planted')\ndef planted():\n    return {control}\n"
    return body


def file(folder: Path, *claims: str, name: str = "01_first.py") -> Path:
    path = folder / name
    path.write_text(HEAD + "\n".join(claims), encoding="utf-8")
    return path


def failure(folder: Path, *claims: str) -> str:
    """Return the message of the only failure."""
    (result,) = run(file(folder, *claims), progress=False).failures
    return result.message


def test_a_good_claim_passes(tmp_path: Path) -> None:
    report = run(file(tmp_path, text()), progress=False)
    assert report.ok
    assert report.summary.startswith("1 passed, 0 failed; 1 of 1 planted errors refuted")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evidence": "Agreement([1], [2], 0, 'w')"}, "refuted"),
        ({"evidence": "Agreement([], [], 0, 'w')"}, "void: nothing to compare"),
        ({"evidence": "1 / 0"}, "ZeroDivisionError"),
        ({"evidence": "exit(3)"}, "SystemExit: 3"),
        ({"evidence": "None"}, "NoneType, which is not evidence"),
        ({"level": "symbolic"}, "'symbolic' is above its evidence, which is 'precision'"),
        ({"control": ""}, "no negative control"),
        ({"control": "Agreement([1], [1], 0, 'w')"}, "control 'planted' is not refuted (holds)"),
        ({"control": "Agreement([0], [0], 0, 'w')"}, "control 'planted' is not refuted (void)"),
        ({"control": "1 / 0"}, "control 'planted' is not refuted (void): the control raised ZeroDivisionError"),
        ({"control": "Identity(1, 2)"}, "control 'planted' is 'symbolic' evidence"),
        ({"uses": "['on']"}, "`uses` names 'on', which does not exist. Did you mean 'one'?"),
        ({"uses": "['one']"}, "leads back to the claim itself"),
    ],
)
def test_every_way_to_fail(tmp_path: Path, change: dict, message: str) -> None:
    assert message in failure(tmp_path, text(**change))


def test_stronger_evidence_than_claimed_is_fine(tmp_path: Path) -> None:
    strong = text(level="ensemble", evidence="Identity(1, 1)", control="Identity(1, 2)")
    assert run(file(tmp_path, strong), progress=False).ok


def test_an_id_used_twice_fails_both(tmp_path: Path) -> None:
    file(tmp_path, text())
    file(tmp_path, text(), name="02_second.py")
    messages = [result.message for result in run(tmp_path, progress=False).failures]
    assert messages == ["the id 'one' is used 2 times"] * 2


def test_circular_uses_fail(tmp_path: Path) -> None:
    path = file(tmp_path, text("one", uses="['two']"), text("two", uses="['one']"))
    assert len(run(path, progress=False).failures) == 2


def test_a_single_file_may_use_its_neighbours(tmp_path: Path) -> None:
    file(tmp_path, text())
    second = file(tmp_path, text("two", uses="['one']"), name="02_second.py")
    report = run(second, progress=False)
    assert report.ok
    assert [result.id for result in report.results] == ["two"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("1 +", "SyntaxError"),
        ("raise RuntimeError('no')", "RuntimeError: no (line 1)"),
        ("import sys\nsys.exit(0)", "SystemExit: 0 (line 2)"),
        ("pass", "holds no claims"),
        ("from pdlt.checks import claim\n@claim(id='a b', statement='s', level='symbolic')\ndef f(): ...", "`id`"),
    ],
)
def test_a_broken_file_is_a_failure_and_does_not_stop_the_others(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "01_broken.py").write_text(source, encoding="utf-8")
    file(tmp_path, text(), name="02_good.py")
    report = run(tmp_path, progress=False)
    assert [(result.id, result.passed) for result in report.results] == [("01_broken.py", False), ("one", True)]
    assert message in report.failures[0].message
    assert not report.ok
    assert ET.fromstring(report.to_junit()).get("errors") == "1"


def test_files_run_in_the_order_of_their_names_and_private_ones_not_at_all(tmp_path: Path) -> None:
    for name, id in (("b.py", "b"), ("a.py", "a"), ("_c.py", "c"), (".d.py", "d")):
        file(tmp_path, text(id), name=name)
    (tmp_path / "sub").mkdir()
    file(tmp_path / "sub", text("e"), name="a.py")
    report = run(tmp_path, progress=False)
    assert [(result.file, result.id) for result in report.results] == [("a.py", "a"), ("b.py", "b"), ("sub/a.py", "e")]


def test_levels_select(tmp_path: Path) -> None:
    symbolic = text("two", "symbolic", "Identity(1, 1)", control="Identity(1, 2)", uses="['one']")
    path = file(tmp_path, text(), symbolic)
    for levels, ids in ((None, ["one", "two"]), ("symbolic", ["two"]), (("precision", "ensemble"), ["one"])):
        report = run(path, levels, progress=False)
        assert report.ok
        assert [result.id for result in report.results] == ids
    with pytest.raises(PdltError, match="no claim of level ensemble"):
        run(path, "ensemble", progress=False)
    with pytest.raises(PdltError, match="Did you mean 'symbolic'"):
        run(path, "symbol", progress=False)
    with pytest.raises(PdltError, match="`levels`"):
        run(path, [], progress=False)


@pytest.mark.parametrize("name", ["missing", "missing.py", "empty", "notes.txt"])
def test_paths_without_derivations_are_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("text", encoding="utf-8")
    with pytest.raises(PdltError, match="Argument `path`"):
        run(tmp_path / name, progress=False)


def test_claims_are_validated_where_they_are_written() -> None:
    good = {"id": "an.id", "statement": "s", "level": "symbolic"}
    bad = [{"id": "a b"}, {"id": 1}, {"level": "symbol"}, {"statement": " "}, {"uses": "an.id"}, {"uses": [1]}]
    for change in bad:
        with pytest.raises(PdltError, match=f"`{next(iter(change))}`"):
            claim(**{**good, **change})
    with pytest.raises(PdltError, match="`planted`"):
        claim(**good)(lambda: Identity(1, 1)).control("")


def test_load_returns_claims_to_parametrize_with(tmp_path: Path) -> None:
    path = file(tmp_path, text())
    (found,) = load(path)
    assert found().verdict().status == "holds"
    assert check(found).passed
    (tmp_path / "02_broken.py").write_text("1 +", encoding="utf-8")
    with pytest.raises(PdltError, match="SyntaxError"):
        load(tmp_path)


def test_a_claim_that_is_checked_alone_still_needs_a_control() -> None:
    made = claim(id="an.id", statement="s", level="symbolic")(lambda: Identity(1, 1))
    assert not check(made).passed
    assert problems([made]) == {0: ["it has no negative control"]}


def test_monte_carlo_controls_must_be_refuted_not_powerless() -> None:
    made = claim(id="an.id", statement="s", level="ensemble")(lambda: Scores([1.0], [1.0], [0.1], z_max=3, seed=0))
    made.control("drowned in noise")(lambda: Scores([2.0], [1.0], [10.0], z_max=3, seed=0))
    assert "not refuted (void)" in check(made).message


# --- reports


def awkward(folder: Path):
    return run(
        file(
            folder,
            text("bad", evidence="1 / 0"),
            text("worse", evidence="(_ for _ in ()).throw(ValueError('<&\"\\x00\\x1b\\ud800 end'))"),
            text("good"),
        ),
        progress=False,
    )


def test_junit_is_valid_xml_with_counts_and_escapes(tmp_path: Path) -> None:
    written = tmp_path / "report.xml"
    written.write_text(awkward(tmp_path).to_junit(), encoding="utf-8")
    root = ET.parse(written).getroot()
    assert (root.tag, root.get("tests"), root.get("failures"), root.get("errors")) == ("testsuites", "3", "2", "0")
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert set(cases) == {"bad", "worse", "good"}
    assert cases["bad"].get("classname") == "01_first"
    assert "ZeroDivisionError" in (cases["bad"].find("failure").get("message") or "")
    assert '<&"' in (cases["worse"].find("failure").text or "")
    assert cases["good"].find("failure") is None
    properties = {p.get("name"): p.get("value") for p in cases["good"].iter("property")}
    assert properties["statement"] == "s & <t>"
    assert properties["level"] == "precision"


def test_json_holds_everything(tmp_path: Path) -> None:
    data = json.loads(awkward(tmp_path).to_json())
    assert (data["schema"], data["ok"]) == ("pdlt.checks/1", False)
    assert [result["passed"] for result in data["results"]] == [False, False, True]
    assert data["results"][2]["controls"] == [
        {"planted": "planted", "refuted": True, "message": data["results"][2]["controls"][0]["message"]}
    ]


def test_the_table_names_failures_and_says_why(tmp_path: Path) -> None:
    table = awkward(tmp_path).table()
    assert "FAILED  bad" in table
    assert "ZeroDivisionError: division by zero" in table
    assert "ok      good" in table
    assert table.splitlines()[-1].startswith("1 passed, 2 failed; 3 of 3 planted errors refuted")


def test_evidence_classes_are_what_a_derivation_imports() -> None:
    assert [kind.level for kind in (Identity, Agreement, Scores)] == ["symbolic", "precision", "ensemble"]
