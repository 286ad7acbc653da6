# %% [markdown]
# # 1. The kernel, and its first correction at finite width
#
# **What is derived.** The covariance of the preactivations of a layer, averaged over networks:
# $$\mathbb E\big[z^{(\ell)}_{i;1} z^{(\ell)}_{j;2}\big] =\delta_{ij}\Big(K^{(\ell)}_{12}
# +\tfrac1{n_{\ell-1}}K^{\{1\}(\ell)}_{12} +O(n^{-2})\Big).$$
# $K$ is the kernel of the infinitely wide network, $K^{\{1\}}$ (`K_1` in pdlt) says how the mean shifts at
# finite width. Everything in the later files repeats the steps of this one with more indices, so they are
# spelled out here.
#
# ## Step 1: a layer, given the layer before
# The network is $z^{(\ell+1)}_{i\alpha}=b_i+\sum_j W_{ij}\,\sigma(z^{(\ell)}_{j\alpha})$ with independent
# $b_i\sim\mathcal N(0,C_b)$ and $W_{ij}\sim\mathcal N(0,C_W/n_\ell)$. Hold layer $\ell$ fixed. Then
# $z^{(\ell+1)}$ is linear in the Gaussians $b, W$, so it *is* Gaussian; rows $i$ use different weights, so
# neurons are independent; and their covariance is the same for all $i$:
# $$\widehat G^{(\ell+1)}_{12} =C_b +\frac1{n_\ell}\sum_{j=1}^{n_\ell}C_W\,\sigma(z_{j1})\sigma(z_{j2}).$$
# The same sentence applied one layer down says that the $z_j$ in the sum are independent draws from $\mathcal
# N(0,\widehat G^{(\ell)})$. Hence $\widehat G^{(1)},\widehat G^{(2)},\dots$ is a Markov chain of random
# matrices, and each step is an average of $n_\ell$ independent terms. No approximation has been made. At
# layer 1 the inputs are not random: $\widehat G^{(1)}_{12}=C_b+C_W\,x_1\!\cdot x_2/n_0$ does not fluctuate.
#
# ## Step 2: average
# Averaging the step, with $\langle f\rangle_G$ the expectation under $\mathcal N(0,G)$,
# $$\mathbb E\,\widehat G^{(\ell+1)}_{12} =C_b +C_W\,\mathbb E\,\langle\sigma_1\sigma_2\rangle_{\widehat
# G^{(\ell)}} .$$
# An average of many independent terms is close to its mean: $\delta=\widehat G-K$ has mean and variance of
# order $1/n$. To leading order the recursion closes on $K$:
# $$K'_{12} =C_b +C_W\langle\sigma_1\sigma_2\rangle_K .$$

# %%
from fractions import Fraction
from functools import cache

import mpmath
import numpy as np
import sympy

import pdlt
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.checks.arithmetic import iterate, single_input
from pdlt.checks.gaussian import homogeneous_average, polynomial_averages, quadrature
from pdlt.checks.moments import PolynomialNetwork
from pdlt.checks.scaling import extrapolated
from pdlt.checks.textbook import C_W, K_1, C_b, V, b1, b2, b3, b4, derived, mean, rho, sigma, sum_inputs


@claim(
    id="K.recursion",
    statement=r"$K'_{12}=C_b+C_W\langle\sigma_1\sigma_2\rangle$",
    level="symbolic",
    published="PDLT (arXiv:2106.10165) chapter 4; arXiv:2508.11522 section 4.1",
)
def k_recursion():
    return Identity(C_b + C_W * mean(sigma(1) * sigma(2)), derived("K"))


@k_recursion.control("the activations averaged one by one")
def averaged_apart():
    return Identity(C_b + C_W * mean(sigma(1)) * mean(sigma(2)), derived("K"))


