"""Results of regression as text and CSV."""

from typing import TYPE_CHECKING

import numpy as np

from pdlt.report.tables import align, measured, network_title

if TYPE_CHECKING:
    import xarray

#: More predictions than this are counted, not listed.
LISTED = 40

COLUMNS = {"squared_error": "mean squared error", "accuracy": "accuracy", "rounding": "rounding below"}


def at_width(found: "xarray.Dataset") -> "xarray.Dataset":
    """Return a posterior of order 1 with mean and covariance summed at the network's width; others as they are."""
    if found.attrs["kind"] != "posterior" or found.attrs["order"] == 0:
        return found
    n = found.attrs["width"]
    names = [name for name in ("mean", "variance", "covariance") if f"{name}_1" in found]
    return found.assign({name: found[name] + found[f"{name}_1"] / n for name in names})


def regression_table(found: "xarray.Dataset") -> str:
    """Return what was fitted, the scores if there are any, and a few predictions, as text.

    Args:
        found: from `pdlt.predict_training` or `pdlt.posterior`, perhaps with scores, and through `at_width`.
    """
    parts = [_head(found)]
    times = found.time.values if "time" in found.dims else [None]
    shown = {name: title for name, title in COLUMNS.items() if name in found}
    if shown:
        numbers = [np.atleast_1d(found[name].values) for name in shown]
        rows = [[*_time(t), *(f"{column[i]:.4g}" for column in numbers)] for i, t in enumerate(times)]
        head = [*(["time"] if "time" in found.dims else []), *shown.values()]
        parts.append(align(head, rows, ">" * len(head)))
    mean, deviation = found["mean"], deviations(found)
    if mean.size > LISTED:
        parts.append(f"{mean.size} predictions: -o FILE.csv, -o FILE.json or --json")
    else:
        rows = [
            [*_labels(found, index), _with_deviation(float(mean.values[index]), deviation, index)]
            for index in np.ndindex(*mean.shape)
        ]
        head = [*(["time"] if "time" in found.dims else []), "point", "output", "mean ± standard deviation"]
        parts.append(align(head, rows, ">" * (len(head) - 1) + "<"))
    return "\n\n".join(parts)


def _head(found: "xarray.Dataset") -> str:
    a = found.attrs
    repeated = "" if a["training_inputs"] == a["distinct_inputs"] else f" ({a['distinct_inputs']} distinct)"
    counts = (f"{found.sizes[name]} {name}{'s' * (found.sizes[name] > 1)}" for name in ("point", "output"))
    size = f"{a['training_inputs']} training inputs{repeated}, {', '.join(counts)}"
    condition = f"condition number {a['condition']:.3g}"
    if a["kind"] == "posterior":
        order = f" to order 1/n at width {a['width']}" if a["order"] else ""
        method = f"Bayesian posterior{order}, noise {a['noise']:g}"
        head = f"{network_title(found)}\n{method}; {size}\n{condition}, rounding below {a['rounding']:.1g}"
        return head + _evidence(found)
    descent = a["rule"] == "gd"
    rule = f"gradient descent, learning rate {a['learning_rate']:g}" if descent else "gradient flow"
    frozen = f", {a['frozen']} modes frozen" if a["frozen"] else ""
    times = found.learning_time.values[np.isfinite(found.learning_time.values)]
    unit = " steps" if descent else ""
    learned = f"; modes are learned within {times.min():.3g} to {times.max():.3g}{unit}" if len(times) else ""
    return (
        f"{network_title(found)}\n{rule}, ridge {a['ridge']:g}; {size}\n"
        f"tangent kernel: {condition}{frozen}{learned}\n"
        f"gradient descent converges for learning rates below {a['learning_rate_bound']:.4g}"
    )


def _evidence(found: "xarray.Dataset") -> str:
    """Return the log-evidence order by order, as a further line; nothing at order 0."""
    if found.attrs["order"] == 0:
        return ""
    leading, first = float(found.log_evidence), float(found.log_evidence_1) / found.attrs["width"]
    return f"\nlog-evidence {leading:.4f} {first:+.4f} = {leading + first:.4f}"


def deviations(found: "xarray.Dataset") -> np.ndarray | None:
    """Return standard deviations of the shape of the mean, if the result has variances."""
    if "variance" in found:
        variance = found.variance.values
    elif "covariance" in found:
        variance = np.einsum("...ppii->...pi", found.covariance.values)
    else:
        return None
    # A variance to order 1/n can fall below zero; at order 0 none does.
    return np.sqrt(np.maximum(variance, 0.0))


def _time(time: float | None) -> list[str]:
    return [] if time is None else [f"{time:g}"]


def _labels(found: "xarray.Dataset", index: tuple[int, ...]) -> list[str]:
    return [*_time(found.time.values[index[0]] if "time" in found.dims else None), *map(str, index[-2:])]


def _with_deviation(mean: float, deviation: np.ndarray | None, index: tuple[int, ...]) -> str:
    return f"{mean:.6g}" if deviation is None else measured(mean, float(deviation[index]))


def regression_csv(found: "xarray.Dataset") -> str:
    """Return one row per time, point and output: mean and standard deviation."""
    mean, deviation = found["mean"].values, deviations(found)
    lines = [",".join([*(["time"] if "time" in found.dims else []), "point", "output", "mean", "deviation"])]
    for index in np.ndindex(*mean.shape):
        spread = "" if deviation is None else repr(float(deviation[index]))
        lines.append(",".join([*_labels(found, index), repr(float(mean[index])), spread]))
    return "\n".join(lines) + "\n"
