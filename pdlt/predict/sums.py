"""Predictions summed in 1/n."""

from typing import TYPE_CHECKING

import numpy as np

from pdlt.errors import PdltError
from pdlt.predict.series import observables_of, summed
from pdlt.predict.trust import neglect, warn_if_untrusted

if TYPE_CHECKING:
    import xarray


def total(prediction: "xarray.Dataset", width: int | None = None) -> "xarray.Dataset":
    """Sum the series in 1/n of every observable of a prediction.

    Args:
        prediction: from `predict`.
        width: n for every layer; None for the network's own n_{layer-1}.

    Returns:
        One variable per observable: K + K_1/n + ..., V + V_1/n + ... (the cumulant times n^(m-1), as stored). The
        attribute `width` holds the n of each layer. (`pdlt.compare` sums by itself and takes predictions.)

    Raises:
        PdltError: if `width` is not a positive integer.

    Warns:
        TruncationWarning: if the order cannot be trusted at the given width; about its own, `predict` has warned.
    """
    import xarray

    if width is not None and (isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1):
        raise PdltError(f"Argument `width` must be a positive integer or None, but got {width!r}.")
    if getattr(prediction, "attrs", {}).get("kind") != "prediction":
        raise PdltError("Argument `prediction` must come from pdlt.predict.")
    fan_in = np.asarray(prediction.attrs["fan_in"], dtype=float)
    n = fan_in if width is None else np.full_like(fan_in, width)
    trusted = neglect(prediction, n) is None if width is None else warn_if_untrusted(prediction, n)
    widths = xarray.DataArray(n, dims="layer")
    sums = {
        name: summed(prediction, name, widths).assign_attrs(prediction[name].attrs)
        for name in observables_of(prediction)
    }
    attrs = {**prediction.attrs, "kind": "total", "trusted": int(trusted), "width": n.tolist()}
    return xarray.Dataset(sums, attrs=attrs)
