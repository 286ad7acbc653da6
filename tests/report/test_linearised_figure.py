"""The figure of linearisation distances is written, whatever is above its noise."""

import numpy as np

from pdlt.finite import LinearisationDistance
from pdlt.finite.distance import Measured
from pdlt.report.linearised_figure import distance_against_width


def test_figure_is_written(tmp_path):
    widths = np.array([8, 16, 32])
    size = Measured((1 / widths)[:, None], np.array([[0.01], [0.01], [0.1]]))
    spread = Measured(widths**-0.5, np.full(3, 0.01))
    nothing = Measured(np.zeros((3, 1)), np.ones((3, 1)))
    result = LinearisationDistance(widths, np.array([1.0]), 40, nothing, size, nothing, size, spread)
    distance_against_width(result, tmp_path / "distance.png")
    assert (tmp_path / "distance.png").stat().st_size > 10_000
