r"""LaTeX: the book's notation, readable by matplotlib, compiled where a LaTeX is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

import pdlt
from pdlt.equations import Equation
from pdlt.export.latex import LINE_WIDTH, document, equation_repr_latex, equation_to_latex, width

ORDER_ONE = pdlt.derive()
ORDER_TWO = pdlt.derive(["V", "K", "1 2 | 3 4 | 5 6"], order=2)
UNNAMED = pdlt.derive(["K", "ab1 ac2 | b3 4 | c5 6"], order=2)

EXPECTED = {
    "K": r"K^{(\ell+1)}_{12} &= C_b + C_W \langle \sigma_1 \sigma_2 \rangle",
    "Theta": r"\Theta^{(\ell+1)}_{12} &= \lambda_b + \lambda_W \langle \sigma_1 \sigma_2 \rangle"
    r" + C_W \Theta^{(\ell)}_{12} \langle \sigma'_1 \sigma'_2 \rangle",
    "V": r"V^{(\ell+1)}_{(12)(34)} &= C_W^2 \left[ \langle \sigma_1 \sigma_2 \sigma_3 \sigma_4 \rangle"
    r" - \langle \sigma_1 \sigma_2 \rangle\langle \sigma_3 \sigma_4 \rangle \right]"
    r" + \frac{n_\ell}{n_{\ell-1}}\frac{C_W^2}{4} \sum_{\beta_1\ldots\beta_4}"
    r" V^{(\ell)}_{(\beta_1\beta_2)(\beta_3\beta_4)}"
    r" \langle \partial_{\beta_1}\partial_{\beta_2}(\sigma_1 \sigma_2) \rangle"
    r"\langle \partial_{\beta_3}\partial_{\beta_4}(\sigma_3 \sigma_4) \rangle",
    "K_1": r"K^{\{1\}(\ell+1)}_{12} &= \frac{n_\ell}{n_{\ell-1}}\frac{C_W}{2} \sum_{\beta_1\beta_2}"
    r" K^{\{1\}(\ell)}_{\beta_1\beta_2} \langle \partial_{\beta_1}\partial_{\beta_2}(\sigma_1 \sigma_2) \rangle"
    r" + \frac{n_\ell}{n_{\ell-1}}\frac{C_W}{8} \sum_{\beta_1\ldots\beta_4}"
    r" V^{(\ell)}_{(\beta_1\beta_2)(\beta_3\beta_4)}"
    r" \langle \partial^{4}_{\beta_1\ldots\beta_4}(\sigma_1 \sigma_2) \rangle",
    "F": r"F^{(\ell+1)}_{1324} &= C_W^2 \Theta^{(\ell)}_{34} \langle \sigma_1 \sigma_2 \sigma'_3 \sigma'_4 \rangle"
    r" + \frac{n_\ell}{n_{\ell-1}} C_W^2 \sum_{\beta_1\beta_2} F^{(\ell)}_{\beta_1\,3\,\beta_2\,4}"
    r" \langle \partial_{\beta_1}(\sigma_1 \sigma'_3) \rangle\langle \partial_{\beta_2}(\sigma_2 \sigma'_4) \rangle",
}


@pytest.mark.parametrize("key", EXPECTED)
def test_notation_of_the_book(key: str) -> None:
    assert equation_to_latex(ORDER_ONE[key]) == EXPECTED[key]


def test_unnamed_cumulants_show_their_components() -> None:
    latex = equation_to_latex(UNNAMED["1 a2 | 3 b4 | ac5 bc6"])
    left = r"&\kappa^{(\ell+1)}\left(\widehat{G}_{1,a\,2}, \widehat{G}_{3,b\,4}, \widehat{G}_{ac\,5,bc\,6}\right)"
    assert latex.split(" \\\\\n")[0] == left
    assert r"\kappa^{(\ell)}\left(\widehat{G}_{\beta_1,a\,2}, \widehat{G}_{\beta_2,b\,4}" in latex


@pytest.mark.parametrize(
    "equation", [e for theory in (ORDER_ONE, ORDER_TWO, UNNAMED) for e in theory], ids=lambda e: e.key
)
def test_every_line_parses_and_fits(equation: Equation) -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    for line in equation_to_latex(equation).split("\\\\\n"):
        mathtext.MathTextParser("path").parse(f"${line.replace('&', '')}$")
        assert line.count("&") == 1
        assert width(line) <= LINE_WIDTH + 8


def test_the_parser_sees_a_planted_error() -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    broken = equation_to_latex(ORDER_ONE["K"]).replace("&", "").replace(r"\rangle", r"\rangel")
    with pytest.raises(ValueError, match="rangel"):
        mathtext.MathTextParser("path").parse(f"${broken}$")


def test_a_notebook_shows_equations() -> None:
    shown = equation_repr_latex(ORDER_ONE["A"])
    assert shown.startswith("$") and shown.endswith("$")
    assert shown.count(r"\begin{aligned}") == 1


def test_fragment_says_where_it_comes_from() -> None:
    fragment = pdlt.derive(["K"], order=0, activation="gelu").to_latex()
    assert f"pdlt {pdlt.__version__}" in fragment
    assert "% Activation: gelu" in fragment
    assert r"\documentclass" not in fragment


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
@pytest.mark.parametrize("theory", [ORDER_ONE, ORDER_TWO, UNNAMED], ids=["one", "two", "unnamed"])
def test_document_compiles(theory: pdlt.Theory, tmp_path: Path) -> None:
    run = compiled(document(theory), tmp_path)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull" not in run.stdout
    assert (tmp_path / "theory.pdf").exists()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_compilation_sees_a_planted_error(tmp_path: Path) -> None:
    broken = document(ORDER_ONE).replace(r"\end{align*}", "", 1)
    assert compiled(broken, tmp_path).returncode != 0


def compiled(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "theory.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "theory.tex"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
