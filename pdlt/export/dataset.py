"""Predictions and measurements as JSON and CSV, and back."""

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.errors import PdltError

if TYPE_CHECKING:
    import xarray

SCHEMA = "pdlt.dataset/1"


def to_json(dataset: "xarray.Dataset") -> str:
    """Return a dataset as JSON: attrs, coords, and per variable dims, values and (for a run) stderr.

    JSON has no nan and no infinity: among values and attributes they are null, among coordinates (times) "inf".
    """
    data = {}
    for name, array in dataset.data_vars.items():
        if str(name).endswith("_stderr"):
            continue
        entry: dict[str, Any] = {"dims": list(array.dims), "values": _plain(array.values), "attrs": _attrs(array.attrs)}
        if f"{name}_stderr" in dataset:
            entry["stderr"] = _plain(dataset[f"{name}_stderr"].values)
        data[str(name)] = entry
    coords = {str(name): [_coordinate(v) for v in array.values.tolist()] for name, array in dataset.coords.items()}
    document = {"schema": SCHEMA, "attrs": _attrs(dataset.attrs), "coords": coords, "data": data}
    return json.dumps(document, indent=1, allow_nan=False)


def from_json(text: str) -> "xarray.Dataset":
    """Return the dataset written by `to_json`.

    Raises:
        PdltError: if the text is not JSON of the schema "pdlt.dataset/1".
    """
    import xarray

    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise PdltError(f"The document must have schema {SCHEMA!r}, but has {document['schema']!r}.")
        variables = {}
        for name, entry in document["data"].items():
            dims = tuple(entry["dims"])
            variables[name] = xarray.Variable(dims, _array(entry["values"]), entry.get("attrs", {}))
            if "stderr" in entry:
                variables[f"{name}_stderr"] = xarray.Variable(dims, _array(entry["stderr"]))
        dataset = xarray.Dataset(variables, coords=document["coords"], attrs=document["attrs"])
        _require_complete(dataset)
        return dataset
    except PdltError:
        raise
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise PdltError(f"The document must be JSON written by pdlt, but could not be read: {error!r}.") from None


def _require_complete(dataset: "xarray.Dataset") -> None:
    """Raise ValueError unless a dataset that was read has everything that predictions or measurements have."""
    attrs = dataset.attrs
    missing = {"kind", "network", "fan_in", "inputs_sha256", "inputs_shape", "kinks"} - set(attrs)
    if attrs.get("kind") == "prediction":
        missing |= {"order", "scales", "couplings"} - set(attrs)
    if missing or "layer" not in dataset.coords or not dataset.data_vars:
        raise ValueError(f"missing: {', '.join(sorted(missing)) or 'layers or variables'}")
    if not isinstance(json.loads(attrs["network"]), dict) or len(attrs["fan_in"]) != dataset.sizes["layer"]:
        raise ValueError("the network or fan_in does not fit the layers")
    if attrs["kind"] == "prediction" and not isinstance(attrs["order"], int):
        raise ValueError(f"order is {attrs['order']!r}")
    for name, array in dataset.data_vars.items():
        if array.dims != ("layer", *(f"alpha_{i}" for i in range(1, array.ndim))) or len(set(array.shape[1:])) != 1:
            raise ValueError(f"{name} has dims {array.dims}")
        if attrs["kind"] == "prediction" and not isinstance(array.attrs.get("order"), int):
            raise ValueError(f"{name} has no order")
        if attrs["kind"] == "measurement" and not str(name).endswith("_stderr") and f"{name}_stderr" not in dataset:
            raise ValueError(f"{name} has no stderr")


def to_csv(dataset: "xarray.Dataset") -> str:
    """Return a dataset as CSV: one row per variable, layer and entry."""
    lines = ["variable,layer,entry,value,stderr"]
    for name, array in dataset.data_vars.items():
        if str(name).endswith("_stderr"):
            continue
        error = dataset.get(f"{name}_stderr")
        for index in np.ndindex(*array.shape):
            spread = "" if error is None else repr(float(error.values[index]))
            entry = " ".join(map(str, index[1:]))
            layer = int(dataset.layer.values[index[0]])
            lines.append(f'"{name}",{layer},{entry},{float(array.values[index])!r},{spread}')
    return "\n".join(lines) + "\n"


def _plain(values: np.ndarray) -> Any:
    plain = values.astype(object)
    plain[~np.isfinite(values)] = None
    return plain.tolist()


def _array(values: Any) -> np.ndarray:
    return np.array(values, dtype=float)


def _coordinate(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _attrs(attrs: dict[Any, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        value = value.tolist() if isinstance(value, np.generic | np.ndarray) else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {str(key): plain(value) for key, value in attrs.items()}
