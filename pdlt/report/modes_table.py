"""Eigenmodes as text tables and CSV."""

from typing import TYPE_CHECKING

import numpy as np

from pdlt.report.tables import align, network_title

if TYPE_CHECKING:
    import xarray

#: Modes that are printed; files and JSON have all.
SHOWN = 20


def modes_table(modes: "xarray.Dataset") -> str:
    """Return the leading eigenmodes of a kernel on a dataset as text."""
    attrs = modes.attrs
    columns = {
        "eigenvalue": modes.eigenvalue.values,
        "over N": modes.per_sample.values,
        "time": modes.time.values,
    }
    if "label_power" in modes:
        columns |= {"label power": modes.label_power.values, "cumulative": modes.cumulative_power.values}
    rows = [
        [str(k + 1), *(f"{values[k]:.4g}" for values in columns.values())]
        for k in range(min(SHOWN, modes.sizes["mode"]))
    ]
    count, n_0 = attrs["inputs_shape"]
    ridge = f"effective dimension {attrs['effective_dimension']:.4g} at ridge {attrs['ridge']:g}"
    lines = [
        network_title(modes),
        f"modes of {attrs['observable']} on {count} inputs of {n_0} components; last layer, infinite width",
        "",
        align(["mode", *columns], rows, ">" * (1 + len(columns))),
        "",
        f"rank {attrs['rank']}, condition number {attrs['condition']:.4g}, {ridge}, "
        f"participation ratio {attrs['participation_ratio']:.4g}",
        "time: in which gradient flow on 1/2 sum (z - y)^2 lowers the mode's error by a factor e",
    ]
    if count > SHOWN:
        lines.insert(4, f"... and {count - SHOWN} more")
    if attrs.get("unresolved_power", 0.0) > 0:
        lines.append(f"label power in modes that are never learned: {attrs['unresolved_power']:.4g}")
    return "\n".join(lines)


def population_table(modes: "xarray.Dataset") -> str:
    """Return eigenvalues and multiplicities on a known input distribution as text."""
    attrs = modes.attrs
    share = modes.power.values.cumsum() / (attrs["diagonal"] or 1.0)
    rows = [
        [
            str(int(degree)),
            f"{number:.6g}",
            _value(value, error),
            _value(power, number * error),
            f"{part:.6f}",
        ]
        for degree, number, value, error, power, part in zip(
            modes.degree.values,
            modes.multiplicity.values,
            modes.eigenvalue.values,
            modes.error.values,
            modes.power.values,
            share,
            strict=True,
        )
    ]
    place = {
        "circle": "the circle (Fourier modes)",
        "sphere": f"the sphere in {attrs['dimension']} dimensions (spherical harmonics)",
        "cube": f"the cube {{-1, 1}}^{attrs['dimension']} (parities)",
    }[attrs["distribution"]]
    head = ["degree", "multiplicity", "eigenvalue", "power", "cumulative share"]
    return "\n".join(
        [
            network_title(modes),
            f"modes of {attrs['observable']} on {place}, x.x/n_0 = {attrs['variance']:g}; last layer, infinite width",
            "",
            align(head, rows, ">>>>>"),
            "",
            f"kernel on the diagonal {attrs['diagonal']:.6g}; in higher degrees "
            f"{_value(attrs['remainder'], attrs['remainder_error'])}",
            "N independent inputs have Gram eigenvalues near N times these, where the multiplicity is well below N",
        ]
    )


def _value(value: float, error: float) -> str:
    return f"{value:.8g}" if error < 1e-7 * abs(value) else f"{value:.2e} ± {error:.0e}"


def to_csv(modes: "xarray.Dataset") -> str:
    """Return what has one number per mode, or per degree, as CSV."""
    dimension = "degree" if "degree" in modes.dims else "mode"
    names = [str(name) for name, values in modes.data_vars.items() if values.dims == (dimension,)]
    columns = [modes[name].values for name in names]
    lines = [",".join([dimension, *names])]
    for k, row in enumerate(zip(*columns, strict=True)):
        lines.append(",".join([str(k if dimension == "degree" else k + 1), *(_text(value) for value in row)]))
    return "\n".join(lines) + "\n"


def _text(value: np.generic) -> str:
    return str(bool(value)).lower() if isinstance(value, np.bool_) else repr(float(value))
