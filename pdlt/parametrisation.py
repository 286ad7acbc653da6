"""The same network as one describes it in a framework: multipliers, standard deviations and learning rates by layer.

A framework holds trainable arrays w and b and computes z = m_b b + m_W w sigma. Their entries are drawn from N(0, s^2)
and gradient descent moves them with rates eta. Outputs and their training depend on products only:

    C_W = n m_W^2 s_W^2,   lambda_W = n m_W^2 eta_W,   C_b = m_b^2 s_b^2,   lambda_b = m_b^2 eta_b

with n = n_{l-1} the fan-in, so a parametrisation is a choice of multipliers. With sigma_w, sigma_b and one learning
rate eta for everything:

    standard  m = 1, s_W = sigma_w/sqrt(n), s_b = sigma_b: lambda_W = n eta, lambda_b = eta
    ntk       m_W = sigma_w/sqrt(n), m_b = sigma_b, s = 1: lambda_W = sigma_w^2 eta, lambda_b = sigma_b^2 eta
    mup       standard, but m = sqrt(fan-out) for all biases and the weights of layer 1, with s smaller by as much, and
              m_W = 1/sqrt(n) for the last layer; the last bias as in standard

all with C_b = sigma_b^2 and C_W = sigma_w^2, but for the last layer of mup: C_W = sigma_w^2/n. mup is the
maximal-update parametrisation for stochastic gradient descent of Yang and Hu (arXiv:2011.14522; in their notation
a = -1/2, 0, ..., 0, 1/2, b = 1/2, c = 0). There features are learned at order zero: all orders of the expansion in
1/width have the same size, and only numbers at the given width mean something.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdlt._arguments import count, is_real
from pdlt.activations import Activation
from pdlt.errors import PdltError
from pdlt.networks import MLP, check_network

PARAMETRISATIONS = ("standard", "ntk", "mup")


@dataclass(frozen=True)
class Recipe:
    """A network as one writes it in a framework; every tuple has one number per layer, layer 1 first.

    Attributes:
        n_0: the dimension of the inputs.
        width: the hidden widths.
        activation: the activation.
        weight_multiplier, bias_multiplier: m_W and m_b, by which the forward pass multiplies what is trained.
        weight_std, bias_std: s_W and s_b of their entries.
        weight_rate, bias_rate: eta_W and eta_b of gradient descent on (1/2) sum (z - y)^2. A framework's mean squared
            error over N inputs and n_L outputs has gradients 2/(N n_L) times as large.
    """

    n_0: int
    width: tuple[int, ...]
    activation: Activation
    weight_multiplier: tuple[float, ...]
    bias_multiplier: tuple[float, ...]
    weight_std: tuple[float, ...]
    bias_std: tuple[float, ...]
    weight_rate: tuple[float, ...]
    bias_rate: tuple[float, ...]

    @property
    def learning_rate(self) -> float | None:
        """The one rate of everything that can move, or None if there are several (to rounding)."""
        multipliers = (*self.weight_multiplier, *self.bias_multiplier)
        rates = [rate for rate, m in zip((*self.weight_rate, *self.bias_rate), multipliers, strict=True) if m]
        return rates[0] if rates and all(math.isclose(rate, rates[0], rel_tol=1e-12) for rate in rates) else None

    def network(self) -> MLP:
        """Return the network with the C and lambda of the module's first line; `recipe_of` is the inverse."""
        fan_in = (self.n_0, *self.width)
        return MLP(
            len(fan_in),
            self.width,
            self.activation,
            C_b=[(m * s) ** 2 for m, s in zip(self.bias_multiplier, self.bias_std, strict=True)],
            C_W=[n * (m * s) ** 2 for n, m, s in zip(fan_in, self.weight_multiplier, self.weight_std, strict=True)],
            lambda_b=[m**2 * rate for m, rate in zip(self.bias_multiplier, self.bias_rate, strict=True)],
            lambda_W=[n * m**2 * e for n, m, e in zip(fan_in, self.weight_multiplier, self.weight_rate, strict=True)],
        )


