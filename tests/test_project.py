"""The project around the package: public names, start-up, files that must agree, nothing private."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pdlt
from pdlt._version import __version__ as VERSION

ROOT = Path(__file__).resolve().parents[1]

# The public interface. A name that is added or taken away is added or taken away here, in the same commit.
PUBLIC = (
    "MLP",
    "Activation",
    "activation",
    "derive",
    "closed_form",
    "cumulant",
    "Theory",
    "predict",
    "kernel",
    "recipe",
    "recipe_of",
    "total",
    "criticality",
    "equivalent_learning_rates",
    "scaling",
    "double_scaling",
    "advise",
    "simulate",
    "posterior",
    "log_evidence",
    "predict_training",
    "simulate_training",
    "sample_prior",
    "sample_posterior",
    "sample_training",
    "modes",
    "population_modes",
    "label_log_probability",
    "rank_labels",
    "FiniteNetwork",
    "compare",
    "compare_training",
    "sweep",
    "TruncationWarning",
    "PdltError",
)

# Written in pieces, so that this file does not contain what it looks for.
PRIVATE = [
    "/" + "work/",
    "/" + "tmp/venv",
    "/" + "tmp/plan",
    "/" + "root/",
    "/" + "home/",
    "/" + "opt/",
    "/" + "Users/",
    ".." + "/shared",
    "files." + "pythonhosted",
    "pypi" + ".org",
    "index" + "-url",
    "find" + "-links",
    "local" + "host:",
]


def tracked_files() -> list[Path]:
    """Return what git tracks or would track; the tests that need it are skipped outside a repository."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def private_strings(text: str) -> list[str]:
    return [pattern for pattern in PRIVATE if pattern in text]


def test_nothing_of_a_machine_in_the_repository() -> None:
    found = {}
    for path in tracked_files():
        hits = private_strings(path.read_bytes().decode("utf-8", errors="ignore"))
        if hits:
            found[str(path.relative_to(ROOT))] = hits
    assert not found


def test_the_search_for_machine_paths_finds_one() -> None:
    assert private_strings("see " + "/" + "work/notes.md") == ["/" + "work/"]


def test_public_names() -> None:
    assert set(pdlt.__all__) - {"__version__"} == set(PUBLIC)
    assert set(PUBLIC) <= set(dir(pdlt))
    for name in PUBLIC:
        assert getattr(pdlt, name).__doc__, f"pdlt.{name} has no docstring"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="predikt"):
        _ = pdlt.predikt


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh process has loaded after running `code`."""
    report = "print('\\n' + json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    script = (
        f"import json, sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code\n{report}"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


HEAVY = {"jax", "sympy", "scipy", "xarray", "pandas", "matplotlib"}


@pytest.mark.parametrize("code", ["import pdlt", "from pdlt.cli import main; main(['--help'])"])
def test_start_up_loads_nothing_heavy(code: str) -> None:
    assert loaded_by(code).isdisjoint(HEAVY)


def test_the_start_up_test_sees_a_heavy_import() -> None:
    assert "sympy" in loaded_by("import sympy")


def test_version_is_the_same_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(VERSION)}$", citation, re.MULTILINE)
    assert re.search(rf"^## \[{re.escape(VERSION)}\]", changelog, re.MULTILINE)


def test_constraints_pin_every_dependency_exactly_and_without_addresses() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+(; python_version (<|>=) "3\.\d+")?', pin) for pin in pins)
    pinned = {pin.partition("==")[0].lower().replace("_", "-") for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(r for extra in project["optional-dependencies"].values() for r in extra),
    ]
    names = {re.match(r"[\w.-]+", requirement).group().lower() for requirement in wanted} - {"pdlt"}
    assert names <= pinned


def test_readme_fits_on_a_hundred_lines() -> None:
    readme = ROOT / "README.md"
    if not readme.exists():
        pytest.skip("no README.md yet")
    assert len(readme.read_text(encoding="utf-8").splitlines()) <= 100


def broken_links(page: Path) -> list[str]:
    """Return the relative links and images of a Markdown page that lead to no file."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)\s]+)\)", prose)
    local = [t.partition("#")[0] for t in targets if not re.match(r"[a-z]+:", t)]
    return [target for target in local if target and not (page.parent / target).exists()]


@pytest.mark.parametrize(
    "page", sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]), ids=lambda p: str(p.relative_to(ROOT))
)
def test_docs_links_lead_somewhere(page: Path) -> None:
    assert not broken_links(page)


def test_docs_link_check_finds_a_broken_link(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "[a](page.md#top) [b](missing.md) [c](https://example.org) `[d](code.md)`", encoding="utf-8"
    )
    assert broken_links(page) == ["missing.md"]
