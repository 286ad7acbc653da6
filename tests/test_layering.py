"""The direction of imports: the contracts in pyproject.toml hold, and each of them can fail."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = "from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))"

# What the ensemble may load of ours, transitively, is the network and its activation; none of these.
THEORY_SIDE = {
    *(
        "symbolic",
        "equations",
        "observables",
        "pipeline",
        "export",
        "codegen",
        "numerics",
        "predict",
        "compare",
    ),
    *("checks", "report", "cli"),
}


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the package below `tree`: it looks in the working directory first."""
    wide = {**os.environ, "COLUMNS": "200"}  # long names are wrapped otherwise
    command = [sys.executable, "-c", LINT]
    return subprocess.run(command, cwd=tree, env=wide, capture_output=True, text=True, encoding="utf-8", timeout=120)


def status(run: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Return {name of contract: KEPT or BROKEN} as import-linter printed it."""
    return dict(re.findall(r"^(.+) (KEPT|BROKEN)\b", run.stdout, flags=re.MULTILINE))


def module_file(package: Path, name: str) -> Path:
    """Return the file of a module that may be a single file or a folder."""
    folder = package / name / "__init__.py"
    return folder if folder.exists() else package / f"{name}.py"


def contract_name(identifier: str) -> str:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (name,) = [c["name"] for c in config["tool"]["importlinter"]["contracts"] if c["id"] == identifier]
    return name


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and the contracts, to plant errors in."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "pdlt", tmp_path / "pdlt", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_contracts_hold() -> None:
    run = lint(ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert set(status(run).values()) == {"KEPT"}


@pytest.mark.parametrize(
    ("contract", "module", "statement"),
    [
        ("witness", "ensemble", "import pdlt.symbolic"),
        ("witness", "ensemble", "def later():\n    from pdlt.numerics import anything"),
        ("layers", "networks", "import pdlt.predict"),
        ("no-arrays", "symbolic", "import numpy"),
        ("numerics", "numerics", "import pdlt.equations"),
        ("compare", "compare", "import pdlt.symbolic"),
    ],
)
def test_planted_import_breaks_its_contract(copy: Path, contract: str, module: str, statement: str) -> None:
    file = module_file(copy / "pdlt", module)
    file.write_text(file.read_text(encoding="utf-8") + f"\n\n{statement}\n", encoding="utf-8")
    run = lint(copy)
    assert run.returncode == 1, run.stdout + run.stderr
    assert status(run)[contract_name(contract)] == "BROKEN", run.stdout


def test_every_contract_has_a_planted_import() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (cases,) = [mark.args[1] for mark in test_planted_import_breaks_its_contract.pytestmark]
    assert {c["id"] for c in config["tool"]["importlinter"]["contracts"]} == {case[0] for case in cases}


def test_ensemble_loads_nothing_of_the_theory() -> None:
    """The same by running it: what `import pdlt.ensemble` really brings into a fresh process."""
    code = "import sys, json, pdlt.ensemble; print(json.dumps([m for m in sys.modules if m[:5] == 'pdlt.']))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    loaded = {name.split(".")[1] for name in json.loads(run.stdout)}
    assert "ensemble" in loaded
    assert loaded.isdisjoint(THEORY_SIDE)
