"""Advice for a practitioner: initialisation, learning rates, depth-to-width ratio, and what to expect of one network.

    activation       -> critical C_b, C_W                                   (criticality)
    width or depth   -> the other one, from the mutual information          (information)
    depth            -> learning rates per layer                            (learning_rates)
    all of these     -> order-1 tensors of one input at every depth         (initialisation)
                     -> fluctuations between seeds, strength of feature learning (feature_learning)

One prediction serves all depths: learning rates that are balanced for depth L are, on the first d layers, proportional
to those balanced for depth d, and ratios of tangent kernels do not depend on the factor.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from pdlt._arguments import integer, positive
from pdlt.activations import Activation
from pdlt.activations import activation as read_activation
from pdlt.errors import PdltError
from pdlt.networks import LARGEST, MLP
from pdlt.predict.advice_assumptions import assumptions
from pdlt.predict.criticality import Criticality, criticality
from pdlt.predict.feature_learning import kinked_change, smooth_change
from pdlt.predict.information import optimal_coupling
from pdlt.predict.initialisation import predict
from pdlt.predict.learning_rates import LearningRates, equivalent_learning_rates
from pdlt.predict.trust import THRESHOLD

#: The depth up to which advice is given.
MAX_DEPTH = 4096


@dataclass(frozen=True)
class Profile:
    """How the expected effects grow with depth at fixed width, arrays over `depth`.

    Attributes:
        depth: number of layers of the network.
        coupling: V/(n K^2), the relative variance of the outputs' variance.
        ntk_fluctuation, gradient_fluctuation: relative standard deviations, see `Advice`.
        ntk_change, ntk_change_error: see `Advice`.
        truncation: relative size of the first neglected order.
    """

    depth: np.ndarray
    coupling: np.ndarray
    ntk_fluctuation: np.ndarray
    gradient_fluctuation: np.ndarray
    ntk_change: np.ndarray
    ntk_change_error: np.ndarray
    truncation: np.ndarray


@dataclass(frozen=True)
class Advice:
    """What to expect of a network at critical initialisation, and how to choose its shape.

    Attributes:
        criticality: the critical initialisation.
        depth, width: of the network; `chosen` says which of them was chosen here ("depth", "width" or None).
        outputs: n_L, the number of outputs.
        input_dimension: n_0; enters the first layer's learning rate and the plain gradient only.
        input_square: x.x/n_0 of the inputs.
        learning_rates: lambda_b and lambda_W of every layer, scaled to Theta = 1.
        optimal_coupling: the kappa2 = V/(n K^2) that maximises the mutual information of the outputs to cubic order.
        slope: nu, the limit of V/K^2 divided by depth.
        optimal_ratio: depth over width that follows for large depth.
        optimal_depth: depth at which kappa2 is optimal for this width, a real number; None if beyond 4096 layers.
        coupling: kappa2 of this network.
        output_fluctuation, output_excess_kurtosis, ntk_fluctuation, gradient_fluctuation: between seeds.
        ntk_change, ntk_change_error: strength of feature learning and an order of magnitude of its error.
        truncation: relative size of the first neglected order.
        trusted_depth: the largest depth at this width for which `truncation` is at most 1/2; None if it is beyond the
            profile.
        profile: the same numbers for networks of 2 to 2 `depth` layers.
        assumptions: number -> the assumptions it rests on, in words.
    """

    criticality: Criticality
    depth: int
    width: int
    chosen: str | None
    outputs: int
    input_dimension: int
    input_square: float
    learning_rates: LearningRates
    optimal_coupling: float
    slope: float
    optimal_ratio: float
    optimal_depth: float | None
    coupling: float
    output_fluctuation: float
    output_excess_kurtosis: float
    ntk_fluctuation: float
    gradient_fluctuation: float
    ntk_change: float
    ntk_change_error: float
    truncation: float
    trusted_depth: int | None
    profile: Profile
    assumptions: Mapping[str, str]

    @property
    def activation(self) -> Activation:
        """The activation."""
        return self.criticality.activation

    @property
    def framework_rates(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Learning rates of (bias vectors, weight matrices) per layer, to be multiplied by a step eta < 2.

        They are meant for weights initialised with variance C_W/fan-in: lambda_b and lambda_W/fan-in.
        """
        fans = (self.input_dimension, *(self.width,) * (self.depth - 1))
        lambda_b, lambda_W = self.learning_rates
        return lambda_b, tuple(rate / fan for rate, fan in zip(lambda_W, fans, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        biases, weights = self.framework_rates
        found = self.criticality
        plain = (
            *("depth", "width", "chosen", "outputs", "input_dimension", "input_square"),
            *("optimal_coupling", "slope", "optimal_ratio", "optimal_depth", "coupling"),
            *("output_fluctuation", "output_excess_kurtosis", "ntk_fluctuation", "gradient_fluctuation"),
            *("ntk_change", "ntk_change_error", "truncation", "trusted_depth"),
        )
        return {
            "schema": "pdlt.advice/1",
            "activation": self.activation.to_text(),
            "initialisation": {
                "universality_class": found.universality_class,
                **{name: getattr(found, name) for name in ("C_b", "C_W", "K_star", "reason")},
            },
            **{name: getattr(self, name) for name in plain},
            "learning_rates": {
                "lambda_b": list(self.learning_rates.lambda_b),
                "lambda_W": list(self.learning_rates.lambda_W),
                "bias": list(biases),
                "weight": list(weights),
                "Theta": 1.0,
                "largest_step": 2.0,
            },
            "profile": {name: values.tolist() for name, values in vars(self.profile).items()},
            "assumptions": dict(self.assumptions),
        }


def advise(
    activation: Any,
    width: int | None = None,
    depth: int | None = None,
    outputs: int = 1,
    input_square: float | None = None,
    input_dimension: int | None = None,
) -> Advice:
    """Return advice on initialisation, learning rates and shape, and what fluctuations to expect.

    Args:
        activation: a name, a string in the expression grammar, a sympy expression or an `Activation`.
        width: hidden width n. If None, the width for which `depth` is optimal.
        depth: number L of weight layers, 2 to 4096. If None, the depth that is optimal for `width`.
        outputs: n_L. Enters the optimal ratio only.
        input_square: x.x/n_0 of the inputs. Default: 1, or, for the half-stable class, the value that starts the
            kernel at K*.
        input_dimension: n_0. Default: the width.

    Raises:
        PdltError: for bad arguments; if the activation has no critical initialisation (the message says why); if no
            depth up to 4096 is optimal for `width`; if the kernel vanishes or diverges on the way.
    """
    sigma = read_activation(activation)
    for name, value in (("width", width), ("outputs", outputs), ("input_dimension", input_dimension)):
        if value is not None:
            integer(name, value, 1, LARGEST)
    if depth is not None:
        integer("depth", depth, 2, MAX_DEPTH)
    if width is None and depth is None:
        raise PdltError("Argument `width` or `depth` must be given, but got neither.")
    if input_square is not None:
        positive("input_square", input_square)
    critical = criticality(sigma)
    critical.require()
    x_square = float(input_square or critical.input_square or 1.0)
    target, slope = optimal_coupling(outputs), _slope(critical, x_square)
    chosen = "width" if width is None else "depth" if depth is None else None
    if width is None:
        assert depth is not None
        curve = _curve(critical, x_square, depth)
        width = max(1, round(curve[depth - 1] / target))
    if width > LARGEST:
        raise PdltError(f"Argument `depth` must be such that its optimal width is at most {LARGEST}, but got {depth}.")
    optimal = _optimal_depth(critical, x_square, width * target, slope)
    if depth is None:
        if optimal is None:
            raise PdltError(
                f"Argument `width` must be such that its optimal depth is at most {MAX_DEPTH}, but got {width}. "
                "Give `depth` as well."
            )
        depth = max(2, round(optimal))
    n_0 = input_dimension or width
    profile = _profile(critical, x_square, width, 2 * depth, n_0)
    here = {name: float(values[depth - 2]) for name, values in vars(profile).items() if name != "depth"}
    trusted = np.flatnonzero(profile.truncation > THRESHOLD)
    return Advice(
        critical,
        depth,
        width,
        chosen,
        outputs,
        n_0,
        x_square,
        equivalent_learning_rates(critical, depth, x_square),
        target,
        slope,
        target / slope,
        optimal,
        output_fluctuation=math.sqrt(here["coupling"]),
        output_excess_kurtosis=3 * here["coupling"],
        trusted_depth=int(profile.depth[trusted[0]]) - 1 if len(trusted) else None,
        profile=profile,
        assumptions=MappingProxyType(assumptions(kinked=sigma.slopes is not None)),
        **here,
    )


def _slope(critical: Criticality, input_square: float) -> float:
    """Return nu = lim V/(K^2 l): universal for K* = 0, the source of V over K^2 where the kernel does not move."""
    if critical.universality_class == "K*=0":
        return 2 / 3
    start = critical.input_square or input_square
    return float(_curve(critical, start, 2)[1])


def _curve(critical: Criticality, input_square: float, depth: int) -> np.ndarray:
    """Return V/K^2, n times kappa2, of layers 1 to `depth` or more."""
    found = _tensors(critical, input_square, _horizon(depth), ("K", "V"))
    return found["V"] / found["K"] ** 2


def _optimal_depth(critical: Criticality, input_square: float, target: float, slope: float) -> float | None:
    """Return the depth at which V/K^2 first reaches `target`, interpolated; None if it does not by MAX_DEPTH."""
    horizon = _horizon(min(2 * int(target / slope) + 8, MAX_DEPTH))
    while True:
        curve = _curve(critical, input_square, horizon)
        above = np.flatnonzero(curve >= target)
        if len(above):
            last = int(above[0])
            return last + float((target - curve[last - 1]) / (curve[last] - curve[last - 1]))
        if horizon >= MAX_DEPTH:
            return None
        horizon *= 2


def _profile(critical: Criticality, input_square: float, width: int, deepest: int, n_0: int) -> Profile:
    horizon = _horizon(deepest)
    smooth = critical.activation.slopes is None
    names = ("K", "V", "Theta", "A", "B") + tuple("PQRSTU") * smooth
    rates = equivalent_learning_rates(critical, horizon, input_square)
    found = _tensors(critical, input_square, horizon, names, rates)
    plain = LearningRates((1.0,) * horizon, (float(n_0), *(float(width),) * (horizon - 1)))
    # The same tensors, although fewer would do: what is compiled for the first serves for the second.
    gradient = _tensors(critical, input_square, horizon, names, plain)
    change = smooth_change(found) if smooth else kinked_change(critical.activation, found["Theta"])
    size = float(width) ** -change.power
    coupling = found["V"] / (width * found["K"] ** 2)
    others = [found[name] / (width * found["Theta"] ** 2) for name in "AB"]
    columns = {
        "depth": np.arange(1, horizon + 1),
        "coupling": coupling,
        "ntk_fluctuation": _relative_deviation(found, width),
        "gradient_fluctuation": _relative_deviation(gradient, width),
        "ntk_change": size * change.value,
        "ntk_change_error": np.abs(size * change.value) * size * change.gross,
        # The kernel of layer 1 does not fluctuate: up to layer 2 the leading coefficients are everything.
        "truncation": np.max([coupling, *np.abs(others)], axis=0) * (np.arange(1, horizon + 1) > 2),
    }
    return Profile(**{name: values[1:deepest] for name, values in columns.items()})


def _relative_deviation(tensors: Mapping[str, np.ndarray], width: int) -> np.ndarray:
    """Return sqrt(Var H)/Theta of one output on one input: the variance is (A + 2B)/n."""
    return np.sqrt((tensors["A"] + 2 * tensors["B"]) / width) / tensors["Theta"]


def _tensors(
    critical: Criticality,
    input_square: float,
    depth: int,
    names: tuple[str, ...],
    rates: LearningRates | None = None,
) -> dict[str, np.ndarray]:
    """Return leading coefficients of one input for layers 1 to `depth`.

    With equal hidden widths they do not depend on the width; the largest one stands for a wide network.
    """
    C_b, C_W = critical.require()
    net = MLP(depth, LARGEST, critical.activation, C_b, C_W, *(rates or ()))
    prediction = predict(net, [[math.sqrt(input_square)]], list(names))
    return {name: prediction[name].values.reshape(depth) for name in names}


def _horizon(depth: int) -> int:
    """Return a power of two, at least 32, from `depth` on: prediction is compiled once for each number of layers."""
    return 1 << max(5, (depth - 1).bit_length())
