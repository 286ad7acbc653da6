"""The main job, as a user runs it."""

import json
import subprocess
import sys

import numpy as np
import pytest

import pdlt

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.slow
def test_demo(tmp_path):
    command = [sys.executable, "-m", "pdlt", "demo", "-o", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    # All 13 observables; 115 correlated entries: P(any |z| > 4.5) is below 1e-3 for a normal z.
    assert {row["observable"] for row in rows} == {*"K Theta V A B D F P Q R S T U".split()}
    assert max(abs(row["z_total"]) for row in rows) < 4.5
    # Power: standard errors are small enough to see the tensors at all.
    diagonal = [row for row in rows if not any(row["entry"])]
    assert all(row["stderr"] < 0.1 * abs(row["measured"]) for row in diagonal)
    out = tmp_path / "out"
    for figure in ("depth.png", "width.png", "slopes.png"):
        assert (out / figure).read_bytes().startswith(PNG)
    theory = pdlt.Theory.from_json((out / "theory.json").read_text())
    assert theory == pdlt.derive(activation="gelu")
    for name in ("theory.tex", "theory.m", "theory_jax.py", "prediction.json", "run_jets.json", "run_network.json"):
        assert (out / name).stat().st_size > 1000
    assert not [p for p in out.iterdir() if p.name.endswith(".part")]


def test_two_inputs_gelu_depth_four_in_a_cold_process():
    """All named tensors for two inputs, depth 4, GELU from a cold process; the bound is generous (issue: 15 s)."""
    code = (
        "import pdlt; x = [[0.9, -0.4, 1.1], [-0.3, 0.8, 0.5]];"
        "p = pdlt.predict(pdlt.MLP(4, 64, 'gelu', C_b=0.17, C_W=1.98), x);"
        "print(sorted(p.data_vars))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "'U'" in done.stdout and "'Theta_1'" in done.stdout


def test_import_does_not_switch_jax_to_double_precision():
    code = "import pdlt, jax.numpy as jnp; pdlt.predict(pdlt.MLP(2, 8, 'tanh'), [[1.0]]); print(jnp.ones(1).dtype)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "float32", done.stderr


def test_results_are_double_precision():
    prediction = pdlt.predict(pdlt.MLP(2, 8, "tanh"), [[1.0]], ["K"])
    assert prediction["K"].dtype == np.float64
