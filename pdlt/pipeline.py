"""The way through pdlt, one stage after the other. Read this first.

    stage       input                              output
    ---------   --------------------------------   -----------------------------------------------------------
    derive      names of observables, an order     Theory: recursions as plain data (pdlt.equations)
    export      Theory                             LaTeX, Mathematica, JSON, a standalone JAX module
    lower       Theory                             Program: array operations of one layer (pdlt.codegen)
    predict     Program, network, inputs           numbers with error estimates (xarray.Dataset)
    simulate    network, inputs                    the same numbers measured on real finite networks, no theory
    compare     prediction, measurement            a table with z-scores
    kernel      Program, network, many inputs      K and Theta at order 0 as Gram matrices (pdlt.predict.gram)
    learn       Gram matrices, data                posterior, training, eigenmodes, labels (pdlt.learning)
    fluctuate   network, many inputs               samples of fluctuations at order 1/n (pdlt.predict.fluctuations)
    correct     fluctuations, data                 training at order 1/n (pdlt.learning.corrections)
    train       network, data                      ensembles of really trained networks, no theory (pdlt.trained)

`derive` is here; the stages down to `kernel` are each a function of the same name in the package of that name.
"""

from collections.abc import Sequence
from typing import Any

from pdlt._progress import progress
from pdlt._version import __version__
from pdlt.equations import Theory
from pdlt.errors import PdltError
from pdlt.networks import MLP
from pdlt.observables import Observable, requested_observables
from pdlt.symbolic.cost import duration, estimate
from pdlt.symbolic.recursion import close, requests

#: What is cheaper than this (seconds) is derived without a word.
_QUICK = 5.0


def derive(
    observables: Sequence[str | Observable] | None = None,
    order: int = 1,
    network: type[MLP] | MLP = MLP,
    activation: Any = None,
    budget: float = 600.0,
) -> Theory:
    """Derive the recursions of observables in depth, to a given order in 1/width, from the layer map alone.

    Args:
        observables: names ("K", "Theta", "V", "A", "B", "D", "F", "P", "Q", "R", "S", "T", "U") or specs of any
            joint cumulant of jets ("a1 a2 | b3 b4"). None: every named observable that exists at this order.
        order: power of 1/n in the moments of the jet covariance. 0: K and Theta; 1 adds K_1, Theta_1 and the
            leading V, A, ..., U; 2 adds K_2, V_1, ... For each observable all coefficients up to this order.
        network: the architecture, `pdlt.MLP` or an instance of it; an instance supplies its activation.
        activation: name, expression or Activation to record with the theory, so that the exported JAX module
            knows it; the equations hold for any activation.
        budget: CPU seconds that the derivation may take. Its cost is estimated first (`pdlt.symbolic.cost`); it grows
            ten- to twentyfold per order. Ctrl-C stops it at any time.

    Returns:
        A closed system: the requested observables and every other cumulant that their recursions need.

    Raises:
        PdltError: for unknown observables, an order that is not an integer of at least 0, an observable that first
            appears at a higher order than requested, or a derivation that is estimated to exceed `budget`.
    """
    if isinstance(order, bool) or not isinstance(order, int) or order < 0:
        raise PdltError(f"Argument `order` must be an integer of at least 0, but got {order!r}.")
    if isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0:
        raise PdltError(f"Argument `budget` must be a positive number of seconds, but got {budget!r}.")
    if not (network is MLP or isinstance(network, MLP)):
        raise PdltError(f"Argument `network` must be pdlt.MLP or an instance of it, but got {network!r}.")
    requested = requested_observables(observables, order)
    if activation is None and isinstance(network, MLP):
        activation = network.activation
    with progress(_announcement(requested, order, budget)) as tick:
        equations = close(*requests(requested, order), tick)
    return Theory(order, tuple(o.name for o in requested), equations, _text(activation), __version__)


def _announcement(requested: list[Observable], order: int, budget: float) -> str:
    """Return what the progress line says; refuse what is estimated to take longer than the budget."""
    if order <= 1:
        return "deriving"
    cost = estimate(requested, order)
    if cost.seconds > budget:
        names = ", ".join(map(str, requested))
        raise PdltError(
            f"Argument `order`: deriving {names} at order {order} needs {cost}, more than `budget` = {budget:g} "
            "seconds. Ask for fewer observables or a lower order; pdlt.derive(..., budget=...) and "
            "`pdlt derive --budget` allow more."
        )
    return "deriving" if cost.seconds < _QUICK else f"deriving ({duration(cost.seconds)})"


def _text(activation: Any) -> str | None:
    if activation is None:
        return None
    from pdlt.activations import activation as resolve

    return resolve(activation).to_text()
