# %% [markdown]
# # 3. The mean of the neural tangent kernel
#
# **What is derived.** The tangent kernel of one network, $\widehat
# H_{i_1i_2;12}=\sum_\mu\lambda_\mu\,\partial_\mu z_{i_1;1}\,\partial_\mu z_{i_2;2}$ with learning rates
# $\lambda_b$ for biases and $\lambda_W/n_{\ell-1}$ for weights, averages to
# $$\mathbb E\,\widehat H_{i_1i_2;12} =\delta_{i_1i_2}\Big(\Theta_{12} +\tfrac1{n_{\ell-1}}\Theta^{\{1\}}_{12}
# +O(n^{-2})\Big).$$
#
# ## Step 1: derivatives become fields
# A sum over all parameters is awkward; an average over a random direction is not. Let $g_a$ be a Gaussian
# direction in parameter space, independent for each parameter, with variance $\lambda_b$ for a bias and
# $\lambda_W/n_{\ell-1}$ for a weight, and write $z_a=\frac{d}{d\epsilon}z(\theta+\epsilon g_a)$. Then
# $$\widehat H_{i_1i_2;12} =\mathbb E_a\big[z_{a,i_1;1}\,z_{a,i_2;2}\big]:$$
# the tangent kernel is an ordinary correlator of one more field. Differentiating the layer map along $g_a$,
# $$z'_{a}=b_a +\sum_jW_{a,j}\,\sigma(z_j) +\sum_jW_j\,\sigma'(z_j)\,z_{a,j},$$
# which is linear in the *fresh* Gaussians $b,W,b_a,W_a$ of the layer. So step 1 of file 1 applies word for
# word to the pair $(z,z_a)$: given layer $\ell$, neurons of layer $\ell+1$ are independent Gaussian vectors
# with the covariance
# $$\widehat G'_{01,02} =C_b +\frac{C_W}{n_\ell}\sum_j\sigma_1\sigma_2, \qquad \widehat G'_{01,a2}
# =\frac{C_W}{n_\ell}\sum_j\sigma_1\sigma'_2z_{a2}, \qquad \widehat G'_{a1,a2} =\lambda_b
# +\frac1{n_\ell}\sum_j\big(\lambda_W\sigma_1\sigma_2 +C_W\sigma'_1\sigma'_2z_{a1}z_{a2}\big).$$
# (0k is the plain field on input k, ak its derivative along $a$.) What remains of this file is the expansion
# of file 1 for the last of these entries.
#
# ## Step 2: leading order
# Flipping the sign of $g_a$ is a symmetry, so $\widehat G_{01,a2}$ has mean zero: to leading order $z$ and
# $z_a$ are independent, with covariances $K$ and $\Theta$. Wick's theorem for $z_{a1}z_{a2}$ gives
# $$\Theta'_{12} =\lambda_b +\lambda_W\langle\sigma_1\sigma_2\rangle +C_W\langle\sigma'_1\sigma'_2\rangle
# \Theta_{12} =\lambda_b +\langle\widehat\Omega_{12}\rangle , \qquad \widehat\Omega_{12}
# =\lambda_W\sigma_1\sigma_2 +C_W\Theta_{12}\sigma'_1\sigma'_2 .$$

# %%
from fractions import Fraction
from functools import cache

import numpy as np
import sympy

import pdlt
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.checks.arithmetic import iterate, single_input
from pdlt.checks.gaussian import homogeneous_average, polynomial_averages
from pdlt.checks.moments import PolynomialNetwork
from pdlt.checks.scaling import extrapolated
from pdlt.checks.textbook import (
    C_W,
    K_1,
    D,
    F,
    Omega,
    Theta,
    Theta_1,
    V,
    b1,
    b2,
    b3,
    b4,
    d,
    derived,
    lambda_b,
    lambda_W,
    mean,
    rho,
    sigma,
    sum_inputs,
)


