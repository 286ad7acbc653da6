"""Learning rates per layer that let every layer contribute equally to the neural tangent kernel at criticality."""

import math
from typing import Any, NamedTuple

from pdlt.errors import PdltError
from pdlt.predict.criticality import Criticality
from pdlt.predict.one_input import kernel_path


class LearningRates(NamedTuple):
    """Arguments of `pdlt.MLP`, one number per layer: (lambda_b of layers 1 ... L, lambda_W of layers 1 ... L)."""

    lambda_b: tuple[float, ...]
    lambda_W: tuple[float, ...]


def equivalent_learning_rates(
    criticality: Criticality,
    depth: int,
    input_square: float | None = None,
    biases: float = 0.5,
    weights: float = 0.5,
) -> LearningRates:
    """Return learning rates such that all layers contribute equally to the NTK of the last layer, on one input.

    At infinite width Theta' = lambda_b + lambda_W <sigma sigma>_K + chi_perp Theta, so layer l contributes
    (lambda_b^(l) + lambda_W^(l) g^(l-1)) X^(l) to Theta^(L), where g^(l-1) = <sigma sigma> at layer l - 1 (x.x/n_0 for
    l = 1) and X^(l) is the product of chi_perp over the layers that follow. This function solves
    lambda_b^(l) X^(l) = `biases`/L and lambda_W^(l) g^(l-1) X^(l) = `weights`/L along the exact path of the kernel.
    Deep inside the network the solution is the power law lambda_b ~ l^-p_perp L^(p_perp - 1) and
    lambda_W ~ l^(p_0 - p_perp) L^(p_perp - 1) (PDLT, arXiv:2106.10165, chapter 9): 1/L for scale-invariant and
    half-stable activations, lambda_b ~ 1/l and constant lambda_W for tanh.

    Args:
        criticality: result of `pdlt.criticality`; C_b and C_W are taken from it.
        depth: number L of weight layers.
        input_square: x.x/n_0 of the inputs, positive. Default: 1, or, for the half-stable class, the value that
            starts the kernel at K*.
        biases, weights: what all biases and all weights contribute to Theta of layer L; not negative.

    Returns:
        (lambda_b, lambda_W); lambda_W is meant before the division by n_{l-1} (see `pdlt.MLP`).

    Raises:
        PdltError: for bad arguments, if the activation has no critical initialisation, or if the kernel vanishes or
            diverges on the way.
    """
    if not isinstance(criticality, Criticality):
        raise PdltError(
            "Argument `criticality` must be a result of pdlt.criticality, "
            f"but got an object of type {type(criticality).__name__}."
        )
    C_b, C_W = criticality.require()
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise PdltError(f"Argument `depth` must be a positive integer, but got {depth!r}.")
    for name, value in (("biases", biases), ("weights", weights)):
        _check(name, value, "a finite number, not negative", allowed=lambda v: v >= 0)
    if input_square is None:
        input_square = criticality.input_square or 1.0
    _check("input_square", input_square, "a positive number", allowed=lambda v: v > 0)
    K, g, chi = kernel_path(criticality.activation, C_b, C_W, C_b + C_W * input_square, depth)
    later = [math.prod(chi[layer - 1 : depth - 1]) for layer in range(1, depth + 1)]
    sums = [input_square, *g[: depth - 1]]
    if not all(math.isfinite(x) and x > 0 for x in (*K, *later, *sums)):
        raise PdltError(
            f"Argument `input_square` must keep the kernel finite and positive for {depth} layers of "
            f"{criticality.activation.to_text()}, but got {input_square!r}."
        )
    return LearningRates(
        tuple(float(biases / (depth * x)) for x in later),
        tuple(float(weights / (depth * s * x)) for s, x in zip(sums, later, strict=True)),
    )


def _check(name: str, value: Any, wanted: str, allowed: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not allowed(value):
        raise PdltError(f"Argument `{name}` must be {wanted}, but got {value!r}.")
