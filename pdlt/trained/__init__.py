"""Ensembles of really trained networks: the measured side of what training does.

An independent witness, like `pdlt.ensemble` and `pdlt.finite`, on which it is built: of ours it imports the network
description, the activation's JAX function, errors, and these two, and nothing of the theory.

    problem      what is trained on what: checked arguments
    networks     outputs, tangent and hidden kernels of networks with given weights
    linearised   what linearised networks have learned: the control variate
    observables  what is measured, as moments over networks and back
    blocks       block k of a run: a pure function of the run's spec, the seed and k
    results      estimates -> dataset
    simulate     the driver
    slopes       residuals of a prediction against width: numbers in, numbers out
"""

from pdlt.trained.simulate import recorded_training, simulate_training

__all__ = ["recorded_training", "simulate_training"]
