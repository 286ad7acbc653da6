"""Gram matrices as text and as images."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pdlt.report.figures import _pyplot, _save
from pdlt.report.tables import align, network_title

if TYPE_CHECKING:
    import xarray

#: Matrices of at most so many columns are printed; of larger ones only what they look like.
PRINTED = 8


def kernel_table(kernel: "xarray.Dataset") -> str:
    """Return the result of `pdlt.kernel` as text."""
    parts = [network_title(kernel)]
    for name, array in kernel.data_vars.items():
        for layer in kernel.layer.values:
            matrix = array.sel(layer=layer).values
            parts.append(f"{name} at layer {layer}, {len(matrix)} x {matrix.shape[1]}\n{_matrix(matrix)}")
    parts.append(f"numerical error: {kernel.attrs['relative_error']:.0e} relative ({kernel.attrs['method']})")
    return "\n\n".join(parts)


def _matrix(matrix: np.ndarray) -> str:
    if max(matrix.shape) <= PRINTED:
        head = ["", *map(str, range(matrix.shape[1]))]
        rows = [[str(i), *(f"{value:.8g}" for value in row)] for i, row in enumerate(matrix)]
        return align(head, rows, ">" * len(head))
    return f"smallest {matrix.min():.6g}, mean {matrix.mean():.6g}, largest {matrix.max():.6g}"


def kernel_figure(kernel: "xarray.Dataset", path: Path) -> None:
    """Show the matrices of the last layer as images.

    Args:
        kernel: result of `pdlt.kernel`.
        path: image file to write.
    """
    plt = _pyplot()
    count = len(kernel.data_vars)
    figure, axes = plt.subplots(1, count, figsize=(4.6 * count, 4.2), layout="constrained", squeeze=False)
    for axis, array in zip(axes[0], kernel.data_vars.values(), strict=True):
        image = axis.imshow(array.values[-1], interpolation="nearest")
        figure.colorbar(image, ax=axis, shrink=0.8)
        title = f"${array.attrs['latex']}$, layer {int(kernel.layer.values[-1])}"
        axis.set(title=title, xlabel="input (column)", ylabel="input (row)")
    _save(figure, path)
