"""Closed forms as text: every format says the same, and what holds only under assumptions says so."""

import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from sympy.parsing.mathematica import parse_mathematica

import pdlt
from pdlt._jax import x64
from pdlt.export.closed_forms import FORMATS, document, notebook
from pdlt.export.latex import LINE_WIDTH, width
from pdlt.symbolic.closed_forms import ClosedForms
from pdlt.symbolic.depth import K, ell, layer
from pdlt.symbolic.expressions import C_W, lambda_b, lambda_W

X = [[0.8, -0.5, 1.3]]
SIZES = [32, 48, 20, 64, 16, 40, 24]
LAYERS = np.arange(1, 9)
SIX = "1 2 | 3 4 | 5 6"

#: name -> arguments of `pdlt.closed_form`, C_W.
CASES: dict[str, tuple[dict[str, Any], float]] = {
    "relu": ({"activation": "relu"}, 2.0),
    "abs, C_W free": ({"activation": "abs", "critical": False}, 1.4),
    "leaky, unequal": ({"activation": "leaky_relu(0.2)", "equal_widths": False}, 2 / 1.04),
    "linear, both": ({"activation": "linear", "critical": False, "equal_widths": False}, 0.7),
    "relu, order 2": (
        {"activation": "relu", "observables": ["K", "V", SIX], "order": 2, "critical": False, "equal_widths": False},
        2.6,
    ),
    "relu, order 2, equal": ({"activation": "relu", "observables": ["K", "V"], "order": 2}, 2.0),
}
GENERAL = pdlt.closed_form(None, None, critical=False)
UNEQUAL = pdlt.closed_form(["K", "V", SIX], None, 3, critical=False, equal_widths=False)


def module(forms: ClosedForms, folder: Path, text: str | None = None) -> dict[str, Any]:
    path = folder / "forms.py"
    path.write_text(forms.to_jax() if text is None else text, encoding="utf-8")
    return runpy.run_path(str(path))


def arguments(forms: ClosedForms, kernel: float, variance: float) -> dict[str, Any]:
    values = {"K": kernel, "C_W": variance, "lambda_b": 0.4, "lambda_W": 0.9}
    chosen = {str(s): values[str(s)] for s in forms.parameters[1:]}
    return chosen if forms.equal_widths else {**chosen, "n": SIZES}


def deviations(name: str, folder: Path, change: tuple[str, str] | None = None) -> dict[str, float]:
    """Return the largest relative deviation of each function of the exported module from `pdlt.predict`."""
    options, variance = CASES[name]
    forms = pdlt.closed_form(**options)
    sizes = 32 if forms.equal_widths else SIZES
    net = pdlt.MLP(8, sizes, options["activation"], C_b=0.0, C_W=variance, lambda_b=0.4, lambda_W=0.9)
    wanted = pdlt.predict(net, X, options.get("observables"), order=forms.order, kinks="pointwise")
    text = forms.to_jax() if change is None else forms.to_jax().replace(*change)
    functions = module(forms, folder, text)["FUNCTIONS"]
    assert set(functions) == set(forms)
    found = {}
    with x64():
        named = arguments(forms, wanted["K"].values[0].item(), variance)
        for key, function in functions.items():
            exact, value = wanted[key].values.reshape(8), np.asarray(function(LAYERS, **named))
            assert value.shape == (8,)
            found[key] = float(np.max(np.abs(value - exact) / np.where(exact == 0, 1.0, np.abs(exact))))
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_module_gives_the_numbers_of_predict(name: str, tmp_path: Path) -> None:
    """Off criticality denominators (chi - 1)^4 amplify rounding a thousandfold: 1e-10 leaves room for that."""
    assert max(deviations(name, tmp_path).values()) < 1e-10


def test_a_wrong_formula_in_the_module_is_seen(tmp_path: Path) -> None:
    wrong = deviations("relu, order 2", tmp_path, ("p_1**2 - p_2", "p_1**2 + p_2"))
    assert {key for key, size in wrong.items() if size > 1e-10} == {"V_1"}
    late = deviations("leaky, unequal", tmp_path, ("jnp.where(m < ell,", "jnp.where(m <= ell,"))
    assert {"V", "A", "B", "D", "F"} <= {key for key, size in late.items() if size > 1e-3}


def test_the_module_runs_alone(tmp_path: Path) -> None:
    (tmp_path / "forms.py").write_text(pdlt.closed_form("V", "relu", 2, equal_widths=False).to_jax(), encoding="utf-8")
    code = "import sys; sys.modules['pdlt'] = None; sys.path.insert(0, '.')\nimport forms; print(forms.V(3, 2, [4, 8]))"
    run = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (run.stdout.strip(), run.stderr) == ("60.0", "")  # 5 K^2 n_2 (1/n_1 + 1/n_2)


