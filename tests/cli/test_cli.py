"""The command line: what it prints, writes and returns, and how it refuses bad input."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

import pdlt
from pdlt.cli import COMMANDS, main

NETWORK = ["--activation", "tanh", "--depth", "2", "--width", "16", "--C-W", "1.2"]
X = ["--x", "[[0.9, -0.4, 1.1]]"]


@pytest.fixture
def run(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(run, command):
    code, out, _ = run(command, "--help")
    assert code == 0
    assert f"pdlt {command}" in out
    assert "--config" in out and "--json" in out
    assert "Examples:" in out


def test_derive_prints_equations(run):
    code, out, _ = run("derive", "--observables", "V")
    assert code == 0
    assert "V" in out and "K" in out and "<" in out


def test_derive_json_is_a_theory(run):
    code, out, _ = run("derive", "--observables", "a1 a2 | b3 b4", "--json")
    assert code == 0
    assert pdlt.Theory.from_json(out) == pdlt.derive(["A"])


@pytest.mark.parametrize("suffix", [".tex", ".m", ".json", ".py"])
def test_derive_writes_by_suffix(run, tmp_path, suffix):
    target = tmp_path / f"theory{suffix}"
    code, out, err = run("derive", "--observables", "K", "-o", target)
    assert code == 0 and not out
    assert str(target) in err
    assert target.stat().st_size > 200
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_predict_json_follows_the_schema(run):
    code, out, _ = run("predict", *NETWORK, *X, "--observables", "K,V", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["schema"] == "pdlt.dataset/1"
    assert document["coords"] == {"layer": [1, 2]}
    assert document["data"]["V"]["dims"] == ["layer", "alpha_1", "alpha_2", "alpha_3", "alpha_4"]
    net = pdlt.MLP(2, 16, "tanh", C_W=1.2)
    expected = pdlt.predict(net, [[0.9, -0.4, 1.1]], ["K", "V"])
    assert np.array_equal(document["data"]["K_1"]["values"], expected["K_1"].values)


def test_predict_table_prints_a_series(run):
    code, out, _ = run("predict", *NETWORK[:2], "--depth", "3", *X, "--observables", "K,V")
    assert code == 0
    assert "K[0,0]" in out and "/n + O(1/n^2)" in out
    assert "numerical error" in out


def test_simulate_json_has_stderr(run):
    arguments = ["--observables", "K", "--samples", "200", "--all-layers", "--json"]
    code, out, _ = run("simulate", *NETWORK, *X, *arguments)
    entry = json.loads(out)["data"]["K"]
    assert code == 0
    assert np.shape(entry["values"]) == np.shape(entry["stderr"]) == (2, 1, 1)


def test_output_files_and_compare_from_files(run, tmp_path):
    prediction, measured = tmp_path / "p.json", tmp_path / "r.json"
    assert run("predict", *NETWORK, *X, "--observables", "K,Theta", "-o", prediction)[0] == 0
    arguments = ["--observables", "K,Theta", "--samples", "2000", "-o", measured]
    assert run("simulate", *NETWORK, *X, *arguments)[0] == 0
    code, out, _ = run("compare", "--prediction", prediction, "--run", measured)
    assert code == 0
    assert "K[0,0]" in out and "z" in out


def test_compare_fails_with_code_1_on_a_planted_error(run, tmp_path):
    prediction, measured = tmp_path / "p.json", tmp_path / "r.json"
    run("predict", *NETWORK, *X, "--observables", "Theta", "-o", prediction)
    run("simulate", *NETWORK, *X, "--observables", "Theta", "--samples", "5000", "-o", measured)
    document = json.loads(prediction.read_text())
    document["data"]["Theta"]["values"] = (2 * np.array(document["data"]["Theta"]["values"])).tolist()
    prediction.write_text(json.dumps(document))
    code, _, err = run("compare", "--prediction", prediction, "--run", measured)
    assert code == 1
    assert "Theta[0, 0]" in err


def test_csv_output(run, tmp_path):
    target = tmp_path / "p.csv"
    assert run("predict", *NETWORK, *X, "--observables", "K", "-o", target)[0] == 0
    rows = list(csv.DictReader(target.read_text().splitlines()))
    assert rows[0]["variable"] == "K" and float(rows[0]["value"]) > 0


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
def test_inputs_from_files(run, tmp_path, suffix):
    path = tmp_path / f"inputs{suffix}"
    x = np.array([[0.9, -0.4, 1.1]])
    np.save(path, x) if suffix == ".npy" else path.write_text("0.9,-0.4,1.1\n")
    inline = run("predict", *NETWORK, *X, "--observables", "K", "--json")[1]
    from_file = run("predict", *NETWORK, "--inputs", path, "--observables", "K", "--json")[1]
    assert json.loads(inline) == json.loads(from_file)


def test_config_file_keys_are_the_long_options(run, tmp_path):
    config = tmp_path / "net.toml"
    network = 'activation = "tanh"\ndepth = 2\nwidth = [16]\nC-W = 1.2\n'
    config.write_text(network + 'x = [[0.9, -0.4, 1.1]]\nobservables = "K"\n')
    from_config = run("predict", "--config", config, "--json")[1]
    typed = run("predict", *NETWORK, *X, "--observables", "K", "--json")[1]
    assert json.loads(from_config) == json.loads(typed)
    override = run("predict", "--config", config, "--C-W", "2", "--json")[1]
    assert json.loads(override) != json.loads(typed)


BAD = {
    "unsafe activation": (["predict", "--activation", "__import__('os')", *X], "activation"),
    "two variables": (["predict", "--activation", "z*y", *X], "activation"),
    "power tower": (["predict", "--activation", "z**z**z**z", *X], "activation"),
    "attribute access": (["predict", "--activation", "z.real", *X], "activation"),
    "negative variance": (["predict", *X, "--C-W", "-1"], "`C_W`"),
    "wrong length": (["predict", *X, "--depth", "3", "--C-W", "1,1"], "`C_W`"),
    "zero width": (["predict", *X, "--width", "0"], "`width`"),
    "zero depth": (["predict", *X, "--depth", "0"], "`depth`"),
    "not a number": (["predict", *X, "--C-b", "abc"], "--C-b"),
    "ragged inputs": (["predict", "--x", "[[1, 2], [3]]"], "`x`"),
    "infinite inputs": (["predict", "--x", "[[1e999]]"], "`x`"),
    "malformed inputs": (["predict", "--x", "[[1,"], "--x"),
    "no inputs": (["predict"], "--inputs"),
    "two sources of inputs": (["predict", *X, "--inputs", "a.csv"], "--inputs"),
    "missing file": (["predict", "--inputs", "nowhere.csv"], "nowhere.csv"),
    "wrong kind of file": (["predict", "--inputs", "inputs.xlsx"], ".npy or .csv"),
    "unknown observable": (["predict", *X, "--observables", "Tehta"], "Did you mean 'Theta'?"),
    "vanishing cumulant": (["derive", "--observables", "a1 2 | 3 4"], "odd number"),
    "order": (["derive", "--order", "-1"], "`order`"),
    "order too high": (["derive", "--order", "9"], "`order`"),
    "observable needs a higher order": (["derive", "--observables", "V", "--order", "0"], "order 1"),
    "method": (["predict", *X, "--method", "magic"], "`method`"),
    "kinks": (["predict", *X, "--kinks", "maybe"], "`kinks`"),
    "rtol": (["predict", *X, "--rtol", "-1"], "`rtol`"),
    "sampler": (["simulate", *X, "--sampler", "dice"], "Option --sampler"),
    "samples": (["simulate", *X, "--samples", "0"], "Option --samples"),
    "overflow": (["predict", *X, "--activation", "z**3", "--depth", "40"], "layer"),
    "output suffix": (["predict", *X, "--observables", "K", "-o", "out.xyz"], "--output"),
    "derive suffix": (["derive", "--observables", "K", "-o", "out.xyz"], ".tex"),
    "unknown option": (["predict", "--wdith", "3"], "--width"),
    "unknown command": (["pridict"], "pridict"),
    "unknown claim folder": (["check", "nowhere"], "nowhere"),
    "half a comparison": (["compare", "--prediction", "p.json"], "--run"),
    "missing config": (["predict", "--config", "nowhere.toml"], "nowhere.toml"),
}


@pytest.mark.parametrize("arguments, mentions", BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_words(run, tmp_path, monkeypatch, arguments, mentions):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*arguments)
    assert code == 2
    assert not out
    assert mentions in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_unknown_config_key_is_refused(run, tmp_path):
    config = tmp_path / "bad.toml"
    config.write_text("wdith = 3\n")
    code, _, err = run("predict", "--config", config)
    assert code == 2
    assert "'wdith'" in err and "width" in err


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "other"}', '{"schema": "pdlt.dataset/1"}'])
def test_malformed_dataset_files_are_refused(run, tmp_path, text):
    path = tmp_path / "p.json"
    path.write_text(text)
    code, _, err = run("compare", "--prediction", path, "--run", path)
    assert code == 2
    assert "Traceback" not in err


def test_unwritable_output_is_refused(run, tmp_path):
    code, _, err = run("predict", *NETWORK, *X, "--observables", "K", "-o", tmp_path / "no" / "p.json")
    assert code == 2
    assert "could not be written" in err


def test_console_script_has_no_traceback_and_code_2():
    command = [sys.executable, "-c", "from pdlt.cli import main; main()", "predict", "--x", "[[1]]", "--width", "-3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: Argument `width`")


MALFORMED = {
    "huge integer": (["predict", "--x", "[[" + "9" * 5000 + "]]"], "x"),
    "digits in quotes": (["predict", "--x", '[["1", "2"]]'], "`x`"),
    "z-max": (["compare", *X, "--z-max", "nan"], "--z-max"),
    "options without effect": (["compare", *X, "--prediction", "p.json", "--run", "r.json"], "--x"),
    "many directions": (["derive", "--observables", "abcdef0 abcdef1"], "at most 4 directions"),
}


@pytest.mark.parametrize("arguments, mentions", MALFORMED.values(), ids=MALFORMED)
def test_more_bad_input_is_refused_in_words(run, arguments, mentions):
    code, out, err = run(*arguments)
    assert code == 2
    assert mentions in err and not out


@pytest.mark.parametrize("text", ["x = 2020-01-01\n", "depth = {a = 1}\n"])
def test_config_values_of_the_wrong_type_are_refused(run, tmp_path, text):
    config = tmp_path / "bad.toml"
    config.write_text(text)
    code, _, err = run("predict", *X[:0], "--config", config)
    assert code == 2
    assert err


def test_swapped_and_incomplete_files_are_refused(run, tmp_path):
    prediction, measured = tmp_path / "p.json", tmp_path / "r.json"
    run("predict", *NETWORK, *X, "--observables", "K", "-o", prediction)
    run("simulate", *NETWORK, *X, "--observables", "K", "--samples", "200", "-o", measured)
    assert run("compare", "--prediction", measured, "--run", prediction)[0] == 2
    assert run("compare", "--prediction", prediction, "--run", prediction)[0] == 2
    document = json.loads(measured.read_text())
    for key in ("coords", "attrs"):
        broken = tmp_path / f"{key}.json"
        broken.write_text(json.dumps({**document, key: {}}))
        code, _, err = run("compare", "--prediction", prediction, "--run", broken)
        assert code == 2 and err
    assert run("compare", "--prediction", prediction, "--run", measured)[0] == 0


def test_output_suffix_is_checked_before_computing(run):
    code, _, err = run("simulate", *NETWORK, *X, "--samples", "999999999999", "-o", "out.xyz")
    assert code == 2
    assert ".json or .csv" in err
