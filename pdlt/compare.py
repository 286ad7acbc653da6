"""The only place where a prediction meets a measurement."""

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.observables import observable
from pdlt.predict import total
from pdlt.predict.trust import neglected_order

if TYPE_CHECKING:
    import pandas
    import xarray


def compare(
    prediction: "xarray.Dataset", run: "xarray.Dataset", layers: Sequence[int] | None = None
) -> "pandas.DataFrame":
    """Put theory beside measurement.

    Args:
        prediction: from `pdlt.predict`.
        run: from `pdlt.simulate` for the same network and inputs.
        layers: layers to compare; None for every layer of the run after the first, where nothing fluctuates.

    Returns:
        One row per observable, layer and independent entry, with columns `observable`, `layer`, `entry` (indices of
        the inputs), `prediction` (the series summed at the network's width), `neglected` (estimated size of the
        first neglected order), `measured`, `stderr`, `z` = (measured - prediction) / stderr, and `z_total`, the same
        difference over stderr and `neglected` added in quadrature. A large |z| with a small |z_total| is the next
        order in 1/n, not an error. Observables are those present in both.

    Raises:
        PdltError: if the two belong to different networks or inputs, share no observable, or mean different
            things at a kink (see `pdlt.predict`).
    """
    import pandas

    _check_same(prediction, run)
    summed = total(prediction)
    shared = [str(name) for name in summed.data_vars if name in run.data_vars]
    if not shared:
        raise PdltError(
            f"Arguments `prediction` and `run` share no observable: {', '.join(map(str, summed.data_vars))} against "
            f"{', '.join(str(n) for n in run.data_vars if not str(n).endswith('_stderr'))}."
        )
    _check_kinks(prediction, run, shared)
    available = [int(layer) for layer in run.layer.values if layer > 1 or len(run.layer) == 1]
    chosen = available if layers is None else list(layers) if isinstance(layers, Iterable) else [layers]
    if not set(chosen) <= {int(layer) for layer in run.layer.values}:
        raise PdltError(f"Argument `layers` must be among {run.layer.values.tolist()}, but got {layers!r}.")
    rows = []
    for name in shared:
        item = observable(name)
        neglected = neglected_order(prediction, name)
        for layer in chosen:
            value, error = run[name].sel(layer=layer).values, run[f"{name}_stderr"].sel(layer=layer).values
            theory, truncation = summed[name].sel(layer=layer).values, neglected.sel(layer=layer).values
            for entry in np.ndindex(*value.shape):
                if entry != item.canonical(entry):
                    continue
                difference = value[entry] - theory[entry]
                combined = float(np.hypot(error[entry], truncation[entry]))
                z, z_total = score(difference, error[entry]), score(difference, combined)
                row = (name, layer, entry, theory[entry], truncation[entry], value[entry], error[entry], z, z_total)
                rows.append(row)
    columns = ["observable", "layer", "entry", "prediction", "neglected", "measured", "stderr", "z", "z_total"]
    table = pandas.DataFrame(rows, columns=columns)
    table.attrs = {"samples": run.attrs.get("samples"), "sampler": run.attrs.get("sampler")}
    return table


def disagreements(table: "pandas.DataFrame", z_max: float) -> "pandas.DataFrame":
    """Return the rows of a comparison that differ by more than z_max standard errors plus the neglected order."""
    agree = np.abs(table.measured - table.prediction) <= z_max * table.stderr + table.neglected + 1e-9
    return table[~agree]


def score(difference: Any, error: Any) -> float:
    """Return difference / error; without an error, 0 for a difference of rounding size and else infinity."""
    if error > 0 or np.isnan(difference):
        return difference / error
    return 0.0 if abs(difference) < 1e-9 else float("inf")


def _check_same(prediction: "xarray.Dataset", run: "xarray.Dataset") -> None:
    for argument, dataset, kind, maker in (
        ("prediction", prediction, "prediction", "pdlt.predict"),
        ("run", run, "measurement", "pdlt.simulate"),
    ):
        got = getattr(dataset, "attrs", {}).get("kind")
        if got != kind:
            raise PdltError(
                f"Argument `{argument}` must come from {maker}, but it is a {got or 'dataset of unknown origin'}."
            )
    if prediction.attrs["network"] != run.attrs["network"]:
        ours, theirs = (json.loads(dataset.attrs["network"]) for dataset in (prediction, run))
        differ = ", ".join(
            f"{key} is {ours[key]} and {theirs.get(key)}" for key in ours if ours[key] != theirs.get(key)
        )
        raise PdltError(f"Arguments `prediction` and `run` belong to different networks: {differ}.")
    if prediction.attrs["inputs_sha256"] != run.attrs["inputs_sha256"]:
        shapes = " and ".join(str(tuple(dataset.attrs["inputs_shape"])) for dataset in (prediction, run))
        raise PdltError(f"Arguments `prediction` and `run` belong to different inputs (of shapes {shapes}).")


def _check_kinks(prediction: "xarray.Dataset", run: "xarray.Dataset", shared: list[str]) -> None:
    if prediction.attrs["kinks"] == run.attrs["kinks"]:
        return
    affected = [name for name in shared if observable(name).derivatives > 1]
    if affected:
        raise PdltError(
            f"Arguments `prediction` and `run` mean different things at the activation's kink for "
            f"{', '.join(affected)}: {prediction.attrs['kinks']!r} against {run.attrs['kinks']!r}. Predict with "
            "kinks='pointwise' to compare with sampled networks, or leave these observables out."
        )
