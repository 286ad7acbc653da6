"""What the README and the docs promise is run as printed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language):
    for page in PAGES:
        found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for number, block in enumerate(found):
            yield pytest.param(block, id=f"{page.name}-{number}")


def commands():
    for page in PAGES:
        for line in re.findall(r"^\$ (pdlt [^#\n]*)", page.read_text(encoding="utf-8"), re.MULTILINE):
            # The demo and the derivations are run by the Makefile, which CI and README use.
            if not re.match(r"pdlt (demo|check derivations/\s*$)", line):
                yield pytest.param(line, id=line.strip())


@pytest.mark.parametrize("code", [*blocks("python")])
def test_python_blocks_run(code, tmp_path):
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("line", [*commands()])
def test_shell_commands_run(line, tmp_path):
    command = [sys.executable, "-m", *shlex.split(line)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout or list(tmp_path.iterdir())


def test_readme_shows_what_the_example_prints():
    """The printed table is the real one: same entries, and theory to all its digits (measurements may differ in
    the last bits between platforms)."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code, printed = re.search(r"```python\n(.*?)```\n+```text\n(.*?)```", text, re.DOTALL).groups()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    # Theory to all digits; the last five columns are measured or estimated.
    shown = [line.split()[:-5] for line in printed.splitlines()]
    ours = [line.split()[:-5] for line in done.stdout.splitlines() if "(" in line or "observable" in line]
    assert len(shown) > 4 and shown == ours[-len(shown) :]
