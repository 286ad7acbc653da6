"""How good predictions are on labelled points."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pdlt.learning.data import check_labels

if TYPE_CHECKING:
    import xarray


def scores(found: "xarray.Dataset", y_test: Any) -> "xarray.Dataset":
    """Return a result with its errors on labelled test points added.

    Args:
        found: from `pdlt.predict_training` or `pdlt.posterior`.
        y_test: labels of its points, (P, n_L) or (P,).

    Returns:
        Further variables, with dim "time" if the result has it: `squared_error`, the mean over points and outputs of
        (mean - y)^2; and for labels that name classes, `accuracy`, the share of points whose largest output is the
        labelled one. Labels name classes if there are several outputs and, in every row, one label is h and all others
        are l < h.

    Raises:
        PdltError: if the labels are no finite numbers, or do not fit the result.
    """
    mean = found["mean"]
    labels = check_labels(y_test, mean.sizes["point"], "y_test", mean.sizes["output"])
    dims = mean.dims[:-2]
    added = {"squared_error": (dims, ((mean.values - labels) ** 2).mean(axis=(-2, -1)))}
    if _name_classes(labels):
        right = mean.values.argmax(-1) == labels.argmax(-1)
        added["accuracy"] = (dims, right.mean(-1))
    return found.assign(added)


def _name_classes(labels: np.ndarray) -> bool:
    ordered = np.sort(labels, axis=1)
    low, high = ordered[0, 0], ordered[0, -1]
    return bool(low < high and (ordered[:, -1] == high).all() and (ordered[:, :-1] == low).all())
