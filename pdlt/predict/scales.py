"""The natural sizes of tensors: what estimates of neglected orders are made of."""

import numpy as np

from pdlt.observables import observable

#: Largest |K| and |Theta| at each layer.
Scales = dict[str, list[float]]


def natural_size(name: str, scales: Scales) -> np.ndarray:
    """Return the size that an observable has by dimension, per layer.

    A slot with d derivatives counts as K^((1-d)/2) Theta^(d/2): V ~ K^2, A ~ Theta^2, R ~ Theta^3 / K. It is zero where
    the scales are zero or unknown.
    """
    result = np.ones(len(scales["K"]))
    for slot in observable(name).slots:
        for mean, power in (("K", (1 - len(slot)) / 2), ("Theta", len(slot) / 2)):
            if power:
                size = np.asarray(scales.get(mean, np.zeros_like(result)), dtype=float)
                result = result * np.where(size > 0, size, 1.0) ** power * (size > 0)
    return result


def couplings(leading: dict[str, np.ndarray], scales: Scales) -> dict[str, list[float]]:
    """Return n times the relative size of each leading order-1 tensor, per layer.

    Args:
        leading: the tensors by name, layer first.
        scales: largest |K| and |Theta| per layer.
    """
    found = {}
    for name, array in leading.items():
        natural = natural_size(name, scales)
        ratio = np.divide(largest(array), natural, out=np.zeros_like(natural), where=natural > 0)
        found[name] = [float(r) for r in ratio]
    return found


def largest(array: np.ndarray) -> np.ndarray:
    """Return the largest |entry| of each layer; undefined ones do not count."""
    return np.nan_to_num(np.abs(array)).reshape(len(array), -1).max(axis=1)
