"""Monte Carlo ensembles of finite networks: the measured side of every comparison.

This package is the independent witness of the theory. Of ours it imports the network description, the
activation's JAX function, the errors and the double-precision switch, and nothing else.

    specs       what is measured: a joint cumulant, written as moments of the empirical jet covariance
    network     sampler: real weights, derivatives by automatic differentiation
    jets        sampler: the same law without weight matrices
    statistics  block means -> cumulants with jackknife errors
    store       block means in an SQLite file, so that a run can be continued
    simulate    the driver
"""

from pdlt.ensemble.simulate import simulate

__all__ = ["simulate"]
