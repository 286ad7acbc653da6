"""Advice as a text table and a figure."""

import textwrap
from pathlib import Path

import numpy as np

from pdlt.predict.advice import Advice
from pdlt.predict.trust import THRESHOLD
from pdlt.report.figures import _pyplot, _save
from pdlt.report.tables import align

_CHOSEN = {"depth": "the depth was chosen here", "width": "the width was chosen here"}
_SCALING = {
    "scale-invariant": "the same in every layer, proportional to 1/L",
    "K*=0": "deep inside, lambda_b ~ l^-p_perp L^(p_perp - 1) and lambda_W ~ l^(p_0 - p_perp) L^(p_perp - 1)",
    "half-stable": "at K = K* the same in every layer, proportional to 1/L",
}


def advice_table(advice: Advice) -> str:
    """Return everything as text: initialisation, learning rates, shape, expected effects, growth with depth."""
    parts = [
        _head(advice),
        "INITIALISATION\n" + _initialisation(advice),
        "LEARNING RATES of full-batch gradient descent with step eta < 2 (Theta = 1)\n" + _rates(advice),
        "SHAPE\n" + _shape(advice),
        "WHAT TO EXPECT\n" + _expected(advice),
        "GROWTH WITH DEPTH at this width\n" + _growth(advice),
        "ASSUMPTIONS\n" + "\n".join(_wrapped(name, text) for name, text in advice.assumptions.items()),
    ]
    return "\n\n".join(parts)


def prepare_figure() -> None:
    """Check that figures can be drawn.

    Raises:
        PdltError: if matplotlib is not installed.
    """
    _pyplot()


