"""What each number of `pdlt.advise` rests on, in words."""

_ALWAYS = {
    "all": "one input (or inputs whose kernels are close), equal hidden widths, Gaussian weights, order 1/width",
    "initialisation": "infinite width: the kernel neither grows nor vanishes exponentially with depth",
    "learning_rates": "infinite width: every layer contributes equally to the tangent kernel of the last one, half of "
    "it from biases, half from weights; full-batch gradient descent on (z - y)^2/2 with one input is stable for steps "
    "below 2/Theta. Networks differ by ntk_fluctuation, and several inputs of the same size add their kernels: a mean "
    "over samples keeps this bound, a sum over N samples divides it by up to N",
    "optimal_coupling": "maximum of the mutual information of two groups of outputs on one input, cut off at the cubic "
    "order in kappa2. The maximum is a property of the truncated series (for log-normal kernels the exact information "
    "keeps growing); it marks where the cubic term is two thirds of the quadratic one, so it is a depth up to which "
    "depth is of use, good to a factor of about 1.5, not a sharp optimum",
    "optimal_depth": "kappa2 = V/(n K^2) at order 1/n along the kernel's actual path reaches the optimal coupling",
    "optimal_ratio": "the limit of large depth, 4/((20 + 3 n_L) nu) with V/K^2 = nu L",
    "output_fluctuation": "standard deviation over seeds, relative to the mean, of the variance that the outputs have "
    "given the hidden layers: sqrt(V/(n K^2)). An output itself has mean zero and variance K",
    "output_excess_kurtosis": "of one output over seeds: 3 V/(n K^2)",
    "ntk_fluctuation": "sqrt((A + 2B)/n)/Theta of one output, with the recommended learning rates",
    "gradient_fluctuation": "the same for the squared norm of the plain gradient of one output with respect to all "
    "weights and biases (lambda_b = 1, lambda_W = fan-in, the input's dimension included)",
    "truncation": "largest of V/(n K^2), A/(n Theta^2) and B/(n Theta^2): the relative size of the first neglected "
    "order, as an order of magnitude; order 1/n is trusted while it is at most 1/2",
}
_SMOOTH = (
    "mean over seeds of the relative change of the tangent kernel while gradient flow with the recommended "
    "learning rates fits one point with y^2 = K; order 1/n, where the dNTK and the ddNTKs partly cancel: "
    "ntk_change_error estimates what is left out"
)
_KINKED = (
    "mean over seeds of the relative change of the tangent kernel while gradient flow with the recommended "
    "learning rates fits one point with y^2 = K. Units cross the activation's kink, which gives an effect of order "
    "n^(-1/2), not 1/n, and is not in the tensors R, S, T, U. ntk_change_error estimates what is left out"
)


def assumptions(kinked: bool) -> dict[str, str]:
    """Return number -> the assumptions it rests on, for activations with or without a kink."""
    return {**_ALWAYS, "ntk_change": _KINKED if kinked else _SMOOTH}