# %% [markdown]
# ## Step 3: expand a Gaussian expectation in its covariance
# The density $e^{-\frac12 z G^{-1}z}/\sqrt{\det 2\pi G}$ obeys a heat equation, and after integrating by
# parts so does every expectation:
# $$\frac{\partial\langle f\rangle_G}{\partial G_{\alpha\beta}} =\frac{\langle\partial_\alpha\partial_\beta
# f\rangle_G} {1 +\delta_{\alpha\beta}} \qquad\Longrightarrow \qquad \langle f\rangle_{K+\delta} =\Big\langle
# \exp\!\big(\tfrac12\textstyle\sum_{\beta\beta'}\delta_{\beta\beta'}
# \partial_\beta\partial_{\beta'}\big)f\Big\rangle_K .$$
# The factor $\tfrac12$ and the free double sum over inputs go together: an off-diagonal entry occurs twice in
# the sum. For $f=\sin z_1\sin z_2$ the expectation is elementary, $e^{-(K_{11}+K_{22})/2}\sinh K_{12}$, so
# both sides can be compared to thirty digits: the left by differentiating the closed form, the right by
# quadrature.

# %%
KERNEL = ((Fraction(1, 2), Fraction(1, 5)), (Fraction(1, 5), Fraction(2, 5)))
DIGITS = 40


@cache
def heat_equation():
    """Return d<f>/dK_12, d<f>/dK_11 from the closed form; <d_1 d_2 f>, <d_1 d_1 f> / 2, <d_1 d_1 f> by quadrature."""
    k11, k12, k22 = sympy.symbols("k11 k12 k22")
    closed = sympy.exp(-(k11 + k22) / 2) * sympy.sinh(k12)
    values = {k11: sympy.Rational(1, 2), k12: sympy.Rational(1, 5), k22: sympy.Rational(2, 5)}
    slopes = [closed.diff(k).subs(values).evalf(DIGITS) for k in (k12, k11)]
    with mpmath.workdps(DIGITS):
        kernel = [[mpmath.mpf(k.numerator) / k.denominator for k in row] for row in KERNEL]

    def integrands(x, y):
        double = -mpmath.sin(x) * mpmath.sin(y)
        return mpmath.cos(x) * mpmath.cos(y), double / 2, double

    return slopes, *quadrature(kernel, DIGITS, reach=13, step=0.45)(integrands)


@claim(
    id="K.heat-equation",
    statement=r"$\partial\langle f\rangle/\partial K_{12}=\langle\partial_1\partial_2f\rangle$ and "
    r"$\partial\langle f\rangle/\partial K_{11}=\frac12\langle\partial_1^2f\rangle$, here for $f=\sin z_1\sin z_2$",
    level="precision",
)
def heat():
    slopes, mixed, half, _ = heat_equation()
    why = "trapezoidal rule for an entire function: exp(-2 pi^2 / 0.45^2) and exp(-13^2 / 2) are below 1e-36"
    return Agreement([mixed, half], slopes, 1e-30, why)


@heat.control("the diagonal entry without its one half")
def heat_without_half():
    slopes, mixed, _, double = heat_equation()
    return Agreement([mixed, double], slopes, 1e-30, "as in the claim")


# %% [markdown]
# ## Step 4: collect the order $1/n$
# Put $f=\sigma_1\sigma_2$, expand to second order in $\delta$ and average. Two facts enter: by definition
# $\mathbb E\,\delta_{12}=K^{\{1\}}_{12}/n_{\ell-1}$, and the covariance of $\widehat G$ is the four-point
# vertex (derived in the next file), $\mathbb E\,\delta_{12}\delta_{34}=V_{(12)(34)}/n_{\ell-1}+O(n^{-2})$.
# Third moments of $\delta$ are $O(n^{-2})$. What is left is, multiplied by $n_\ell$ and with
# $\rho=n_\ell/n_{\ell-1}$,
# $$K^{\{1\}\prime}_{12} =\rho\,C_W\Big[\tfrac12\sum_{\beta_1\beta_2}K^{\{1\}}_{\beta_1\beta_2}
# \langle\partial_{\beta_1}\partial_{\beta_2}\sigma_1\sigma_2\rangle +\tfrac18\sum_{\beta_1\dots\beta_4}
# V_{(\beta_1\beta_2)(\beta_3\beta_4)}\langle\partial_{\beta_1}\partial_{\beta_2}\partial_{\beta_3}\partial_{\beta_4}
# \sigma_1\sigma_2\rangle \Big].$$
# The eighth is $\frac1{2!}\big(\frac12\big)^2$. A sum over $\beta$ runs over the inputs in the brackets that
# it differentiates. At layers 1 and 2 nothing fluctuates yet in the layer below, so $K^{\{1\}}=0$ there.