@claim(
    id="Theta.recursion",
    statement=r"$\Theta'_{12}=\lambda_b+\lambda_W\langle\sigma_1\sigma_2\rangle"
    r"+C_W\langle\sigma'_1\sigma'_2\rangle\Theta_{12}$",
    level="symbolic",
    uses=["K.recursion"],
    published="PDLT (arXiv:2106.10165) (8.74), up to normalisation",
)
def theta_recursion():
    direct = lambda_W * mean(sigma(1) * sigma(2))
    return Identity(lambda_b + direct + C_W * Theta(1, 2) * mean(d(1) * d(2)), derived("Theta"))


@theta_recursion.control("chain rule forgotten: sigma instead of sigma' multiplies the kernel of the layer below")
def theta_no_chain_rule():
    direct = lambda_W * mean(sigma(1) * sigma(2))
    return Identity(lambda_b + direct + C_W * Theta(1, 2) * mean(sigma(1) * sigma(2)), derived("Theta"))


# %% [markdown]
# ## Step 3: order $1/n$
# Now expand $\mathbb E\langle\Phi_{a1,a2}\rangle_{\widehat G}$ in *all* entries of $\delta=\widehat G-K$, to
# second order. The heat equation holds for every entry, with $\partial/\partial z_{a1}$ for a derivative
# field. Term by term:
#
# * $\delta$ in $\langle\sigma'_1\sigma'_2\,z_{a1}z_{a2}\rangle$ hits $z_{a1}z_{a2}$: gives $\mathbb
# E\,\delta_{a1,a2}=\Theta^{\{1\}}_{12}/n$;
# * one or two plain $\delta$'s act on the plain fields of $\widehat\Omega$: as for the kernel, $K^{\{1\}}$
# and $V$;
# * one plain $\delta_{0\beta_1,0\beta_2}$ and one $\delta_{a1,a2}$: their covariance is
# $D_{\beta_1\beta_212}/n$, with a factor $\tfrac12$ from the heat equation;
# * two mixed entries $\delta_{0\beta_1,a1}\,\delta_{0\beta_2,a2}$: both have mean zero, but their covariance
# is $F_{\beta_11\beta_22}/n$. The derivative $\partial_{\beta_1}\partial_{a1}$ carries no $\tfrac12$, and the
# $\tfrac1{2!}$ is cancelled by the two ways to name them.
#
# $$\Theta^{\{1\}\prime}_{12} =\rho\Big[C_W\Theta^{\{1\}}_{12}\langle\sigma'_1\sigma'_2\rangle +\tfrac12\sum
# K^{\{1\}}_{\beta_1\beta_2}\langle\partial^2_{\beta_1\beta_2}\widehat\Omega_{12}\rangle +\tfrac18\sum
# V_{\beta_1\beta_2\beta_3\beta_4}\langle\partial^4\widehat\Omega_{12}\rangle
# +C_W\sum_{\beta_1\beta_2}\langle\partial^2_{\beta_1\beta_2}\sigma'_1\sigma'_2\rangle
# \big(\tfrac12D_{\beta_1\beta_212} +F_{\beta_11\beta_22}\big)\Big].$$
#
# This is where the variance tensors of the next file enter the mean: an NTK that fluctuates together with the
# preactivations has another average.


# %%
def theta1_published(crossed=1, mixed=None):
    """Return (78); `crossed` multiplies F, and `mixed` replaces D."""
    both = (mixed or D(b1, b2, 1, 2)) / 2 + crossed * F(b1, 1, b2, 2)
    return rho * (
        C_W * Theta_1(1, 2) * mean(d(1) * d(2))
        + sum_inputs(K_1(b1, b2) * mean(Omega(1, 2), b1, b2), b1, b2) / 2
        + sum_inputs(V(b1, b2, b3, b4) * mean(Omega(1, 2), b1, b2, b3, b4), b1, b2, b3, b4) / 8
        + C_W * sum_inputs(both * mean(d(1) * d(2), b1, b2), b1, b2)
    )