def test_functions_take_depths_of_any_shape_and_can_be_differentiated(tmp_path: Path) -> None:
    forms = pdlt.closed_form(["V", "B"], "relu", critical=False, equal_widths=False)
    functions = module(forms, tmp_path)
    depths = jnp.arange(1, 7).reshape(2, 3)
    with x64():
        named = arguments(forms, 0.5, 1.7)
        table = functions["V"](depths, **named)
        assert table.shape == (2, 3)
        inverse = np.cumsum([0.0, *(1 / np.array(SIZES[:5]))])
        last = np.array([1, *SIZES[:5]])  # V = 5 K^2 chi^(2 l - 2) n_(l-1) sum over m < l of 1 / n_m
        assert np.allclose(table.ravel(), 5 * 0.5**2 * 0.85 ** (2 * np.arange(6)) * last * inverse, rtol=1e-13)
        rest = {key: value for key, value in named.items() if key != "C_W"}
        slope = jax.jit(jax.grad(lambda variance: functions["B"](4, C_W=variance, **rest)))(1.7)
        sizes = {sympy.IndexedBase("n", positive=True)[m]: s for m, s in enumerate(SIZES, start=1)}
        exact = sympy.diff(forms["B"].subs(ell, 4).doit().subs(sizes), C_W)
        assert float(slope) == pytest.approx(float(exact.subs({K: 0.5, C_W: 1.7, lambda_b: 0.4, lambda_W: 0.9})), 1e-9)


def test_depths_without_a_width_are_not_a_number(tmp_path: Path) -> None:
    functions = module(pdlt.closed_form("V", "relu", equal_widths=False), tmp_path)
    values = functions["V"](jnp.array([0, 1, 3, 4]), 1.0, jnp.array([8.0, 8.0]))
    assert np.array_equal(values, [np.nan, 0.0, 10.0, np.nan], equal_nan=True)
    assert functions["V"](1, 1.0, []) == 0.0


def test_unusual_slopes_are_printed_as_numbers(tmp_path: Path) -> None:
    with x64():
        for slope in ("sqrt(2)", "0.123456789"):
            forms = pdlt.closed_form(["V", SIX], f"leaky_relu({slope})" if slope[0] == "0" else f"{slope}*z", 2)
            functions = module(forms, tmp_path)["FUNCTIONS"]
            for key, function in functions.items():
                assert float(function(5, 0.7)) == pytest.approx(float(forms[key].subs({ell: 5, K: 0.7})), 1e-14)


def in_own_symbols(expression: sympy.Expr, forms: ClosedForms) -> sympy.Expr:
    names = {"kernel": "K", "CW": "C_W", "lambdab": "lambda_b", "lambdaW": "lambda_W", "secondMoment": "A_2"}
    names |= {f"a{m}": f"a_{m}" for m in (4, 6, 8)} | {f"p{r}": f"p_{r}" for r in (1, 2, 3)}
    own = {s.name: s for form in forms.forms for s in form.expression.free_symbols}
    own |= {s.name: s for value in forms.definitions.values() for s in value.free_symbols}
    own |= {"ell": ell, "m": layer}
    table = {s: own.get(names.get(s.name, s.name), s) for s in expression.free_symbols}
    plain = expression.xreplace(table)
    plain = plain.replace(lambda e: e.func.__name__ == "n", lambda e: sympy.IndexedBase("n", positive=True)[e.args])
    return plain.replace(lambda e: e.func.__name__ == "Sum", lambda e: sympy.Sum(e.args[0], e.args[1]))


def rules(text: str, name: str) -> dict[str, str]:
    (block,) = re.findall(rf"{name} = \{{(.*?)\n\}};", text, flags=re.DOTALL)
    return dict(line.rstrip(",").strip().split(" -> ") for line in block.splitlines() if line.strip())


@pytest.mark.parametrize("forms", [GENERAL, UNEQUAL, pdlt.closed_form(["F", "Q"], "relu", equal_widths=False)])
def test_mathematica_read_back_is_the_formula(forms: ClosedForms) -> None:
    text = forms.to_mathematica()
    found = rules(text, "pdltClosedForms")
    assert len(found) == len(forms)
    for form, right in zip(forms.forms, found.values()):
        if form.key not in ("A", "B", "S"):  # sympy's parser takes seconds for each of these
            assert sympy.simplify(in_own_symbols(parse_mathematica(right), forms) - form.expression) == 0, form.key
    for symbol, right in zip(forms.definitions, rules(text, "pdltDefinitions").values()):
        assert in_own_symbols(parse_mathematica(right), forms) == forms.definitions[symbol]
    code = re.sub(r"\(\*.*?\*\)", "", text, flags=re.DOTALL)
    assert "_" not in code
    assert not set(re.findall(r"[A-Za-z]\w*", code)) & {"C", "D", "E", "I", "K", "N", "O"}


