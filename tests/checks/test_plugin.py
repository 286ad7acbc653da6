"""pytest runs derivations as tests."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

GOOD = """
from pdlt.checks import Identity, claim
@claim(id="good", statement="one is one", level="symbolic")
def good(): return Identity(1, 1)
@good.control("two")
def bad(): return Identity(1, 2)
"""
WRONG = GOOD.replace("good", "wrong").replace("Identity(1, 1)", "Identity(1, 3)")


def pytest_on(folder: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest with the plugin on a project in `folder`, whether or not the plugin is installed."""
    import pdlt.checks.pytest_plugin as plugin

    code = (
        "import sys, pytest\nfrom importlib.metadata import entry_points\n"
        f"name = {plugin.__name__!r}\n"
        "known = any(e.value == name for e in entry_points(group='pytest11'))\n"
        "sys.exit(pytest.main(sys.argv[1:] + ([] if known else ['-p', name])))"
    )
    command = [sys.executable, "-c", code, "-v", "-p", "no:cacheprovider", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    return run.returncode, run.stdout + run.stderr


def project(folder: Path, setting: str = "pdlt_derivations = derivations\n", **files: str) -> None:
    (folder / "pytest.ini").write_text(f"[pytest]\n{setting}", encoding="utf-8")
    (folder / "derivations").mkdir()
    for name, source in files.items():
        (folder / "derivations" / f"{name}.py").write_text(source, encoding="utf-8")


def test_claims_are_items(tmp_path: Path) -> None:
    project(tmp_path, first=GOOD, second=WRONG)
    code, output = pytest_on(tmp_path, "derivations")
    assert code == 1
    assert "first.py::good PASSED" in output
    assert "second.py::wrong FAILED" in output
    assert "refuted: left - right = -2" in output
    assert "Traceback" not in output


def test_selection_is_that_of_pytest(tmp_path: Path) -> None:
    project(tmp_path, first=GOOD, second=WRONG)
    code, output = pytest_on(tmp_path, "derivations", "-k", "good")
    assert code == 0
    assert "1 passed, 1 deselected" in output


def test_a_broken_file_and_a_repeated_id_are_errors(tmp_path: Path) -> None:
    project(tmp_path, first=GOOD, second=GOOD, third="1 +")
    code, output = pytest_on(tmp_path, "derivations")
    assert code != 0
    assert "SyntaxError" in output
    code, output = pytest_on(tmp_path, "derivations/first.py")
    assert code == 1
    assert "used in another file too" in output


def test_without_the_setting_nothing_is_collected(tmp_path: Path) -> None:
    project(tmp_path, setting="", first=GOOD)
    code, output = pytest_on(tmp_path, "derivations")
    assert code == 5
    assert "no tests ran" in output