def recipe(
    parametrisation: str,
    n_0: int,
    width: Any,
    activation: Any,
    depth: int | None = None,
    sigma_w: float = 1.0,
    sigma_b: float = 0.0,
    learning_rate: float = 1.0,
) -> Recipe:
    """Return what one writes in a framework for weights of variance sigma_w^2/fan-in and one learning rate.

    Args:
        parametrisation: "standard", "ntk" or "mup", see the module.
        n_0: dimension of the inputs.
        width: the L - 1 hidden widths (list, tuple or array), or one number with `depth`.
        activation: as in `pdlt.MLP`.
        depth: number L of weight layers; None: one more than there are widths.
        sigma_w, sigma_b: standard deviations of sqrt(fan-in) times a weight, and of a bias.
        learning_rate: eta, of everything.

    Raises:
        PdltError: for bad arguments.
    """
    if depth is None:
        several = isinstance(width, list | tuple) or (isinstance(width, np.ndarray) and width.ndim > 0)
        depth = len(width) + 1 if several else 2
    sigma_w, sigma_b = (_real(name, value, 1e150) for name, value in (("sigma_w", sigma_w), ("sigma_b", sigma_b)))
    learning_rate = _real("learning_rate", learning_rate)
    net = MLP(depth, width, activation, C_b=sigma_b**2, C_W=sigma_w**2)
    fan_in = (count("n_0", n_0), *net.width)
    weights, biases = _multipliers(parametrisation, fan_in, sigma_w, sigma_b)
    weight_std = [sigma_w / math.sqrt(n) / m if m else 1.0 for n, m in zip(fan_in, weights, strict=True)]
    bias_std = [sigma_b / m if m else 1.0 for m in biases]
    if parametrisation == "mup":
        weight_std[-1] = sigma_w / math.sqrt(fan_in[-1])
    rates = (learning_rate,) * depth
    return Recipe(
        fan_in[0], net.width, net.activation, weights, biases, tuple(weight_std), tuple(bias_std), rates, rates
    )


def recipe_of(net: MLP, n_0: int, parametrisation: str = "standard") -> Recipe:
    """Return what one writes in a framework to get a network's C and lambda, exactly, layer by layer.

    Args:
        net: the network.
        n_0: dimension of its inputs.
        parametrisation: which multipliers to use: "standard", "ntk" (sigma_w and sigma_b are those of each layer) or
            "mup". Standard deviations and learning rates follow from them.

    Returns:
        The recipe; its `learning_rate` is the global one if the network has been made of one.

    Raises:
        PdltError: for bad arguments, or a parametrisation that cannot give a layer its rate ("ntk" where C is zero and
            lambda is not: a multiplier of zero trains nothing).
    """
    check_network(net)
    fan_in = (count("n_0", n_0), *net.width)
    weights, biases = [], []
    for layer, (C_W, C_b) in enumerate(zip(net.C_W, net.C_b, strict=True)):
        m_W, m_b = _multipliers(parametrisation, fan_in, math.sqrt(C_W), math.sqrt(C_b))
        weights.append(m_W[layer])
        biases.append(m_b[layer])
    per_weight = [1 / n for n in fan_in]
    return Recipe(
        fan_in[0],
        net.width,
        net.activation,
        tuple(weights),
        tuple(biases),
        tuple(_over(math.sqrt(C * p), m) for C, p, m in zip(net.C_W, per_weight, weights, strict=True)),
        tuple(_over(math.sqrt(C), m) for C, m in zip(net.C_b, biases, strict=True)),
        tuple(_rate("lambda_W", v * p, m) for v, p, m in zip(net.lambda_W, per_weight, weights, strict=True)),
        tuple(_rate("lambda_b", v, m) for v, m in zip(net.lambda_b, biases, strict=True)),
    )


def _multipliers(
    parametrisation: str, fan_in: tuple[int, ...], sigma_w: float, sigma_b: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return m_W and m_b of all layers."""
    depth = len(fan_in)
    ones = (1.0,) * depth
    if parametrisation == "standard":
        return ones, ones
    if parametrisation == "ntk":
        return tuple(sigma_w / math.sqrt(n) for n in fan_in), (sigma_b,) * depth
    if parametrisation == "mup":
        fan_out = [math.sqrt(n) for n in fan_in[1:]]
        if depth == 1:
            return ones, ones
        return (fan_out[0], *ones[2:], 1 / math.sqrt(fan_in[-1])), (*fan_out, 1.0)
    raise PdltError(
        f"Argument `parametrisation` must be one of {', '.join(PARAMETRISATIONS)}, but got {parametrisation!r}."
    )


def _over(value: float, multiplier: float) -> float:
    """Return value / multiplier; what is multiplied by zero may have any standard deviation."""
    return value / multiplier if multiplier else 1.0


def _rate(name: str, value: float, multiplier: float) -> float:
    if value and not multiplier:
        raise PdltError(
            "Argument `parametrisation`: 'ntk' multiplies what is trained by its standard deviation, but the network "
            f"has a layer with {name} = {value:g} and no variance. Use 'standard'."
        )
    rate = value / multiplier / multiplier if multiplier else 0.0
    if not math.isfinite(rate):
        raise PdltError(
            f"Argument `parametrisation`: with a multiplier of {multiplier:g}, {name} = {value:g} needs a learning "
            "rate beyond floating-point numbers. Use 'standard'."
        )
    return rate


def _real(name: str, value: Any, largest: float = math.inf) -> float:
    fine = is_real(value)
    try:
        number = float(value) if fine else math.nan
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and 0 <= number <= largest):
        below = f" and at most {largest:g} (it is squared)" if largest < number else ""
        raise PdltError(f"Argument `{name}` must be a number, not negative{below}, but got {value!r:.60}.")
    return number