def test_a_planted_error_in_mathematica_is_seen() -> None:
    right = rules(GENERAL.to_mathematica(), "pdltClosedForms")["tV"]
    wrong = in_own_symbols(parse_mathematica(right.replace("3*a4", "2*a4")), GENERAL)
    assert sympy.simplify(wrong - GENERAL.forms[4].expression) != 0


def test_json_is_strict_and_complete() -> None:
    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    data = json.loads(UNEQUAL.to_json(), parse_constant=refuse)
    assert data["schema"] == "pdlt.closed-forms/1"
    assert (data["activation"], data["order"], data["critical"], data["equal_widths"]) == (None, 3, False, False)
    assert list(data["formulas"]) == list(UNEQUAL)
    assert data["formulas"]["K"] == "K*chi**(ell - 1)"
    assert data["definitions"]["p_2"] == "Sum(n[m]**(-2), (m, 1, ell - 1))"
    used = {str(s) for form in UNEQUAL.forms for s in form.expression.free_symbols}
    named = {name.partition("[")[0] for name in data["symbols"]}
    assert {name.partition("[")[0] for name in used} <= named
    assert "C_b = 0" in " ".join(data["assumptions"])


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("critical", [True, False])
def test_every_format_states_its_assumptions(suffix: str, critical: bool) -> None:
    forms = pdlt.closed_form(["K", "V"], "leaky_relu(0.2)", critical=critical, equal_widths=False)
    text = " ".join(re.sub(r"[$%#\\]", " ", FORMATS[suffix](forms)).split())
    for words in ("One input", "C_b = 0", "leaky_relu(0.2)", "pointwise", "every layer", f"pdlt {pdlt.__version__}"):
        assert words in text or (suffix == ".json" and words == f"pdlt {pdlt.__version__}"), words
    assert ("(critical)" in text) == critical
    assert "kernel of layer 1" in text


@pytest.mark.parametrize("forms", [GENERAL, UNEQUAL, pdlt.closed_form(None, None, 2)], ids=["free", "widths", "two"])
def test_every_line_of_latex_parses_and_fits(forms: ClosedForms) -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    blocks = re.findall(r"\\begin\{align\*\}\n(.*?)\n\\end\{align\*\}", forms.to_latex(), flags=re.DOTALL)
    assert len(blocks) == len(forms) + len(forms.definitions)
    for line in "\\\\\n".join(blocks).split("\\\\\n"):
        plain = re.sub(r"\\Big[lr]", "", line.replace("&", ""))
        mathtext.MathTextParser("path").parse(f"${plain}$")
        assert line.count("&") == 1
        assert width(line) <= LINE_WIDTH


def test_latex_names_and_notation() -> None:
    assert r"V^{(\ell)} &= 5 K^{2} \left(\ell - 1\right)" in pdlt.closed_form("V", "relu").to_latex()
    latex = UNEQUAL.to_latex()
    assert r"\chi &= A_{2} C_{W}" in latex
    assert r"p_{1} &= \sum_{m=1}^{\ell - 1} \frac{1}{{n}_{m}}" in latex
    assert r"\kappa^{\{1\}(\ell)}\left(\widehat{G}_{0,0}, \widehat{G}_{0,0}, \widehat{G}_{0,0}\right) &= " in latex
    shown = notebook(UNEQUAL)
    assert shown == UNEQUAL._repr_latex_()
    assert shown.startswith("$") and shown.endswith("$") and shown.count(r"\begin{aligned}") == 1


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs a LaTeX")
def test_the_document_compiles_without_overfull_lines(tmp_path: Path) -> None:
    (tmp_path / "forms.tex").write_text(document(GENERAL), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "forms.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull" not in run.stdout


def test_plain_text() -> None:
    lines = str(pdlt.closed_form(["V", SIX], "relu", 3, critical=False, equal_widths=False)).splitlines()
    assert lines[0] == f"Closed forms in depth, derived by pdlt {pdlt.__version__}: V, {SIX} to order 3 in 1/n."
    assert "chi = C_W/2" in lines
    assert "V(ell) = 5*K^2*chi^(2*ell - 2)*p_1*n[ell - 1]" in lines
    assert any(line.startswith(f"kappa({SIX})_1(ell) = ") for line in lines)
    assert all(len(line) <= 110 for line in lines)
