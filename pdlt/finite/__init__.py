"""Single real networks of finite width as functions of their parameters.

This package is an independent witness, like `pdlt.ensemble`: of ours it imports the network description, the
activation's JAX function, the errors, the progress bar and the double-precision switch, and nothing of the theory.

    architecture  the pure functions: outputs of weights and parameters, the first-order expansion, Jacobians
    network       FiniteNetwork and Linearised: the same with their weights inside, tangent kernels
    method        the contract of a training method, and the plain gradient
    natural       natural gradient and relatives
    memory        refuses arrays that do not fit
    integrate     flow with error control, exact steps of descent
    training      train: all of these put together
    linear        solve: the training of a linearised network in closed form
    metrics       Fisher metric, empirical Fisher metric, natural tangent kernel
    distance      how far training and its linearisation are apart, against width
"""

from pdlt.finite.architecture import Architecture, LinearisedArchitecture
from pdlt.finite.distance import LinearisationDistance, linearisation_distance
from pdlt.finite.linear import solve, solved
from pdlt.finite.method import Gradient
from pdlt.finite.metrics import empirical_fisher, fisher, natural_kernel
from pdlt.finite.natural import EmpiricalNatural, GaussNewton, KullbackLeibler, NaturalGradient, SaddleFreeNewton
from pdlt.finite.network import FiniteNetwork, Linearised
from pdlt.finite.training import Trajectory, train, trained

__all__ = [
    "Architecture",
    "EmpiricalNatural",
    "FiniteNetwork",
    "GaussNewton",
    "Gradient",
    "KullbackLeibler",
    "LinearisationDistance",
    "Linearised",
    "LinearisedArchitecture",
    "NaturalGradient",
    "SaddleFreeNewton",
    "Trajectory",
    "empirical_fisher",
    "fisher",
    "linearisation_distance",
    "natural_kernel",
    "solve",
    "solved",
    "train",
    "trained",
]
