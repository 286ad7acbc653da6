"""The standalone module runs without the package and gives the package's numbers."""

import ast
import hashlib
import json
import re
import runpy
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import pdlt
from pdlt.errors import PdltError

ONE = [[0.9, -0.4, 1.1]]
TWO = [[0.9, -0.4, 1.1], [0.1, 0.5, -0.3]]
NETWORK = {
    "depth": 3,
    "width": [7, 11],
    "C_b": 0.1,
    "C_W": [1.2, 1.3, 1.1],
    "lambda_b": 0.7,
    "lambda_W": [1.1, 0.9, 1.0],
}

#: Activation -> observables; their closure holds V, B, D, F, Q as well.
CASES = {
    "tanh": ["K", "Theta", "A", "T"],
    "gelu": ["K", "Theta", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U"],
    "relu": ["K", "V", "F"],
    "sin": ["K", "Theta", "A", "T"],
    "erf": ["K", "V"],
    "linear": ["K", "Theta", "A", "T"],
}

#: Runs a module's `predict` where any import of pdlt fails, and prints what it returns.
DRIVER = """
import json, runpy, sys
sys.modules["pdlt"] = None
module = runpy.run_path(sys.argv[1])
network = json.loads(sys.argv[2])
for x in json.loads(sys.argv[3]):
    result = module["predict"](x, **network)
    print(json.dumps({name: [list(a.shape), a.ravel().tolist()] for name, a in result.items()}))
"""


def isolated(*arguments: str, folder: Path) -> str:
    """Run Python without the package's path or any environment of ours; return what it prints."""
    run = subprocess.run(
        [sys.executable, "-I", *arguments], cwd=folder, capture_output=True, text=True, env={}, timeout=300
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def written(theory: pdlt.Theory, folder: Path, text: str | None = None) -> Path:
    path = folder / "theory_jax.py"
    path.write_text(theory.to_jax() if text is None else text, encoding="utf-8")
    return path


def expected(x: Any, activation: str, observables: list[str], **options: Any) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an entry is undefined for a kinked activation is tested elsewhere
        prediction = pdlt.predict(pdlt.MLP(activation=activation, **NETWORK), x, observables, **options)
    return {str(name): prediction[name].values for name in prediction}


def agree(result: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> bool:
    assert set(result) == set(wanted)
    for name, array in wanted.items():
        assert result[name].shape == array.shape, name
        scale = np.abs(array).max(axis=tuple(range(1, array.ndim)), keepdims=True)
        if not (np.abs(result[name] - array) <= 1e-10 * scale).all():
            return False
    return True


@pytest.mark.parametrize("activation", CASES)
def test_without_the_package_it_gives_the_same_numbers(activation: str, tmp_path: Path) -> None:
    theory = pdlt.derive(CASES[activation], activation=activation)
    path = written(theory, tmp_path)
    output = isolated("-c", DRIVER, str(path), json.dumps(NETWORK), json.dumps([ONE, TWO]), folder=tmp_path)
    for x, line in zip((ONE, TWO), output.splitlines(), strict=True):
        result = {name: np.array(values).reshape(shape) for name, (shape, values) in json.loads(line).items()}
        assert agree(result, expected(x, activation, CASES[activation]))


def test_a_planted_error_is_seen(tmp_path: Path) -> None:
    theory = pdlt.derive(["K", "V"], activation="tanh")
    wanted = expected(ONE, "tanh", ["K", "V"])
    text = theory.to_jax()
    module = runpy.run_path(str(written(theory, tmp_path)))
    assert agree(module["predict"](ONE, **NETWORK), wanted)
    term = '+ 1 / 4 * C_W**2 * rho * at(E_02, "21") * at(E_02, "43") * at(V, "1133")'
    assert text.count(term) == 1
    broken = text.replace(term, term.replace("1 / 4", "1 / 5"))
    module = runpy.run_path(str(written(theory, tmp_path, broken)))
    assert not agree(module["predict"](ONE, **NETWORK), wanted)


def test_any_smooth_function_can_be_the_activation(tmp_path: Path) -> None:
    module = runpy.run_path(str(written(pdlt.derive(["K", "F"]), tmp_path)))
    result = module["predict"](TWO, **NETWORK, sigma=lambda z: jnp.tanh(z))
    assert agree(result, expected(TWO, "tanh", ["K", "F"]))
    with pytest.raises(TypeError, match="sigma"):
        module["predict"](TWO, **NETWORK)


def test_pointwise_derivatives_of_a_kink(tmp_path: Path) -> None:
    module = runpy.run_path(str(written(pdlt.derive(["K", "R"], activation="relu"), tmp_path)))
    for pointwise, kinks in ((True, "pointwise"), (False, "atoms")):
        result = module["predict"](ONE, **NETWORK, pointwise=pointwise)
        wanted = expected(ONE, "relu", ["K", "R"], kinks=kinks)
        assert np.array_equal(np.isnan(result["R"]), np.isnan(wanted["R"]))
        assert pointwise == bool(np.isfinite(result["R"]).all())
        assert agree(*({k: np.nan_to_num(a) for k, a in d.items()} for d in (result, wanted)))


def test_coefficients_beyond_the_leading_order_and_unnamed_cumulants(tmp_path: Path) -> None:
    observables = ["K", "V", "1 2 | 3 4 | 5 6"]
    module = runpy.run_path(str(written(pdlt.derive(observables, order=2, activation="sin"), tmp_path)))
    result = module["predict"](ONE, **NETWORK)
    assert {"K_2", "V_1", "1 2 | 3 4 | 5 6"} <= set(result)
    assert agree(result, expected(ONE, "sin", observables, order=2))


def test_axes_follow_the_spec(tmp_path: Path) -> None:
    """B with the slots of its second component exchanged: the same tensor with other axes."""
    observables = ["K", "a1 b2 | b3 a4", "3 a4 | a2 1"]
    module = runpy.run_path(str(written(pdlt.derive(observables, activation="sin"), tmp_path)))
    result = module["predict"](TWO, **NETWORK)
    assert agree(result, expected(TWO, "sin", observables))
    assert not np.allclose(result["a1 b2 | b3 a4"], result["a1 b2 | b3 a4"].swapaxes(3, 4))


def test_equal_inputs_and_a_single_layer(tmp_path: Path) -> None:
    module = runpy.run_path(str(written(pdlt.derive(["K", "V"], activation="tanh"), tmp_path)))
    repeated = module["predict"]([*TWO, TWO[0]], **NETWORK)
    assert np.array_equal(repeated["V"][:, 2, 1, 2, 0], repeated["V"][:, 0, 1, 0, 0])
    shallow = module["predict"](TWO, depth=1, width=5)
    assert shallow["K"].shape == (1, 2, 2) and not shallow["V"].any()


def test_an_overflow_names_the_layer(tmp_path: Path) -> None:
    module = runpy.run_path(str(written(pdlt.derive(["K"], order=0, activation="z**3"), tmp_path)))
    with pytest.raises(ValueError, match="overflows at layer 6"):
        module["predict"]([[3.0, 2.0]], depth=8, width=5, C_W=4.0)


def test_double_precision_stays_inside(tmp_path: Path) -> None:
    module = runpy.run_path(str(written(pdlt.derive(["K"], order=0, activation="tanh"), tmp_path)))
    assert module["predict"](ONE, **NETWORK)["K"].dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32


def test_the_script_prints_a_table_and_json(tmp_path: Path) -> None:
    path = written(pdlt.derive(["K", "V"], activation="tanh"), tmp_path)
    table = isolated(str(path), folder=tmp_path)
    assert re.search(r"^layer +1 +2 +3 +4$", table, re.MULTILINE)
    assert [line.split()[0] for line in table.splitlines()[-3:]] == ["K", "K_1", "V"]
    options = ["--x", json.dumps(TWO), "--depth", "3", "--width", "[7, 11]", "--C-b", "0.1", "--lambda-W", "[1, 1, 1]"]
    document = json.loads(isolated(str(path), *options, "--json", folder=tmp_path))
    assert document["schema"] == "pdlt.dataset/1"
    assert document["coords"] == {"layer": [1, 2, 3]}
    assert document["data"]["V"]["dims"] == ["layer", "alpha_1", "alpha_2", "alpha_3", "alpha_4"]
    assert np.array(document["data"]["V"]["values"]).shape == (3, 2, 2, 2, 2)
    assert document["attrs"]["activation"] == "tanh"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x": [[1.0], [1.0, 2.0]]}, "`x`"),
        ({"x": [1.0]}, "`x`"),
        ({"x": [[float("nan")]]}, "`x`"),
        ({"depth": 0}, "`depth`"),
        ({"width": [7]}, "`width`"),
        ({"width": 0}, "`width`"),
        ({"C_W": [1.0]}, "`C_W`"),
        ({"lambda_b": -1.0}, "`lambda_b`"),
        ({"x": np.eye(7).tolist()}, "distinct inputs"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str, tmp_path: Path) -> None:
    theory = pdlt.derive(["K", "1 2 | 3 4 | 5 6"], order=2, activation="tanh")
    module = runpy.run_path(str(written(theory, tmp_path)))
    with pytest.raises(ValueError, match=message):
        module["predict"](**({"x": ONE} | NETWORK | arguments))


ANY_ACTIVATION = [*CASES, "cos", "leaky_relu(0.2)", "abs", "softplus", "z**3", "z*tanh(log(1 + exp(z)))", None]


@pytest.mark.parametrize("activation", ANY_ACTIVATION)
def test_source_is_clean_and_imports_only_jax_and_numpy(activation: str | None, tmp_path: Path) -> None:
    text = pdlt.derive(activation=activation).to_jax()
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").partition(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported - set(sys.stdlib_module_names) == {"jax", "numpy"}
    pytest.importorskip("ruff")
    path = written(pdlt.derive(["K"], order=0), tmp_path, text)
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "E,F,W"]
    run = subprocess.run([*command, "--line-length", "140", str(path)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


def test_provenance_and_reproducibility() -> None:
    theory = pdlt.derive(["K", "V"], activation="tanh")
    text = theory.to_jax()
    assert text == pdlt.Theory.from_json(theory.to_json()).to_jax()
    assert hashlib.sha256(theory.to_json().encode()).hexdigest() in text
    assert f'"pdlt": "{pdlt.__version__}"' in text
    assert '"observables": ["K", "V"]' in text


def test_the_equation_stands_above_its_code() -> None:
    text = pdlt.derive(["K"], order=0).to_jax()
    assert '    # K\'[1,2] = C_b + C_W <s_1 s_2>\n    at = Axes("12")\n    new_K = (\n' in text


HOSTILE = 'x"""\nimport os\n*) \\input{x}'


def test_nothing_in_a_theory_becomes_code() -> None:
    theory = pdlt.derive(["K"], order=0)
    plain = replace(theory, version="x???" * 10)
    for text, quiet in (
        (replace(theory, version=HOSTILE).to_jax(), plain.to_jax()),
        (replace(theory, version=HOSTILE).to_mathematica(), plain.to_mathematica()),
        (replace(theory, version=HOSTILE).to_latex(), plain.to_latex()),
    ):
        assert len(text.splitlines()) == len(quiet.splitlines())
    for broken in (
        replace(theory, requested=(HOSTILE,)),
        replace(theory, activation=HOSTILE),
        replace(theory, equations=(replace(theory["K"], name=HOSTILE),)),
    ):
        for export in (broken.to_jax, broken.to_mathematica, broken.to_latex):
            with pytest.raises(PdltError):
                export()


def test_a_system_that_is_not_closed_is_refused() -> None:
    theory = pdlt.derive(["K", "F"])
    for missing in ("K", "Theta", "F"):
        rest = tuple(equation for equation in theory if equation.key != missing)
        with pytest.raises(PdltError, match=missing):
            replace(theory, equations=rest).to_jax()
