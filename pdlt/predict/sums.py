"""Predictions summed in 1/n."""

import json
from typing import TYPE_CHECKING

import numpy as np

from pdlt.errors import PdltError
from pdlt.predict.series import observables_of, summed
from pdlt.predict.trust import neglect, warn_if_untrusted

if TYPE_CHECKING:
    import xarray

#: Kinds of results of learning, whose variables X and X_1 are coefficients of 1 and 1/n_{L-1}.
LEARNED = ("training", "posterior")


def total(prediction: "xarray.Dataset", width: int | None = None) -> "xarray.Dataset":
    """Sum the series in 1/n of every observable of a prediction.

    Args:
        prediction: from `predict`; or from `predict_training` or `posterior`, which know n = n_{L-1} only.
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
    kind = getattr(prediction, "attrs", {}).get("kind")
    if kind in LEARNED:
        return _total_learned(prediction, width)
    if kind != "prediction":
        raise PdltError("Argument `prediction` must come from pdlt.predict, predict_training or posterior.")
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


def _total_learned(prediction: "xarray.Dataset", width: int | None) -> "xarray.Dataset":
    """Return X + X_1/n for every X_1; what has no leading part is X_1/n."""
    import xarray

    widths = json.loads(prediction.attrs["network"])["width"]
    n = float(width if width is not None else widths[-1] if widths else np.inf)
    first = {str(name)[:-2]: prediction[name] / n for name in prediction.data_vars if str(name).endswith("_1")}
    leading = [name for name in ("mean", "covariance", "variance") if name in prediction]
    sums = {name: prediction.get(name, 0.0) + first.get(name, 0.0) for name in dict.fromkeys([*leading, *first])}
    return xarray.Dataset(sums, attrs={**prediction.attrs, "kind": "total", "width": n})
