"""The result of a sweep: measured coefficients beside derived ones, residuals and the powers with which they fall."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pdlt.compare import score
from pdlt.equations import variable
from pdlt.observables import observable
from pdlt.predict import coefficients
from pdlt.sweep.fitting import Fit, fit_power, fit_series

if TYPE_CHECKING:
    import pandas
    import xarray

SCHEMA = "pdlt.sweep/1"


class Place(NamedTuple):
    """Which number a fit describes: an observable, a depth, and indices of the inputs."""

    observable: str
    depth: int
    entry: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Series:
    """One entry of an observable at one depth against the width n = n_{L-1}, and what was made of it.

    Attributes:
        n: widths, shape (m,).
        measured, stderr: shape (m,); a cumulant of k components is multiplied by n^(k-1), as in `pdlt.simulate`.
        derived: coefficients of 1, 1/n, ..., as far as they were derived; may be empty.
        derived_error: their numerical errors.
        fit: of all coefficients.
        held: fits of c_j, c_{j+1}, ... with the derived c_0 ... c_{j-1} held fixed, for j = 1 ... len(derived).
    """

    n: np.ndarray
    measured: np.ndarray
    stderr: np.ndarray
    derived: tuple[float, ...]
    derived_error: tuple[float, ...]
    fit: Fit
    held: dict[int, Fit]

    def truncated(self, terms: int, n: np.ndarray | None = None) -> np.ndarray:
        """Return the sum of the first terms of the derived series at widths n."""
        n = self.n if n is None else np.asarray(n, dtype=float)
        return sum((c / n**j for j, c in enumerate(self.derived[:terms])), np.zeros_like(n))


@dataclass(frozen=True, eq=False)
class Sweep:
    """Measurements at several widths, the series in 1/n that describes them, and the derived one.

    For every independent entry, measured(n) = c_0 + c_1/n + ... + c_d/n^d is fitted by least squares with the
    measurements' standard errors, which are independent from width to width. The degree d is one more than the lowest
    one that suffices (the next one or two do not lower chi^2 by what chance exceeds in less than 10 %), and at least
    the number of derived coefficients: the error of each reported coefficient contains the first power not reported.

    Attributes:
        observables: names.
        predictions: depth -> the last layer of `pdlt.predict` (coefficients).
        runs: (depth, width) -> the last layer as measured by `pdlt.simulate`.
        order: of the predictions.
        degree: of the fits, None if it was left to chi^2.
    """

    observables: tuple[str, ...]
    predictions: Mapping[int, "xarray.Dataset"]
    runs: Mapping[tuple[int, int], "xarray.Dataset"]
    order: int
    degree: int | None = None

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths n_{L-1}, ascending."""
        return tuple(dict.fromkeys(n for _, n in self.runs))

    @property
    def depths(self) -> tuple[int, ...]:
        """The depths, ascending."""
        return tuple(dict.fromkeys(depth for depth, _ in self.runs))

    @property
    def doubtful(self) -> tuple[tuple[str, int, int], ...]:
        """Observable, depth and width of measurements whose standard errors are not to be believed."""
        places = [(depth, n, run.attrs.get("errors_doubtful", [])) for (depth, n), run in self.runs.items()]
        return tuple((name, depth, n) for depth, n, names in places for name in names)

    @property
    def doubtful_text(self) -> str:
        """Return these in words, e.g. "V at depth 8 (n = 4, 8)"."""
        found: dict[tuple[str, int], list[int]] = {}
        for name, depth, n in self.doubtful:
            found.setdefault((name, depth), []).append(n)
        return "; ".join(f"{name} at depth {d} (n = {', '.join(map(str, n))})" for (name, d), n in found.items())

    @cached_property
    def series(self) -> dict[Place, Series]:
        """Measurements, derived coefficients and fits of every independent entry."""
        return {place: self._fitted(place) for place in self._places()}

    @property
    def coefficients(self) -> "pandas.DataFrame":
        """Measured and derived coefficients.

        Columns: `observable`, `depth`, `entry`; `coefficient` (K, K_1, ...) and its `power` of 1/n; `measured` and
        `stderr` from the fit of all coefficients (nan beyond its degree); `derived` (nan where it was not computed) and
        `z`; `held`, `held_stderr` and `held_z`, the same from a fit in which the derived lower coefficients are held
        fixed: much more precise, but only as good as these are.
        """
        rows = []
        for place, s in self.series.items():
            shown = s.fit.degree if s.fit.chosen else s.fit.degree + 1
            for j in range(max(shown, len(s.derived))):
                derived, error = (s.derived[j], s.derived_error[j]) if j < len(s.derived) else (math.nan, 0.0)
                free = s.fit.power(j) if j <= s.fit.degree else (math.nan, math.nan)
                held = s.held[j].power(j) if j in s.held else (math.nan, math.nan)
                scores = [score(value - derived, math.hypot(stderr, error)) for value, stderr in (free, held)]
                rows.append(
                    (*place, variable(place.observable, j), j, *free, derived, scores[0], *held, scores[1]),
                )
        names = ["coefficient", "power", "measured", "stderr", "derived", "z", "held", "held_stderr", "held_z"]
        return _table([*Place._fields, *names], rows)

    @property
    def fits(self) -> "pandas.DataFrame":
        """How well the fits describe the measurements.

        Columns: `observable`, `depth`, `entry`, `degree`, `sufficient` (one less, nan if no degree suffices or it
        was given), `chi2`, `dof`, `p_value`; `derived_chi2` and `derived_p`: all derived
        coefficients against the fitted ones at once, correlations included.
        """
        rows = []
        for place, s in self.series.items():
            f = s.fit
            sufficient = math.nan if f.sufficient is None else f.sufficient
            rows.append((*place, f.degree, sufficient, f.chi2, f.dof, f.p_value, *f.distance(s.derived)))
        names = ["degree", "sufficient", "chi2", "dof", "p_value", "derived_chi2", "derived_p"]
        return _table([*Place._fields, *names], rows)

    @property
    def residuals(self) -> "pandas.DataFrame":
        """What the series truncated at each order leaves out.

        Columns: `observable`, `depth`, `entry`, `order`, `width`, `prediction`, `measured`, `stderr`, `residual`.
        """
        rows = []
        for place, s in self.series.items():
            for terms in range(1, len(s.derived) + 1):
                order, theory = self._order(place, terms), s.truncated(terms)
                for k, n in enumerate(s.n):
                    value = s.measured[k]
                    rows.append((*place, order, int(n), theory[k], value, s.stderr[k], value - theory[k]))
        return _table([*Place._fields, "order", "width", "prediction", "measured", "stderr", "residual"], rows)

    @property
    def slopes(self) -> "pandas.DataFrame":
        """The power p with which the residual of each truncation falls, residual ~ n^-p.

        Columns: `observable`, `depth`, `entry`, `order`, `expected` (the power of the first neglected term); `slope`
        and `slope_stderr` of a pure power, which the orders after that bias at small n; `corrected` and
        `corrected_stderr` with one more of the `corrections` exp(b_1/n + ...) than suffices; nan where the
        residuals do not show a power.
        """
        rows = []
        for place, s in self.series.items():
            for terms in range(1, len(s.derived) + 1):
                residual = s.measured - s.truncated(terms)
                pure, corrected = (fit_power(s.n, residual, s.stderr, count) for count in (0, None))
                powers = (pure.p, pure.stderr, corrected.p, corrected.stderr, corrected.corrections)
                rows.append((*place, self._order(place, terms), terms, *powers))
        names = ["order", "expected", "slope", "slope_stderr", "corrected", "corrected_stderr", "corrections"]
        return _table([*Place._fields, *names], rows)

    def disagreements(self, z_max: float) -> "pandas.DataFrame":
        """Return the rows of `coefficients` where a derived one is more than z_max standard errors off."""
        table = self.coefficients
        return table[(np.abs(table.z) > z_max) | (np.abs(table.held_z) > z_max)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; undefined numbers are None."""
        made = next(iter(self.runs.values())).attrs
        network = json.loads(made["network"])
        return {
            "schema": SCHEMA,
            "network": {key: value for key, value in network.items() if key not in ("depth", "width")},
            **{key: made[key] for key in ("inputs_sha256", "inputs_shape", "sampler", "seed", "kinks")},
            "versions": json.loads(made["versions"]),
            "order": self.order,
            "runs": [
                {"depth": d, "hidden": json.loads(run.attrs["network"])["width"], "samples": run.attrs["samples"]}
                for (d, _), run in self.runs.items()
            ],
            "errors_doubtful": [list(place) for place in self.doubtful],
            **{name: _records(getattr(self, name)) for name in ("coefficients", "fits", "slopes", "residuals")},
            "covariances": [
                {**place._asdict(), "entry": list(place.entry), "covariance": s.fit.covariance.tolist()}
                for place, s in self.series.items()
            ],
        }

    def to_json(self) -> str:
        """Return `to_dict` as JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def plot(self, path: str | Path, depth: int | None = None) -> None:
        """Draw a figure: series and residuals against width; for several depths, coefficients against depth.

        Args:
            path: image file to write (.png, .svg, .pdf).
            depth: draw series and residuals at this depth.

        Raises:
            PdltError: without matplotlib, for a depth that was not measured, or if the file cannot be written.
        """
        from pdlt.report.sweep_figure import draw

        draw(self, Path(path), depth)

    def __repr__(self) -> str:
        from pdlt.report.sweep import sweep_table

        return sweep_table(self)

    def _repr_html_(self) -> str:
        from pdlt.report.sweep import sweep_html

        return sweep_html(self)

    def _order(self, place: Place, terms: int) -> int:
        return observable(place.observable).leading_order + terms - 1

    def _places(self) -> Iterator[Place]:
        first = next(iter(self.runs.values()))
        for name in self.observables:
            item = observable(name)
            for depth in self.depths:
                for entry in np.ndindex(*first[name].shape[1:]):
                    if entry == item.canonical(entry):
                        yield Place(name, depth, entry)

    def _fitted(self, place: Place) -> Series:
        name, depth, entry = place
        runs = [self.runs[depth, n] for n in self.widths]
        at = (-1, *entry)
        value, stderr = (np.array([run[key].values[at] for run in runs]) for key in (name, f"{name}_stderr"))
        n = np.array(self.widths, dtype=float)
        derived, errors = self._derived(place)
        fit = fit_series(n, value, stderr, self.degree, least=len(derived))
        last = len(derived) if self.degree is None else min(len(derived), self.degree)
        held = {j: fit_series(n, value, stderr, self.degree, derived[:j]) for j in range(1, last + 1)}
        return Series(n, value, stderr, derived, errors, fit, held)

    def _derived(self, place: Place) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the coefficients up to the first that is unknown, and their numerical errors."""
        prediction = self.predictions.get(place.depth)
        values: list[float] = []
        errors: list[float] = []
        for _, key in coefficients(prediction, place.observable) if prediction is not None else []:
            array = prediction[key]  # type: ignore[index]
            value = float(array.values[(-1, *place.entry)])
            if math.isnan(value):  # undefined at a kink
                break
            values.append(value)
            errors.append(float(array.attrs["relative_error"] * np.abs(array.values).max()))
        return tuple(values), tuple(errors)


def _table(columns: list[str], rows: list[tuple]) -> "pandas.DataFrame":
    import pandas

    return pandas.DataFrame(rows, columns=columns)


def _records(table: "pandas.DataFrame") -> list[dict[str, Any]]:
    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return list(value)
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{name: plain(value) for name, value in row.items()} for row in table.to_dict("records")]
