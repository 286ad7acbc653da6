"""Activation functions: sympy expressions that know their kinks, derivatives and evaluators.

An activation is read by `text` or taken as a sympy expression, brought to its canonical form (`canonical`),
its kinks decided (`kinks`), checked (`limits`, `regularity`), differentiated (`calculus`) and evaluated
(`program`); `reading` calls these in order.
"""

from pdlt.activations.activation import Activation
from pdlt.activations.builtin import ALIASES
from pdlt.activations.functions import z
from pdlt.activations.reading import BUILTIN, activation, leaky_relu

__all__ = ["ALIASES", "BUILTIN", "Activation", "activation", "leaky_relu", "z"]