@claim(
    id="Theta_1.recursion",
    statement=r"The recursion of $\Theta^{\{1\}}$ in step 3",
    level="symbolic",
    uses=["Theta.recursion", "K_1.recursion", "K.heat-equation", "V.recursion", "D.recursion", "F.recursion"],
    published="arXiv:2508.11522 (78)",
)
def theta1_recursion():
    return Identity(theta1_published(), derived("Theta_1"))


@theta1_recursion.control("F with one half, as if the two mixed entries could not be exchanged")
def theta1_half_f():
    return Identity(theta1_published(crossed=sympy.Rational(1, 2)), derived("Theta_1"))


@theta1_recursion.control("D with the tangent slots first")
def theta1_swapped_d():
    return Identity(theta1_published(mixed=D(1, 2, b1, b2)), derived("Theta_1"))


# %% [markdown]
# ## Exact moments
# The witness of files 1 and 2 knows nothing of directions: it multiplies out $\sigma(z+\epsilon_az_a)$ and
# applies Isserlis' theorem to the jets. At layer 3, for two inputs and a quadratic activation, also the next
# coefficient `Theta_2`; at layer 4, where $\Theta^{\{1\}}$ feeds on itself, the leading ones.

# %%
NETWORK = PolynomialNetwork(
    sigma=(Fraction(0), Fraction(1), Fraction(1, 2)),
    gram=((Fraction(1), Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3))),
    ratios=(Fraction(2), Fraction(3), Fraction(1)),
    C_b=Fraction(1, 5),
    C_W=Fraction(1, 2),
    lambda_b=Fraction(1, 3),
    lambda_W=Fraction(3, 4),
)


@cache
def theta_both_ways():
    """Return Theta and Theta_1 at layers 3 and 4, for the input pairs 00 and 01."""
    theory = pdlt.derive(["Theta"], order=1)
    layers = iterate(theory, *NETWORK.first_layer(), polynomial_averages(NETWORK.sigma), NETWORK.parameters())
    recursion, exact = [], []
    for layer in (3, 4):
        for pair in ((0, 0), (0, 1)):
            recursion += [layers[layer - 1][key][pair] for key in ("Theta", "Theta_1")]
            exact += NETWORK.coefficients("a1 a2", dict(zip((1, 2), pair, strict=True)), layer, terms=2)
    return recursion, exact


@claim(
    id="Theta_1.exact-moments",
    statement=r"For a quadratic activation, two inputs and unequal widths, $\Theta$ and $\Theta^{\{1\}}$ at layers 3 "
    "and 4 are the Taylor coefficients of the finite network's exact mean NTK",
    level="precision",
    uses=["Theta_1.recursion"],
)
def theta1_exact():
    return Agreement(*theta_both_ways(), 0, "rational arithmetic on both sides")


@theta1_exact.control("the two inputs of the off-diagonal entry taken to be equal")
def theta1_wrong_input():
    recursion, exact = theta_both_ways()
    return Agreement(recursion[:2] * 4, exact, 0, "as in the claim")


# %% [markdown]
# ## Scale invariance
# At criticality ($C_b=0$, $C_W=1/A_2$) one input gives $C_W\langle\sigma'\sigma'\rangle=1$, so each layer
# adds the same amount, $\Theta^{(\ell)}=\kappa\,\ell$ with $\kappa=\lambda_b+\lambda_WA_2K$; and there is no
# correction, at any depth: $\sigma'\sigma'$ does not depend on $|z|$, and $\widehat\Omega$ is a sum of
# homogeneous functions of degree two and zero, whose averages are linear in $\widehat G$. The claim does both
# at once: with $t$ standing for $1/n$, and arbitrary $V$, $D$, $F$, the recursion takes $\kappa\ell+t\cdot0$
# to $\kappa(\ell+1)+t\cdot0$.


