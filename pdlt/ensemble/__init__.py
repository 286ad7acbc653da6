"""Monte Carlo ensembles of finite networks: the measured side of every comparison.

This package is the independent witness of the theory. Of ours it imports the network description, the
activation's JAX function, the errors and the double-precision switch, and nothing else.

    specs       what is measured: a joint cumulant, written as moments of the empirical jet covariance
    network     sampler: real weights, derivatives by automatic differentiation
    structured  sampler: the same networks, derivatives layer by layer
    conditioned sampler: their tangent kernels without weight matrices
    sweeps      the derivatives of structured and conditioned: forward, backward, tangent, adjoint
    jets        sampler: the law of the jet covariance, without weight matrices
    path        sampler: the same, its tangent components integrated given the forward path
    tangent_moments, controls
                the recursion that integrates them; control variates that take noise from what is left
    layer_scan  the chain over layers of jets and path
    normals     standard normal random numbers, fast
    blocks      block k of a run: a pure function of the run's spec, the seed and k
    tasks       what is sent to whoever draws blocks
    execution   where blocks are drawn: here, in local processes, on any executor
    store       block means in an SQLite file, so that a run can be continued
    statistics  block means -> sums that merge -> cumulants with jackknife errors
    forecast    what a run will cost
    doubt       when a standard error is not to be believed
    underflow   inputs so small that kernels become 0
    stopping    when a run has measured enough
    results     estimates -> dataset
    simulate    the driver
    recorded    a run read back from its file
"""

from pdlt.ensemble.doubt import DoubtfulErrorsWarning
from pdlt.ensemble.recorded import recorded
from pdlt.ensemble.simulate import simulate
from pdlt.ensemble.statistics import Accumulator

__all__ = ["Accumulator", "DoubtfulErrorsWarning", "recorded", "simulate"]
