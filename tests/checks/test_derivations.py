"""The repository's derivations: the ledger is sound, and what is quick is run here too (CI runs all of it)."""

import re
from collections import Counter
from pathlib import Path

import pytest

from pdlt.checks import load, run
from pdlt.checks.ledger import problems

DERIVATIONS = Path(__file__).resolve().parents[2] / "derivations"
TENSORS = ("K", "K_1", "Theta", "Theta_1", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U")


@pytest.fixture(scope="module")
def claims():
    return load(DERIVATIONS)


def test_names_exist_once_and_every_claim_has_a_control(claims) -> None:
    assert problems(claims) == {}


def test_every_tensor_has_its_published_recursion(claims) -> None:
    published = {c.id: c for c in claims}
    for name in TENSORS:
        assert published[f"{name}.recursion"].level == "symbolic"
        assert "arXiv" in published[f"{name}.recursion"].published


def test_the_first_six_files_have_all_three_levels(claims) -> None:
    for path in sorted(DERIVATIONS.glob("0[1-6]_*.py")):
        assert set(Counter(c.level for c in load(path))) == {"symbolic", "precision", "ensemble"}, path.name


def test_the_printed_misprints_are_among_the_controls(claims) -> None:
    planted = " ".join(control.planted for c in claims for control in c.controls)
    for equation in ("(45)", "(50)", "(53)", "(58)", "(63)", "(66)", "(68)"):
        assert equation in planted
    assert "(28)" in " ".join(c.published for c in claims)


def test_symbolic_claims_hold_and_their_planted_errors_are_found() -> None:
    report = run(DERIVATIONS, "symbolic", progress=False)
    assert report.ok, report.table()


def test_the_example_of_the_documentation_runs(tmp_path: Path) -> None:
    page = DERIVATIONS.parent / "docs" / "derivations.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    assert run(tmp_path, progress=False).ok


@pytest.mark.parametrize("path", sorted(DERIVATIONS.glob("*.py")), ids=lambda p: p.stem)
def test_a_derivation_begins_with_prose(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# %% [markdown]"
    assert lines[1].startswith("# # ")
    prose = [line for line in lines if line.startswith("# ") and not line.startswith("# %%")]
    assert sum(map(len, prose)) > 1000