# %%
def theta_closed_form(chi=1):
    k, a2, t, ell, weight, bias = sympy.symbols("K A_2 t ell lambda_W lambda_b", positive=True)
    theory = pdlt.derive(["Theta"], order=1)
    kappa = bias + weight * a2 * k
    state = dict(zip(("V", "D", "F"), sympy.symbols("v d f"), strict=True))
    state |= {"K": k, "K_1": 0, "Theta": kappa * ell, "Theta_1": 0}
    parameters = {"C_b": 0, "lambda_b": bias, "C_W": chi / a2, "lambda_W": weight, "rho": sympy.Symbol("rho")}
    average = homogeneous_average(lambda m: {2: a2}[m], k)
    new = {key: single_input(theory[key], state, average, parameters) for key in ("Theta", "Theta_1")}
    return Identity(new["Theta"] + t * new["Theta_1"], kappa * (ell + 1))


@claim(
    id="Theta.scale-invariant",
    statement=r"On one input at criticality a homogeneous activation has "
    r"$\Theta^{(\ell)}=\kappa\ell$, $\Theta^{\{1\}}=0$",
    level="symbolic",
    uses=["Theta_1.recursion", "K_1.scale-invariant"],
    published="arXiv:2508.11522 theorem 5.2",
)
def theta_scale_invariant():
    return theta_closed_form()


@theta_scale_invariant.control("C_W twice the critical value")
def theta_not_critical():
    return theta_closed_form(chi=2)


# %% [markdown]
# ## Real networks
# The mean NTK of swish networks of depth 4, $C_W=2.5$, exceeds its infinite-width value visibly. As in file 1
# the widths $n=16$ and $32$ are combined into $2X(2n)-X(n)$, $X=n(\mathbb E\,\widehat H-\Theta)$. A second
# test uses real weights and automatic differentiation at the single width 16; there the next order is not
# small compared with the standard error, so the prediction is summed to second order,
# $\Theta+\Theta^{\{1\}}/n+\Theta^{\{2\}}/n^2$, and what is tested is that the finite-width effect is there
# and has this size.

# %%
INPUT = np.array([[0.9, -0.4, 1.1]])
SWISH = pdlt.MLP(depth=4, width=16, activation="silu", C_b=0.3, C_W=2.5, lambda_b=0.7, lambda_W=1.1)
SEED = 31


@cache
def ntk_shift():
    prediction = pdlt.predict(SWISH, INPUT, observables=["Theta"]).isel(layer=-1)
    infinite = {"Theta": prediction["Theta"].values}
    run = extrapolated(SWISH, INPUT, ["Theta"], samples=200_000, sampler="jets", seed=SEED, infinite=infinite)
    return prediction["Theta_1"].values, *run["Theta"]


@claim(
    id="Theta_1.ensemble",
    statement=r"$\Theta^{\{1\}}$ of four-layer swish networks, measured on finite networks",
    level="ensemble",
    uses=["Theta_1.recursion"],
)
def theta1_ensemble():
    return Scores(*ntk_shift(), z_max=3, seed=SEED)


@theta1_ensemble.control("twice the correction")
def theta1_doubled():
    prediction, measured, stderr = ntk_shift()
    return Scores(2 * prediction, measured, stderr, z_max=3, seed=SEED)


@cache
def ntk_of_networks():
    series = pdlt.predict(SWISH, INPUT, observables=["Theta"], order=2)
    run = pdlt.simulate(SWISH, INPUT, ["Theta"], 26_000, "network", SEED, layers=[4], progress=False)
    last = series.isel(layer=-1)
    value = pdlt.total(series)["Theta"].isel(layer=-1).values
    return value, run["Theta"].values, run["Theta_stderr"].values, value - last["Theta"].values


@claim(
    id="Theta_1.networks",
    statement=r"The mean NTK of real swish networks of width 16 is $\Theta+\Theta^{\{1\}}/n+\Theta^{\{2\}}/n^2$",
    level="ensemble",
    uses=["Theta_1.recursion"],
)
def theta1_networks():
    value, measured, stderr, effect = ntk_of_networks()
    return Scores(value, measured, stderr, z_max=3, seed=SEED, effect=effect)


@theta1_networks.control("the infinitely wide network")
def theta1_infinite():
    value, measured, stderr, effect = ntk_of_networks()
    return Scores(value - effect, measured, stderr, z_max=3, seed=SEED, effect=effect)
