"""The series in 1/n of an observable, as a prediction stores it: coefficient by coefficient."""

from typing import TYPE_CHECKING, Any

from pdlt.equations import variable

if TYPE_CHECKING:
    import xarray


def coefficients(prediction: "xarray.Dataset", name: str) -> list[tuple[int, str]]:
    """Return (j, key) of every coefficient of an observable that a prediction holds, leading one first."""
    return [(j, variable(name, j)) for j in range(prediction.attrs["order"] + 1) if variable(name, j) in prediction]


def observables_of(prediction: "xarray.Dataset") -> list[str]:
    """Return the names of the observables that a prediction holds."""
    return [str(key) for key, array in prediction.data_vars.items() if array.attrs["order"] == 0]


def summed(prediction: "xarray.Dataset", name: str, n: Any) -> "xarray.DataArray":
    """Return X + X_1/n + X_2/n^2 + ..., n being a number or one per layer (a DataArray with dimension "layer")."""
    terms = [prediction[key] / n**j for j, key in coefficients(prediction, name)]
    return sum(terms[1:], terms[0])