# %%
def k1_published(power=8):
    from_mean = sum_inputs(K_1(b1, b2) * mean(sigma(1) * sigma(2), b1, b2), b1, b2) / 2
    from_spread = sum_inputs(V(b1, b2, b3, b4) * mean(sigma(1) * sigma(2), b1, b2, b3, b4), b1, b2, b3, b4)
    return rho * C_W * (from_mean + from_spread / power)


@claim(
    id="K_1.recursion",
    statement=r"The recursion of $K^{\{1\}}$ in step 4",
    level="symbolic",
    uses=["K.recursion", "K.heat-equation", "V.recursion"],
    published="arXiv:2508.11522 (47)",
)
def k1_recursion():
    return Identity(k1_published(), derived("K_1"))


@k1_recursion.control("1/4 in front of the vertex: the 1/2! of the exponential forgotten")
def k1_quarter():
    return Identity(k1_published(power=4), derived("K_1"))


# %% [markdown]
# ## A witness without perturbation theory
# For a polynomial activation the expectation of a product of activations is a polynomial in $\widehat G$
# (Isserlis), and an expectation of a product of $\widehat G$'s at one layer is a finite combination of such
# at the layer before. So the moments of a *finite* network are exact rationals, polynomials in $1/n$ if all
# widths grow in proportion. Their Taylor coefficients must be the numbers that the recursions produce.
# Nothing is shared with the derivation: no cumulants, no heat equation, no $\delta$. Two inputs, unequal
# widths ($n_1:n_2:n_3=2:3:1$); a cubic activation at layer 3 and a quadratic one at layer 4, where
# $K^{\{1\}}$ feeds on itself. Also compared is the next coefficient, `K_2`, whose recursion the engine
# derives from the same layer map (it involves `V_1` and the six-point cumulant).

# %%
QUADRATIC = (Fraction(0), Fraction(1), Fraction(1, 2))
CUBIC = (*QUADRATIC, Fraction(-1, 6))


def network(activation):
    return PolynomialNetwork(
        sigma=activation,
        gram=((Fraction(1), Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3))),
        ratios=(Fraction(2), Fraction(3), Fraction(1)),
        C_b=Fraction(1, 5),
        C_W=Fraction(1, 2),
        lambda_b=Fraction(1, 3),
        lambda_W=Fraction(3, 4),
    )


@cache
def kernel_both_ways(equal_widths=False):
    """Return K, K_1, K_2 at layer 3 (cubic) and 4 (quadratic): from the recursion, and exactly."""
    theory = pdlt.derive(["K"], order=2)
    recursion, exact = [], []
    for layer, finite in ((3, network(CUBIC)), (4, network(QUADRATIC))):
        steps = [{**p, "rho": Fraction(1)} if equal_widths else p for p in finite.parameters()[: layer - 1]]
        last = iterate(theory, *finite.first_layer(), polynomial_averages(finite.sigma), steps)[-1]
        for pair in ((0, 0), (0, 1)):
            recursion += [last[key][pair] for key in ("K", "K_1", "K_2")]
            exact += finite.coefficients("1 2", dict(zip((1, 2), pair, strict=True)), layer, terms=3)
    return recursion, exact


@claim(
    id="K_1.exact-moments",
    statement=r"For polynomial activations, two inputs, unequal widths, $K$, $K^{\{1\}}$ and $K^{\{2\}}$ at layers "
    "3 and 4 are the Taylor coefficients of the finite network's exact second moments",
    level="precision",
    uses=["K.recursion", "K_1.recursion"],
)
def k1_exact():
    return Agreement(*kernel_both_ways(), 0, "rational arithmetic on both sides")


