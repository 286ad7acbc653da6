"""Single precision: the same ensembles within errors, seeds and sums without loss."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from pdlt._jax import x64
from pdlt.ensemble import recorded, simulate
from pdlt.ensemble.blocks import words
from pdlt.ensemble.stopping import PILOT
from pdlt.ensemble.store import Record, Store
from pdlt.ensemble.tasks import Recipe, draw
from pdlt.networks import MLP

NET = MLP(3, 8, "tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
X = np.array([[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]])


@pytest.mark.parametrize("sampler, samples", [("jets", 30_000), ("structured", 5000)])
def test_both_precisions_agree(judge, sampler, samples):
    runs = [
        simulate(NET, X, ["K", "Theta", "V", "B"], samples=samples, sampler=sampler, layers=[3], precision=precision)
        for precision in ("float32", "float64")
    ]
    assert [run.attrs["precision"] for run in runs] == ["float32", "float64"]
    assert max(judge.between(*runs).values()) < judge.threshold
    # The runs draw different numbers, so the comparison has power where the errors are small.
    assert min(judge.power(runs[0], ["K", "Theta", "B"]).values()) > 15


def blocks(recipe, numbers):
    means, unfinite, _ = draw(recipe, numbers)
    assert not unfinite and means.dtype == np.float64
    return means


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_no_bit_of_a_seed_or_of_a_block_number_is_lost(tmp_path, precision):
    found = []
    for seed in (5, 5 + 2**32, 2**63 - 1):
        path = tmp_path / f"{seed}.db"
        simulate(NET, X, ["K"], samples=100, seed=seed, layers=[2], store=path, precision=precision)
        with Store(path) as store:
            recipe = recipe_of(store)
        for number in (0, 1, 2**32, 2**32 + 1, 2**47):
            found.append(blocks(recipe, [number])[0])
    assert len({tuple(means) for means in found}) == len(found)
    assert (np.float32(found[0]) == found[0]).all() == (precision == "float32")
    assert [int(word) for word in words(2**63 - 1)] == [2**31 - 1, 2**32 - 1]


def recipe_of(store):
    return Recipe(json.dumps(store.record.spec), store.record.inputs.tobytes())


def test_a_store_knows_its_precision(tmp_path):
    path = tmp_path / "run.db"
    run = simulate(NET, X, ["V"], samples=500, precision="float32", store=path)
    assert recorded(path).identical(run)
    with Store(path) as store:
        spec = {key: value for key, value in store.record.spec.items() if key not in ("precision", "outputs")}
        first = Record(spec, store.record.inputs, store.record.versions)
        found = store.read(0, 10)
    with Store(tmp_path / "first.db", first) as store:  # as written before there was a choice
        store.write(found)
    assert recorded(tmp_path / "first.db").attrs["precision"] == "float64"


def test_the_setting_of_the_process_does_not_matter():
    run = simulate(NET, X, ["V"], samples=100, precision="float32")
    for enabled in (True, False):
        with x64(enabled):
            assert simulate(NET, X, ["V"], samples=100, precision="float32").identical(run)
            assert jnp.ones(1).dtype == (jnp.float64 if enabled else jnp.float32)


def test_rounding_counts_as_exact():
    """G does not fluctuate, and the weights of a wide network are noise at the level of rounding only."""
    still = simulate(MLP(3, 4, "tanh", C_b=0.3, C_W=0.0), X, ["K", "V"], until_stderr=0.01, precision="float32")
    assert still.attrs["samples"] == PILOT * 50 and still.attrs["relative_stderr"] == 0.0
    moving = simulate(MLP(2, 100, "tanh", C_b=0.3), X, ["K"], samples=5000, precision="float32")
    assert float((moving.K_stderr / moving.K).sel(layer=2).min()) > 1e-5  # far above the threshold, 1e-7
