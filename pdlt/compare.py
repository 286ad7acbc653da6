"""The only place where a prediction meets a measurement."""

import json
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.errors import PdltError
from pdlt.networks import MLP
from pdlt.observables import observable
from pdlt.predict import TruncationWarning, coefficients, predict, total
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
                z, z_total = _score(difference, error[entry]), _score(difference, combined)
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


def width_sweep(
    net: MLP,
    x: Any,
    observables: Sequence[str],
    widths: Sequence[int],
    samples: int | Sequence[int] = 100_000,
    sampler: str = "jets",
    seed: int = 0,
    order: int = 1,
    progress: bool | None = None,
) -> "pandas.DataFrame":
    """Measure networks of several widths and see how fast the truncated series approaches them.

    Args:
        net: the network; its hidden widths are replaced by each of `widths` in turn.
        x: inputs, shape (N, n_0).
        observables: names.
        widths: hidden widths, at least two.
        samples: networks per width, one number or one per width.
        sampler, seed, progress: as in `pdlt.simulate`; width number i uses seed + i.
        order: highest order of the prediction; every lower one at which the observable exists is reported too.

    Returns:
        One row per observable, truncation order and width, for the last layer and the entry of the first input,
        with columns `observable`, `order`, `width`, `prediction`, `measured`, `stderr`, `residual`. The attribute
        `slopes` maps (observable, order) to (p, standard error, expected p) of the fit residual ~ n^-p; expected is
        the power of the first neglected term. p is nan where the residual is not resolved.

    Raises:
        PdltError: for fewer than two widths or unknown observables.
    """
    import pandas

    from pdlt.ensemble import simulate

    widths = list(widths)
    if len(widths) < 2:
        raise PdltError(f"Argument `widths` must hold at least two widths, but got {widths!r}.")
    counts = list(samples) if isinstance(samples, Sequence) else [samples] * len(widths)
    if len(counts) != len(widths):
        raise PdltError(f"Argument `samples` must be one number or {len(widths)} of them, but got {len(counts)}.")
    rows = []
    for i, (width, count) in enumerate(zip(widths, counts, strict=True)):
        resized = MLP(net.depth, width, net.activation, net.C_b, net.C_W, net.lambda_b, net.lambda_W)
        with warnings.catch_warnings():
            # Where the series fails is what a sweep is there to show.
            warnings.simplefilter("ignore", TruncationWarning)
            prediction = predict(resized, x, observables, order=order)
        last = [net.depth]
        run = simulate(resized, x, observables, count, sampler, seed + i, layers=last, progress=progress)
        for name in observables:
            first = (-1,) + (0,) * (prediction[name].ndim - 1)
            value, error = (float(run[key].values[first]) for key in (name, f"{name}_stderr"))
            theory = 0.0
            for j, key in coefficients(prediction, name):
                theory += float(prediction[key].values[first]) / width**j
                truncation = observable(name).leading_order + j
                rows.append((name, truncation, width, theory, value, error, value - theory))
    columns = ["observable", "order", "width", "prediction", "measured", "stderr", "residual"]
    table = pandas.DataFrame(rows, columns=columns)
    table.attrs["slopes"] = {
        (name, truncation): (*residual_slope(group), truncation - observable(name).leading_order + 1)
        for (name, truncation), group in table.groupby(["observable", "order"], sort=False)
    }
    return table


def residual_slope(rows: "pandas.DataFrame") -> tuple[float, float]:
    """Return p and its standard error in a weighted fit of |residual| = c n^-p, from resolved residuals.

    Residuals below three standard errors carry no slope and are left out; with fewer than two left, (nan, nan).
    """
    resolved = rows[np.abs(rows.residual) > 3 * rows.stderr]
    if len(resolved) < 2:
        return float("nan"), float("nan")
    log_n, log_r = np.log(resolved.width.to_numpy(float)), np.log(np.abs(resolved.residual.to_numpy(float)))
    weight = (resolved.residual.to_numpy(float) / resolved.stderr.to_numpy(float)) ** 2
    centre = (weight * log_n).sum() / weight.sum()
    spread = (weight * (log_n - centre) ** 2).sum()
    return float(-(weight * (log_n - centre) * log_r).sum() / spread), float(1 / np.sqrt(spread))


def _score(difference: Any, error: Any) -> float:
    if error > 0:
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
