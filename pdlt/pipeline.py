"""The way through pdlt, one stage after the other. Read this first.

    stage       input                              output
    ---------   --------------------------------   -----------------------------------------------------------
    derive      names of observables, an order     Theory: recursions as plain data (pdlt.equations)
    export      Theory                             LaTeX, Mathematica, JSON, a standalone JAX module
    lower       Theory                             Program: array operations of one layer (pdlt.codegen)
    predict     Program, network, inputs           numbers with error estimates (xarray.Dataset)
    simulate    network, inputs                    the same numbers measured on real finite networks, no theory
    compare     prediction, measurement            a table with z-scores

`derive` is here; every other stage is a function of the same name in the package of that name.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from pdlt._progress import progress
from pdlt._version import __version__
from pdlt.equations import Theory, variable
from pdlt.errors import PdltError
from pdlt.networks import MLP
from pdlt.observables import NAMED, Observable, identify, observable
from pdlt.symbolic.recursion import close

#: More than this is derived in minutes to hours; the cost grows roughly a hundredfold per order.
MAX_ORDER = 4


def derive(
    observables: Sequence[str | Observable] | None = None,
    order: int = 1,
    network: type[MLP] | MLP = MLP,
    activation: Any = None,
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

    Returns:
        A closed system: the requested observables and every other cumulant that their recursions need.

    Raises:
        PdltError: for unknown observables, an order that is not an integer from 0 to 4, or an observable
            that first appears at a higher order than requested.
    """
    if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= MAX_ORDER:
        raise PdltError(f"Argument `order` must be an integer from 0 to {MAX_ORDER}, but got {order!r}.")
    if not (network is MLP or isinstance(network, MLP)):
        raise PdltError(f"Argument `network` must be pdlt.MLP or an instance of it, but got {network!r}.")
    requested = _requested(observables, order)
    # The leading kernel is the Gaussian that every expectation refers to, so it is always part of the system.
    wanted = [("K", 0)]
    frames = dict(NAMED)
    for item in requested:
        base = identify(item.slots)[0]
        frames[base.name] = base
        wanted += [(base.name, j) for j in range(order - item.leading_order + 1)]
    if activation is None and isinstance(network, MLP):
        activation = network.activation
    with progress("deriving") as tick:
        equations = close(wanted, frames, tick)
    return Theory(order, tuple(o.name for o in requested), equations, _text(activation), __version__)


def _requested(observables: Sequence[str | Observable] | None, order: int) -> list[Observable]:
    if observables is None:
        return [o for o in NAMED.values() if o.leading_order <= order]
    if isinstance(observables, str | Observable):
        observables = [observables]
    if not isinstance(observables, Iterable):
        raise PdltError(f"Argument `observables` must be names or specs of observables, but got {observables!r}.")
    # A coefficient such as K_1 is part of its observable at sufficient order.
    coefficients = {variable(name, j): name for name in NAMED for j in range(1, order + 1)}
    found = [observable(coefficients.get(name, name) if isinstance(name, str) else name) for name in observables]
    if not found:
        raise PdltError("Argument `observables` must name at least one observable, but is empty.")
    for item in found:
        if item.leading_order > order:
            raise PdltError(
                f"Argument `observables`: {item.name!r} first appears at order {item.leading_order}, "
                f"but `order` is {order}."
            )
    return list(dict.fromkeys(found))


def _text(activation: Any) -> str | None:
    if activation is None:
        return None
    from pdlt.activations import activation as resolve

    return resolve(activation).to_text()
