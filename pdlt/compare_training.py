"""Where a prediction of training meets an ensemble of trained networks."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.compare import score
from pdlt.errors import PdltError

if TYPE_CHECKING:
    import pandas
    import xarray

#: What can be compared, in the order of tables.
OBSERVABLES = ("mean", "variance", "covariance", "kernel_change", "alignment", "hidden_kernel_change")

COLUMNS = ["observable", "time", "entry", "kernel_machine", "prediction", "neglected"]
COLUMNS += ["measured", "stderr", "z", "z_total"]


def compare_training(prediction: "xarray.Dataset", run: "xarray.Dataset | None" = None) -> "pandas.DataFrame":
    """Put what a kernel machine and the expansion in 1/n say of training beside what trained networks do.

    Args:
        prediction: from `pdlt.predict_training`, of order 0 or 1.
        run: from `pdlt.simulate_training`, same network, points and rule. None for the columns of theory alone.
            What was not measured is nan, as at times that it does not have.

    Returns:
        One row per observable, time and independent entry, with columns `observable`, `time`, `entry` (indices of
        layers, points, outputs, in the order of the variable's dimensions), `kernel_machine` (order 0), `prediction`
        (summed to its order at the network's width), `neglected` (estimated size of the next order, see `neglected`),
        `measured`, `stderr` (the prediction's sampling error included), `z` = (measured - prediction)/stderr and
        `z_total`, over stderr and `neglected` added in quadrature. A `variance` is compared with the diagonal of a
        measured covariance.

    Raises:
        PdltError: if the two belong to different networks, points or rules of training, or share no time.
    """
    import pandas

    if getattr(prediction, "attrs", {}).get("kind") != "training":
        raise PdltError("Argument `prediction` must come from pdlt.predict_training.")
    if run is not None:
        _check_same(prediction, run)
    times = prediction.time.values
    if run is not None and not np.isin(times, run.time.values).any():
        raise PdltError(
            f"Arguments `prediction` and `run` share no time: {times.tolist()} against {run.time.values.tolist()}."
        )
    rows: list[tuple[Any, ...]] = []
    for name in OBSERVABLES:
        if name not in prediction and f"{name}_1" not in prediction:
            continue
        leading, total, error = summed(prediction, name)
        axis = _axis(prediction, name)
        values = [leading, total, error, neglected(prediction, name)]
        values += [np.full_like(total, np.nan)] * 2 if run is None else _measured(run, name, times, total, axis)
        values = [np.moveaxis(value, axis, 0) for value in values]
        for k, time in enumerate(times):
            rows += _rows(name, float(time), [value[k] for value in values])
    return pandas.DataFrame(rows, columns=COLUMNS)


def summed(prediction: "xarray.Dataset", name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return an observable at order 0, at the prediction's order and the network's width, and its sampling error."""
    n = width(prediction)
    first = prediction[f"{name}_1"].values if f"{name}_1" in prediction else None
    if name in prediction:
        leading = prediction[name].values
    else:  # kernels do not move at order 0
        assert first is not None
        leading = np.zeros_like(first)
    if first is None:
        return leading, leading, np.zeros_like(leading)
    sampled = f"{name}_1_stderr"
    error = prediction[sampled].values / n if sampled in prediction else np.zeros_like(leading)
    return leading, leading + first / n, error


def width(prediction: "xarray.Dataset") -> float:
    """Return n, the width before the last layer, in whose inverse powers coefficients are counted."""
    widths = json.loads(prediction.attrs["network"])["width"]
    return float(widths[-1]) if widths else np.inf


def neglected(prediction: "xarray.Dataset", name: str) -> np.ndarray:
    """Return the estimated size of the first order in 1/n that is left out, one number per time, broadcast.

    Orders of magnitude, not bounds (docs/training.md has measured ones). At order 1 the root mean square of the
    correction over entries times `cost`; for the mean that of the sum of the absolute values of its parts, which partly
    cancel; of an entry's own correction if that is larger; for variances at least `cost` squared of the leading term,
    for their corrections change sign in training. At order 0 `cost` times the leading term. It does not fall in the
    course of training.
    """
    leading, total, _ = summed(prediction, name)
    axis = _axis(prediction, name)
    price = cost(prediction).reshape([-1 if k == axis else 1 for k in range(leading.ndim)])
    if f"{name}_1" not in prediction:
        found = price * _rms(leading, axis)
    elif name == "mean":
        found = price * _rms(_parts(prediction), axis)
    else:
        found = price * np.maximum(_rms(total - leading, axis), np.abs(total - leading))
        if name in ("variance", "covariance"):
            found = np.maximum(found, price**2 * _rms(leading, axis))
    # What went wrong in the middle of training is not forgotten at its end.
    return np.broadcast_to(np.maximum.accumulate(found, axis=axis), leading.shape)


def cost(prediction: "xarray.Dataset") -> np.ndarray:
    """Return what one more power of 1/n is estimated to cost, shape (T,).

    The larger of the number of hidden layers over the width, and of the mean's correction relative to the standard
    deviation between networks (to the mean itself, if that is not known), both as root mean squares over points.
    """
    network = json.loads(prediction.attrs["network"])
    least = np.full(prediction.sizes["time"], (network["depth"] - 1) / width(prediction))
    if "mean_1" not in prediction:
        return least
    variance = prediction["variance"].values if "variance" in prediction else prediction["mean"].values ** 2
    if "covariance" in prediction:
        variance = np.einsum("tppii->tpi", prediction["covariance"].values)
    spread = np.sqrt(variance.mean(axis=(1, 2)))
    size = _rms(_parts(prediction), 0).reshape(-1)
    return np.maximum(least, np.divide(size, spread, out=np.zeros_like(size), where=spread > 0))


def _parts(prediction: "xarray.Dataset") -> np.ndarray:
    """Return the sum of the sizes of the parts of the mean's correction at the network's width."""
    parts: np.ndarray = np.abs(prediction["mean_1_parts"].transpose("part", "time", ...).values).sum(axis=0)
    return parts / width(prediction)


def _rms(values: np.ndarray, axis: int) -> np.ndarray:
    """Return root mean squares over all axes but one, which are kept."""
    others = tuple(k for k in range(values.ndim) if k != axis)
    size: np.ndarray = np.sqrt((values**2).mean(axis=others, keepdims=True))
    return size


def _axis(prediction: "xarray.Dataset", name: str) -> int:
    variable = prediction[name] if name in prediction else prediction[f"{name}_1"]
    return int(variable.dims.index("time"))


def _measured(run: "xarray.Dataset", name: str, times: np.ndarray, like: np.ndarray, axis: int) -> list[np.ndarray]:
    """Return values and standard errors of the shape of `like`, nan where nothing was measured."""
    found = [np.full(like.shape, np.nan) for _ in range(2)]
    key = "covariance" if name == "variance" else name
    if key not in run:
        return found
    for into, source in zip(found, (key, f"{key}_stderr")):
        values = run[source].values
        values = np.einsum("tppii->tpi", values) if name == "variance" else values
        for k in np.flatnonzero(np.isin(times, run.time.values)):
            place = int(np.flatnonzero(run.time.values == times[k])[0])
            np.moveaxis(into, axis, 0)[k] = np.moveaxis(values, axis, 0)[place]
    return found


def _rows(name: str, time: float, values: list[np.ndarray]) -> Iterator[tuple[Any, ...]]:
    for entry in np.ndindex(*values[0].shape):
        if not _independent(name, entry):
            continue
        leading, total, error, left_out, measured, stderr = (float(value[entry]) for value in values)
        noise = float(np.hypot(stderr, error))
        difference = measured - total
        z, z_total = (score(difference, size) for size in (noise, float(np.hypot(noise, left_out))))
        yield name, time, entry, leading, total, left_out, measured, noise, z, z_total


def _independent(name: str, entry: tuple[int, ...]) -> bool:
    """Return whether an entry of a symmetric tensor is the one that stands for it and its mirror image."""
    if name in ("covariance", "kernel_change"):
        point, other, output, other_output = entry
        return (point, output) <= (other, other_output)
    if name == "hidden_kernel_change":
        return entry[1] <= entry[2]
    return True


def _check_same(prediction: "xarray.Dataset", run: "xarray.Dataset") -> None:
    if getattr(run, "attrs", {}).get("kind") != "trained ensemble":
        raise PdltError("Argument `run` must come from pdlt.simulate_training.")
    for key, what in (
        ("network", "networks"),
        ("train_sha256", "training data"),
        ("test_sha256", "test points"),
        ("rule", "rules of training"),
        ("learning_rate", "learning rates"),
    ):
        one, two = prediction.attrs.get(key), run.attrs.get(key)
        if one != two:
            shown = "" if key.endswith("sha256") else f": {one} and {two}"
            raise PdltError(f"Arguments `prediction` and `run` belong to different {what}{shown}.")
