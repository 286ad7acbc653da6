"""Sweeps over widths and depths: the series in 1/n, measured and compared with the derived one.

    widths, depths ─► runs (pdlt.simulate, one per width and depth)  ─┐
                  └─► predictions (pdlt.predict, one per depth)      ─┴─► fits ─► tables, JSON, figures

`measure` draws the networks, `fitting` knows numbers only, `result` puts measured coefficients beside derived ones.
"""

from pdlt.sweep.measure import sweep
from pdlt.sweep.result import Sweep

__all__ = ["Sweep", "sweep"]
