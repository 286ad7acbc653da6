"""Couplings against depth: recursions iterated, and what dominant balance makes of them. Needs matplotlib."""

from pathlib import Path
from typing import Any

import numpy as np
import sympy as sp

from pdlt.errors import PdltError
from pdlt.networks import MLP
from pdlt.predict import predict
from pdlt.predict.couplings import Scaling, ell
from pdlt.predict.learning_rates import equivalent_learning_rates
from pdlt.predict.scales import natural_size
from pdlt.report.figures import _pyplot, _save
from pdlt.symbolic.double_scaling import double_scaling, r, truncations, w

#: Layers that are iterated; enough for powers to show, little enough for an instant.
_DEPTH = 512
#: Coefficients are wanted, which do not depend on the width, and no warning that the network is too narrow.
_WIDE = 10**9
_SHOWN = ("V", "B", "F", "A", "D", "P", "Q", "R", "S", "T", "U")
_COLOURS = [*(f"C{i}" for i in range(10)), "k"]
_DEFAULT_SHARE = sp.Rational(1, 2)


def couplings_against_depth(result: Scaling, path: Path) -> None:
    """Plot relative sizes times n against depth: iterated recursions (lines) and the leading power (dashed).

    For the scale-invariant class a second panel shows the limit of depth and width to infinity at fixed ratio r, and
    its truncations.

    Args:
        result: from `pdlt.scaling`; an open share of the weights is set to 1/2.
        path: image file to write.

    Raises:
        PdltError: for the approach to a half-stable fixed point, and without matplotlib.
    """
    if (result.criticality.universality_class, result.regime) == ("half-stable", "approach"):
        raise PdltError(
            "Argument `result` must be at rest for a figure of a half-stable activation: its approach takes too many "
            "layers to be iterated."
        )
    plt = _pyplot()
    exact = result.criticality.universality_class == "scale-invariant"
    figure, grid = plt.subplots(1, 1 + exact, figsize=(6.5 + 5 * exact, 4.8), layout="constrained", squeeze=False)
    _depth_panel(grid[0, 0], result)
    if exact:
        _ratio_panel(grid[0, 1], result)
    _save(figure, path)


def iterated(result: Scaling, depth: int = _DEPTH) -> dict[str, np.ndarray]:
    """Return couplings of layers 1 ... depth from the recursions themselves, shape (depth,) each.

    Learning rates are the result's, in the proportion of its share (1/2 if open); inputs start the kernel at K* where
    there is one, else x.x/n_0 = 1.
    """
    c = result.criticality
    weights = float(_number(result.weights))
    rates: Any = (0.0, 1.0) if result.learning_rates == "weights" else (1 - weights, weights)
    if result.learning_rates == "equivalent":
        rates = equivalent_learning_rates(c, depth, biases=rates[0], weights=rates[1])
    C_b, C_W = c.require()
    net = MLP(depth, _WIDE, c.activation, C_b=C_b, C_W=C_W, lambda_b=rates[0], lambda_W=rates[1])
    names = [name for name in _SHOWN if name in result.couplings]
    x = [[float(np.sqrt(c.input_square or 1.0))]]
    found = predict(net, x, ["K", "Theta", *names], order=1, kinks="pointwise")
    scales = {name: np.abs(found[name].values.ravel()).tolist() for name in ("K", "Theta")}
    return {name: found[name].values.ravel() / natural_size(name, scales) for name in names}


def _depth_panel(axes: Any, result: Scaling) -> None:
    layers = np.arange(1, _DEPTH + 1)
    late = layers[9:].astype(float)
    for i, (name, values) in enumerate(iterated(result).items()):
        coupling = result[name]
        if not np.abs(values).max() > 1e-12:
            continue
        sign = "" if values[-1] > 0 else "-"
        axes.plot(layers[1:], np.abs(values[1:]), color=_COLOURS[i], label=f"{sign}{coupling.ratio.replace('n ', '')}")
        term = coupling.leading
        lead = term.expression.xreplace({w: _number(result.weights)})
        if not lead.free_symbols - {ell}:
            dashed = np.abs(sp.lambdify(ell, lead, "numpy")(late) * np.ones_like(late))
            axes.plot(late, dashed, "--", color=_COLOURS[i], linewidth=0.9)
    axes.set(xscale="log", yscale="log", xlabel="depth l", ylabel="n × relative size of the 1/n effect")
    title = f"{result.criticality.activation.to_text()}, {result.criticality.universality_class}"
    shared = "" if result.weights is None else f", w = {_number(result.weights)}"
    axes.set_title(f"{title}{shared}: recursion (lines), leading power (dashed); - where negative", fontsize=9)
    axes.legend(fontsize=7, ncols=2)


def _ratio_panel(axes: Any, result: Scaling) -> None:
    activation = result.criticality.activation
    value = {w: _number(result.weights)}
    (limit,) = double_scaling("V", activation).values()
    ratios = np.linspace(0.001, 0.5, 200)
    exact = sp.lambdify(r, limit.xreplace(value), "numpy")(ratios)
    axes.plot(ratios, exact, "k", label="all orders: " + str(sp.simplify(limit)).replace("**", "^"))
    for order in (1, 2, 3):
        kept = sp.lambdify(r, truncations("V", activation, order).xreplace(value), "numpy")(ratios)
        axes.plot(ratios, kept, "--", label=f"order {order}")
    axes.set(xlabel="r = depth/width", ylabel="V/(n K^2)", ylim=(0, 1.05 * exact[-1]))
    axes.set_title("depth, width → ∞ at fixed ratio: relative variance of the kernel", fontsize=10)
    axes.legend(fontsize=8)


def _number(weights: sp.Expr | None) -> sp.Expr:
    return weights if weights is not None and weights.is_number else _DEFAULT_SHARE