def advice_figure(advice: Advice, path: Path) -> None:
    """Plot the expected effects against depth at fixed width, with the optimal depth and the limit of trust.

    Args:
        advice: from `pdlt.advise`.
        path: image file to write.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    profile = advice.profile
    curves = {
        r"output variance between seeds, $\sqrt{V/(nK^2)}$": np.sqrt(profile.coupling),
        r"tangent kernel between seeds, $\sqrt{(A+2B)/n}/\Theta$": profile.ntk_fluctuation,
        "squared gradient norm between seeds": profile.gradient_fluctuation,
    }
    for label, values in curves.items():
        axes.plot(profile.depth, values, label=label)
    change, error = profile.ntk_change, profile.ntk_change_error
    (line,) = axes.plot(profile.depth, change, label="mean change of the kernel by fitting one point")
    axes.fill_between(profile.depth, change - error, change + error, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.axvline(advice.depth, color="k", linewidth=1, label=f"depth {advice.depth}")
    last = float(profile.depth[-1])
    if advice.optimal_depth is not None and advice.optimal_depth <= last:
        label = f"optimal depth {advice.optimal_depth:.1f}"
        axes.axvline(advice.optimal_depth, color="k", linestyle=":", linewidth=1, label=label)
    if advice.trusted_depth is not None:
        label = f"beyond depth {advice.trusted_depth}: order 1/n is not trusted"
        axes.axvspan(max(advice.trusted_depth, profile.depth[0]), last, color="0.9", label=label)
    # Where the feature learning is not resolved, its band would flatten everything else.
    top = max(1.0, *(float(values.max()) for values in curves.values()))
    bottom = max(-top, 1.5 * min(-0.05, float(change.min())))
    axes.set(xlabel="depth L", ylabel="relative size", xlim=(float(profile.depth[0]), last), ylim=(bottom, 1.05 * top))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"{advice.activation.to_text()}, width {advice.width}, critical initialisation", fontsize=10)
    axes.legend(fontsize=8)
    _save(figure, path)


def _head(advice: Advice) -> str:
    chosen = f" ({_CHOSEN[advice.chosen]})" if advice.chosen else ""
    return (
        f"{advice.activation.to_text()}: depth {advice.depth}, width {advice.width}{chosen}, {advice.outputs} "
        f"output{'s' * (advice.outputs != 1)}, {advice.input_dimension} inputs with x.x/n_0 = {advice.input_square:.6g}"
    )


def _initialisation(advice: Advice) -> str:
    critical = advice.criticality
    rows = [
        ["class", critical.universality_class],
        ["biases", f"variance C_b = {critical.C_b:.9g}"],
        ["weights", f"variance C_W/fan-in with C_W = {critical.C_W:.9g}"],
        ["inputs", f"scaled to x.x/n_0 = {advice.input_square:.9g}"],
    ]
    return "\n".join(f"  {name:<8}  {text}" for name, text in rows)


def _rates(advice: Advice) -> str:
    biases, weights = advice.framework_rates
    rows = []
    for layer in _spread(advice.depth, 6):
        numbers = (advice.learning_rates.lambda_b, advice.learning_rates.lambda_W, biases, weights)
        rows.append([str(layer), *(f"{values[layer - 1]:.4g}" for values in numbers)])
    head = ["layer", "lambda_b", "lambda_W", "rate of biases / eta", "rate of weights / eta"]
    return f"  {_SCALING[advice.criticality.universality_class]}\n" + _indent(align(head, rows, ">>>>>"))


def _shape(advice: Advice) -> str:
    optimal = "more than 4096" if advice.optimal_depth is None else f"{advice.optimal_depth:.2f}"
    rows = [
        ["optimal kappa2", f"{advice.optimal_coupling:.4g}", "4/(20 + 3 n_L), from the mutual information"],
        ["nu", f"{advice.slope:.4g}", "V/(n K^2) = nu L/n for deep networks"],
        ["optimal L/n", f"{advice.optimal_ratio:.4g}", "optimal kappa2 / nu"],
        ["optimal depth", optimal, f"where V/(n K^2) is optimal at width {advice.width}"],
        ["kappa2", f"{advice.coupling:.4g}", f"V/(n K^2) of this network, {_verdict(advice)}"],
    ]
    return _indent(align(["", "value", "meaning"], rows, "<><"))


def _verdict(advice: Advice) -> str:
    ratio = advice.coupling / advice.optimal_coupling
    if ratio > 4 / 3:
        return f"{ratio:.2g} times the optimum: too deep for its width"
    if ratio < 3 / 4:
        return f"{ratio:.2g} of the optimum: the width would bear more depth"
    return "close to the optimum"


def _expected(advice: Advice) -> str:
    rows = [
        ["variance of the outputs", f"± {_percent(advice.output_fluctuation)}", "between seeds, relative"],
        ["excess kurtosis of an output", f"{advice.output_excess_kurtosis:.3g}", "zero for a Gaussian process"],
        ["tangent kernel", f"± {_percent(advice.ntk_fluctuation)}", "between seeds, relative"],
        ["squared gradient norm", f"± {_percent(advice.gradient_fluctuation)}", "between seeds, relative"],
        [
            "feature learning",
            _change(advice.ntk_change, advice.ntk_change_error),
            "change of the tangent kernel by fitting one point",
        ],
        ["neglected order", _percent(advice.truncation), "relative size, order of magnitude"],
    ]
    return _indent(align(["", "value", "meaning"], rows, "<><")) + "\n  " + _trust(advice)


def _trust(advice: Advice) -> str:
    deepest = int(advice.profile.depth[-1])
    if advice.trusted_depth is None:
        text = f"Order 1/n is trusted for all depths shown, up to {deepest}"
    elif advice.trusted_depth >= advice.depth:
        text = f"At this width order 1/n is trusted up to depth {advice.trusted_depth}"
    else:
        text = f"NOT TRUSTED: this network is too deep for its width, order 1/n ends at depth {advice.trusted_depth}"
    resolved = [
        int(depth)
        for depth, value, error in zip(advice.profile.depth, advice.profile.ntk_change, advice.profile.ntk_change_error)
        if _change(float(value), float(error)) != "not resolved"
    ]
    doubt = f" The feature learning is resolved up to depth {resolved[-1]}." if resolved else ""
    return f"{text} (neglected order below {_percent(THRESHOLD)}).{doubt}"


def _growth(advice: Advice) -> str:
    profile, rows = advice.profile, []
    for depth in _spread(int(profile.depth[-1]), 10, first=2):
        i = depth - 2
        changes = _change(float(profile.ntk_change[i]), float(profile.ntk_change_error[i]))
        effects = (np.sqrt(profile.coupling[i]), profile.ntk_fluctuation[i], profile.gradient_fluctuation[i])
        cells = [_percent(effect) for effect in effects]
        rows.append([str(depth), f"{profile.coupling[i]:.4f}", *cells, changes, _percent(profile.truncation[i])])
    head = ["depth", "kappa2", "outputs", "kernel", "gradient", "feature learning", "neglected"]
    return _indent(align(head, rows, ">>>>>>>"))


def _change(value: float, error: float) -> str:
    """Return the change of a positive kernel with its error, or that it is not resolved."""
    if value and (error >= abs(value) or value <= -1):
        return "not resolved"
    return f"{_percent(value)} ± {_percent(error)}"


def _percent(value: float) -> str:
    return f"{100 * value + 0.0:.2g} %" if abs(value) < 0.1 else f"{100 * value:.0f} %"


def _spread(last: int, count: int, first: int = 1) -> list[int]:
    """Return about `count` integers from `first` to `last`, both included, evenly spread."""
    return sorted({round(v) for v in np.linspace(first, last, min(count, last - first + 1))})


def _wrapped(name: str, text: str) -> str:
    return textwrap.fill(f"- {name}: {text}", 110, subsequent_indent="  ")


def _indent(table: str) -> str:
    return "\n".join("  " + line for line in table.splitlines())