@k1_exact.control("rho = 1, as if all widths were equal")
def k1_equal_widths():
    return Agreement(*kernel_both_ways(equal_widths=True), 0, "as in the claim")


# %% [markdown]
# ## Where the correction is absent
# If $\sigma$ is homogeneous, $\sigma(cz)=c\,\sigma(z)$ for $c>0$ (ReLU, leaky ReLU, linear), then on a single
# input $\langle\sigma\sigma\rangle_G=A_2G$ is *linear* in $G$: its second derivative with respect to $G$
# vanishes, the spread of $\widehat G$ cannot shift the mean, and with $C_b=0$ the correction stays zero at
# every depth. In the recursion this is $\langle\partial^4\sigma\sigma\rangle=0$.


# %%
@claim(
    id="K_1.scale-invariant",
    statement=r"On one input, a homogeneous activation with $C_b=0$, $C_W=1/A_2$ keeps $K'+tK^{\{1\}\prime}=K$ "
    "whatever $V$ is",
    level="symbolic",
    uses=["K_1.recursion"],
    published="arXiv:2508.11522 theorem 5.2 for the NTK; here the kernel",
)
def k1_scale_invariant():
    k, v, a2, ratio, t = sympy.symbols("k v a_2 rho t", positive=True)
    theory = pdlt.derive(["K"], order=1)
    average = homogeneous_average(lambda m: {2: a2}[m], k)
    state = {"K": k, "K_1": sympy.S.Zero, "V": v}
    parameters = {"C_b": sympy.S.Zero, "lambda_b": 0, "C_W": 1 / a2, "lambda_W": 0, "rho": ratio}
    new = {key: single_input(theory[key], state, average, parameters) for key in ("K", "K_1")}
    return Identity(new["K"] + t * new["K_1"], k)


@k1_scale_invariant.control("an activation that is not homogeneous, z + z^2/2 - z^3/6")
def k1_not_homogeneous():
    finite = network(CUBIC)
    theory = pdlt.derive(["K"], order=1)
    last = iterate(theory, *finite.first_layer(), polynomial_averages(CUBIC), finite.parameters()[:2])[-1]
    return Identity(last["K"][0, 0] + last["K_1"][0, 0], last["K"][0, 0])


# %% [markdown]
# ## Real fluctuations
# An ensemble of finite networks measures $\mathbb E\,\widehat G$ at the actual width, all orders included.
# The correction is isolated by $n\,(\mathbb E\,\widehat G-K)=K^{\{1\}}+K^{\{2\}}/n+\dots$, and measuring at
# $n$ and $2n$ removes $K^{\{2\}}$: $2X(2n)-X(n)=K^{\{1\}}+O(n^{-2})$. Sine at $C_W=2$, $C_b=0$ is a case
# where the shift is large compared with the spread, so that the test has power.

# %%
INPUT = np.array([[0.9, -0.4, 1.1]])
SINE = pdlt.MLP(depth=4, width=16, activation="sin", C_b=0.0, C_W=2.0)
SEED = 11


@cache
def kernel_shift():
    prediction = pdlt.predict(SINE, INPUT, observables=["K"]).isel(layer=-1)
    infinite = {"K": prediction["K"].values}
    run = extrapolated(SINE, INPUT, ["K"], samples=100_000, sampler="jets", seed=SEED, infinite=infinite)
    return prediction["K_1"].values, *run["K"]


@claim(
    id="K_1.ensemble",
    statement=r"$K^{\{1\}}$ of four-layer sine networks, measured on finite networks ($n=16$ and $32$)",
    level="ensemble",
    uses=["K_1.recursion"],
)
def k1_ensemble():
    return Scores(*kernel_shift(), z_max=3, seed=SEED)


@k1_ensemble.control("twice the correction")
def k1_doubled():
    prediction, measured, stderr = kernel_shift()
    return Scores(2 * prediction, measured, stderr, z_max=3, seed=SEED)
