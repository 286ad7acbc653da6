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
    distance      how far training and its expansion are apart, against width
    quadratic     Expanded: a network's quadratic model and higher orders; QuadraticModel: one of given features
    nearly_kernel what a quadratic model has learned, in closed form to first order
"""

from pdlt.finite.architecture import Architecture, LinearisedArchitecture
from pdlt.finite.distance import LinearisationDistance, linearisation_distance
from pdlt.finite.linear import solve, solved
from pdlt.finite.method import Gradient
from pdlt.finite.metrics import empirical_fisher, fisher, natural_kernel
from pdlt.finite.natural import EmpiricalNatural, GaussNewton, KullbackLeibler, NaturalGradient, SaddleFreeNewton
from pdlt.finite.nearly_kernel import NearlyKernel, meta_kernel, nearly_kernel
from pdlt.finite.network import FiniteNetwork, Linearised, Model
from pdlt.finite.quadratic import Expanded, ExpandedArchitecture, QuadraticModel
from pdlt.finite.training import Trajectory, train, trained

__all__ = [
    "Architecture",
    "EmpiricalNatural",
    "Expanded",
    "ExpandedArchitecture",
    "FiniteNetwork",
    "GaussNewton",
    "Gradient",
    "KullbackLeibler",
    "LinearisationDistance",
    "Linearised",
    "LinearisedArchitecture",
    "Model",
    "NaturalGradient",
    "NearlyKernel",
    "QuadraticModel",
    "SaddleFreeNewton",
    "Trajectory",
    "empirical_fisher",
    "fisher",
    "linearisation_distance",
    "meta_kernel",
    "natural_kernel",
    "nearly_kernel",
    "solve",
    "solved",
    "train",
    "trained",
]
