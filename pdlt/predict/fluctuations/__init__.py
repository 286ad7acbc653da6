"""Order 1/n on hundreds of inputs: tensors with four indices as sums of products of matrices.

    averages      Gaussian expectations on all pairs of inputs
    means         K_1 and Theta_1 on all pairs of inputs
    draws         quasi-random neurons of a layer
    propagation   what neurons add to the components of the jet covariance, and how later layers pass it on
    sampled       `fluctuations`, which puts these together

What a component is, and which ones a tensor consists of, is in `pdlt.symbolic.fluctuations`.
"""

from pdlt.predict.fluctuations.sampled import PAIRS, Chunk, Fluctuations, fluctuations
from pdlt.symbolic.fluctuations import Factor, factors

__all__ = ["PAIRS", "Chunk", "Factor", "Fluctuations", "factors", "fluctuations"]
