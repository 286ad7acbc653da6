"""The corrections of a training problem as variables of a result."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt._progress import progress
from pdlt.errors import PdltError
from pdlt.learning.corrections import averages
from pdlt.learning.corrections.amplitudes import Problem
from pdlt.learning.corrections.chains import Decay
from pdlt.learning.corrections.events import PARTS
from pdlt.learning.corrections.initial import METHODS, REPLICAS, Exact, Sampled, at_initialisation, needed
from pdlt.learning.corrections.modes import Modes
from pdlt.learning.corrections.outputs import Corrections, Kernels
from pdlt.learning.corrections.rounding import amplification
from pdlt.learning.data import merged, require_memory
from pdlt.learning.response import LIMIT, Response
from pdlt.networks import MLP
from pdlt.predict import TruncationWarning

#: What is wanted of kernels.
KERNELS = ("none", "tangent", "all")

#: Labels beyond this have cubes beyond floating-point numbers.
LARGEST = 1e80

#: Relative error of tensors that counts: errors of quadrature are smooth in the inputs, and vanish with slow modes.
_ROUNDING = 2 * float(np.finfo(float).eps)

_OUTPUTS = ("output", "output_")
_POINTS = ("point", "point_")


@dataclass(frozen=True)
class Request:
    """What corrections are wanted, and how they are evaluated.

    Attributes:
        covariance: "full", "variance" or "none".
        kernels: "none", "tangent" or "all".
        method, samples, seed: see `pdlt.learning.corrections.initial.at_initialisation`.
    """

    covariance: str
    kernels: str
    method: str
    samples: int
    seed: int


def check(net: MLP, y: np.ndarray, ridge: float, request: Request) -> None:
    """Refuse what has no correction in 1/n, or none that is implemented.

    Raises:
        PdltError: for activations with a kink, a ridge, enormous labels, and unknown methods or kernels.
    """
    if not net.activation.is_smooth:
        raise PdltError(
            f"Argument `order` must be 0 for the activation {net.activation.name}, which has a kink, but got 1: while "
            "a network is trained its units cross the kink, and its tangent kernel moves by order n^(-1/2), "
            "not 1/n, so that there is no expansion in 1/n (derivations/12_feature_learning.py)."
        )
    if ridge:
        raise PdltError(f"Argument `ridge` must be 0 for order 1, but got {ridge:g}. Use order=0.")
    if np.abs(y).max() > LARGEST:
        raise PdltError(
            f"Argument `y_train` must have no labels beyond {LARGEST:g} for order 1 (their cubes overflow), but the "
            f"largest is {np.abs(y).max():g}."
        )
    if request.kernels not in KERNELS:
        raise PdltError(f"Argument `kernels` must be one of {', '.join(KERNELS)}, but got {request.kernels!r}.")
    if request.method not in METHODS:
        raise PdltError(f"Argument `method` must be one of {', '.join(METHODS)}, but got {request.method!r}.")
    if request.method == "exact" and request.kernels == "all":
        raise PdltError("Argument `method` must be auto or sampled for kernels='all', but got 'exact'.")


def corrections(
    net: MLP, response: Response, points: np.ndarray, when: np.ndarray, labels_norm: float, request: Request
) -> dict[str, tuple]:
    """Return the variables that order 1 adds to a prediction of training, with standard errors where sampled.

    Args:
        net: the network.
        response: the leading solution.
        points: test inputs, shape (P, n_0).
        when: times, shape (T,).
        labels_norm: root of the sum of squares of all labels, for the alignment.
        request: what is wanted.
    """
    data, rate = response.data, response.relaxation.learning_rate or 0.0
    if not response.learned.all():
        raise PdltError(
            "Argument `unresolved` must be error for order 1, but got 'freeze', and modes are frozen: at finite width "
            "networks learn modes that the leading tangent kernel does not contain. Use order=0."
        )
    every = np.concatenate([data.x, points])
    places, inverse = merged(every)
    # Cumulants between layers are there as samples only.
    method = "sampled" if request.kernels == "all" else request.method
    initial = at_initialisation(net, every[places], method, request.samples, request.seed)
    modes = Modes.of(response.spectrum.values, response.spectrum.vectors, data.roots, rate)
    problem = Problem(modes, data.y, inverse[: len(data.x)], inverse)
    _check_memory(problem, request, len(when), 1 if isinstance(initial, Exact) else REPLICAS)
    kernels = Kernels(*(getattr(initial.kernels, name)[np.ix_(inverse, inverse)] for name in Kernels.__annotations__))
    tables: list[Any] = [averages.mean()]
    if request.covariance != "none":
        tables += [averages.covariance(), averages.covariance_of_moves()]
    if request.kernels != "none":
        tables += [averages.change_of_kernel()]
    first = Corrections(problem, kernels, initial.amplitudes(needed(tables), problem))
    n, decays = len(data.x), [Decay(float(time), rate) for time in when]
    _require_resolved(first, decays, data.roots * response.spectrum.vectors)
    parts = _in_time(decays, first.mean)
    found = {
        "mean_1": _variable(parts.sum(2), ("time", "point", "output")),
        "mean_1_parts": _variable(parts.swapaxes(1, 2), ("part", "time", "point", "output")),
    }
    _warn_of_truncation(net, parts.sum(2).mean(0), first)
    if request.covariance != "none":
        values = _in_time(decays, first.covariance)
        if request.covariance == "full":
            found["covariance_1"] = _variable(values, ("time", *_POINTS, *_OUTPUTS))
        else:
            found["variance_1"] = _variable(np.einsum("rtppii->rtpi", values), ("time", "point", "output"))
    if request.kernels != "none":
        changes = _in_time(decays, first.kernel_change)
        found["kernel_change_1"] = _variable(changes[:, :, n:, n:], ("time", *_POINTS, *_OUTPUTS))
        leading, moved = _alignment(problem, kernels, data.counts, labels_norm, changes)
        found["alignment"] = [("time", np.full(len(when), leading)), None]
        found["alignment_1"] = _variable(moved, ("time",))
    if request.kernels == "all" and isinstance(initial, Sampled):
        found["hidden_kernel_change_1"] = _hidden(net, initial, problem, kernels, decays)
    variables = {"part": ("part", list(PARTS))}
    for name, (value, error) in found.items():
        variables[name] = value
        if error is not None:
            variables[f"{name}_stderr"] = error
    return variables


def _require_resolved(first: Corrections, decays: Sequence[Decay], axes: np.ndarray) -> None:
    """Refuse times at which rounding of tensors, amplified by small eigenvalues, is not small against the outputs.

    Raises:
        PdltError: if there are such.
    """
    problem, n = first.problem, len(axes)
    K = first.kernels.K[:n, :n]
    size = max(float(np.abs(problem.labels).max()), float(np.sqrt(first.kernels.K.max())))
    for decay, factor in zip(decays, amplification(problem, K, first.rows, axes, decays), strict=True):
        if not _ROUNDING * factor <= LIMIT * size:
            rates = problem.modes.all_rates
            raise PdltError(
                f"Argument `times`: at time {decay.time:g} order 1 is lost in rounding. The tangent kernel of the "
                f"training inputs is too near to singular, eigenvalues from {rates.min():.2g} to {rates.max():.2g}, "
                f"which amplifies rounding errors of tensors up to {factor:.0e} times. Accepted are earlier times, "
                "training inputs farther apart, or order=0."
            )


def _warn_of_truncation(net: MLP, mean_1: np.ndarray, first: Corrections) -> None:
    """Warn where order 1 changes mean outputs by more than half of what there is: labels, or outputs at the start."""
    n = net.width[-1] if net.width else np.inf
    size = np.sqrt(max(float((first.problem.labels**2).mean()), float(first.kernels.K.diagonal().mean())))
    largest = float(np.abs(mean_1).max()) / n
    if largest > size / 2:
        warnings.warn(
            f"At width {n} order 1 changes a mean output by {largest:.2g}, where labels and initial outputs are of "
            f"size {size:.2g}: higher orders cannot be left out. Take wider networks, earlier times or smaller labels.",
            TruncationWarning,
            stacklevel=4,
        )


def _hidden(net: MLP, initial: Sampled, problem: Problem, kernels: Kernels, decays: Sequence[Decay]) -> list:
    diagrams = needed([averages.change_of_hidden_kernel()])
    layers = []
    for layer in range(2, net.depth + 1):
        observed = layer if layer < net.depth else None
        corrections = Corrections(problem, kernels, initial.amplitudes(diagrams, problem, observed))
        layers.append(_in_time(decays, corrections.hidden_kernel_change))
    n = len(problem.train)
    return _variable(np.stack(layers, axis=1)[..., n:, n:], ("layer", "time", *_POINTS))


def _alignment(
    problem: Problem, kernels: Kernels, counts: np.ndarray, norm: float, changes: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return y.H.y / (|y|^2 |H|_F) of the leading tangent kernel, and its coefficient of 1/n, (replicas, T)."""
    n, outputs = problem.labels.shape
    y = counts[:, None] * problem.labels
    both = np.outer(counts, counts)
    Theta, Theta_1 = kernels.Theta[:n, :n], kernels.Theta_1[:n, :n]
    first = Theta_1[..., None, None] * np.eye(outputs) + changes[:, :, :n, :n]
    size = np.sqrt(outputs * (both * Theta**2).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        leading = np.einsum("ai,ab,bi->", y, Theta, y) / (norm**2 * size)
        moved = np.einsum("ai,rtabij,bj->rt", y, first, y, optimize=True) / (norm**2 * size)
        stretched = np.einsum("ab,ab,rtabii->rt", both, Theta, first, optimize=True) / size**2
        return float(leading), moved - leading * stretched


def _in_time(decays: Sequence[Decay], evaluate: Callable[[Decay], np.ndarray]) -> np.ndarray:
    """Return the values of all replicas at all times, shape (R, T, ...)."""
    with progress("corrections in time") as tick:
        found = []
        for decay in decays:
            found.append(evaluate(decay))
            tick(f"time {decay.time:g}")
    return np.stack(found, axis=1)


def _variable(values: np.ndarray, dims: Sequence[str]) -> list:
    """Return the mean over replicas, and its standard error if there are several, as variables."""
    error = values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else None
    return [(tuple(dims), values.mean(0)), None if error is None else (tuple(dims), error)]


def _check_memory(problem: Problem, request: Request, times: int, replicas: int) -> None:
    rows, outputs, rates = len(problem.rows), problem.labels.shape[1], len(problem.modes.rates)
    pairs, lines = (rows * outputs) ** 2, [len(needed([averages.mean()])) * rows * outputs * rates**3]
    if request.covariance != "none":
        lines.append(len(needed([averages.covariance()])) * pairs * rates**3 + times * pairs)
    if request.kernels != "none":
        lines.append(len(needed([averages.change_of_kernel()])) * pairs * rates**2 + times * pairs)
    require_memory(
        replicas * sum(lines),
        f"Corrections for {len(problem.train)} training inputs and {rows - len(problem.train)} points",
        "Use covariance='none', kernels='none', or fewer inputs.",
    )
