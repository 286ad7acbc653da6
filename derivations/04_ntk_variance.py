# %% [markdown]
# # 4. The fluctuations of the neural tangent kernel
#
# **What is derived.** The joint second moments of preactivations and tangent kernel at leading order, with
# $\Delta\widehat H=\widehat H-\mathbb E\widehat H$ and $n=n_{\ell-1}$:
# $$\mathbb E[z_{i_1}z_{i_2}\Delta\widehat H_{i_3i_4}] =\tfrac1n\big[\delta_{12}\delta_{34}D_{1234}
# +\delta_{13}\delta_{24}F_{1324} +\delta_{14}\delta_{23}F_{1423}\big], \qquad \mathbb E[\Delta\widehat
# H_{i_1i_2}\Delta\widehat H_{i_3i_4}] =\tfrac1n\big[\delta_{12}\delta_{34}A_{1234}
# +\delta_{13}\delta_{24}B_{1324} +\delta_{14}\delta_{23}B_{1423}\big].$$
#
# ## Step 1: which cumulants these are
# Write the tangent kernel with directions, $\widehat H_{12}=\mathbb E_a[z_{a1}z_{a2}]$, a fresh letter for
# each $\widehat H$. Given the layer below all fields are Gaussian, so a moment is a sum over pairings of
# products of entries of $\widehat G$. Neurons in a pairing must be equal; that gives the Kronecker deltas,
# and the coefficient of each is one joint cumulant:
# $$D_{1234}=n\,\kappa(\widehat G_{01,02},\widehat G_{a3,a4}),\quad F_{1324}=n\,\kappa(\widehat
# G_{01,a3},\widehat G_{02,a4}),\quad A_{1234}=n\,\kappa(\widehat G_{a1,a2},\widehat G_{b3,b4}),\quad
# B_{1324}=n\,\kappa(\widehat G_{a1,b3},\widehat G_{a2,b4}).$$
# Subscripts are read position by position: in $F_{1324}$ the first and third index belong to the two $z$'s,
# the second and fourth to the tangent kernel.
#
# ## Step 2: one law for all four
# The law of total covariance of file 2 holds for any two entries:
# $$n_\ell\,\kappa(\widehat G',\widehat G'') =\langle\Phi\Phi''\rangle -\langle\Phi\rangle
# \langle\Phi''\rangle +\rho\sum\frac{\partial\langle\Phi\rangle }{\partial
# G}\frac{\partial\langle\Phi''\rangle }{\partial G}\;n\,\kappa(\widehat G,\widehat G),$$
# where the sum runs over pairs of entries of $\widehat G$. Which pairs contribute is decided by the
# directions: a cumulant vanishes unless every direction occurs an even number of times. That selection rule
# is the whole difference between the four tensors.
#
# ## Step 3: $D$ and $A$
# $\Phi_{01,02}=C_W\sigma_1\sigma_2$ depends on plain entries only;
# $\Phi_{a3,a4}=\lambda_W\sigma_3\sigma_4+C_W\sigma'_3\sigma'_4z_{a3}z_{a4}$ also on $\widehat G_{a3,a4}$. At
# leading order the average over $z_a$ turns the latter into $\widehat\Omega_{34}$, so
# $$D'_{1234} =C_W\big[\langle\sigma_1\sigma_2\widehat\Omega_{34}\rangle -\langle\sigma_1\sigma_2\rangle
# \langle\widehat\Omega_{34}\rangle \big] +\tfrac{\rho C_W}4\sum
# V\langle\partial^2_{\beta_1\beta_2}\sigma_1\sigma_2\rangle
# \langle\partial^2_{\beta_3\beta_4}\widehat\Omega_{34}\rangle +\tfrac{\rho
# C_W^2}{2}\sum\langle\partial^2_{\beta_1\beta_2}\sigma_1\sigma_2\rangle \langle\sigma'_3\sigma'_4\rangle
# D_{\beta_1\beta_234}.$$
# $A$ is the same with $\widehat\Omega$ on both sides: $V$ through both, $D$ through one and the tangent entry
# of the other (twice), and $A$ itself through both tangent entries.
#
# ## Step 4: $F$ and $B$
# Here each entry holds a direction that its partner holds as well, so no plain entry can be passed on and the
# products of means vanish: $\langle\Phi_{01,a3}\rangle=0$. The fresh noise pairs the two $z_a$'s, and each
# $\Phi$ passes on exactly one mixed entry, $\partial_\beta$ for its plain slot:
# $$F'_{1324} =C_W^2\langle\sigma_1\sigma_2\sigma'_3\sigma'_4\rangle \Theta_{34} +\rho
# C_W^2\sum_{\beta\gamma}\langle\partial_\beta(\sigma_1\sigma'_3)\rangle
# \langle\partial_\gamma(\sigma_2\sigma'_4)\rangle F_{\beta3\gamma4},$$
# $$B'_{1324} =C_W^2\langle\sigma'_1\sigma'_2\sigma'_3\sigma'_4\rangle \Theta_{12}\Theta_{34} +\rho
# C_W^2\langle\sigma'_1\sigma'_3\rangle \langle\sigma'_2\sigma'_4\rangle B_{1324}.$$

# %%
from fractions import Fraction
from functools import cache
from itertools import product

import numpy as np

import pdlt
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.checks.arithmetic import iterate
from pdlt.checks.gaussian import polynomial_averages
from pdlt.checks.moments import PolynomialNetwork
from pdlt.checks.scaling import extrapolated
from pdlt.checks.textbook import (
    C_W,
    A,
    B,
    D,
    F,
    Omega,
    Theta,
    V,
    b1,
    b2,
    b3,
    b4,
    d,
    derived,
    mean,
    rho,
    sigma,
    sum_inputs,
    sum_over,
)


def d_published(passed_on):
    """Return (50) with the V-term given."""
    source = C_W * (mean(sigma(1) * sigma(2) * Omega(3, 4)) - mean(sigma(1) * sigma(2)) * mean(Omega(3, 4)))
    again = mean(sigma(1) * sigma(2), b1, b2) * mean(d(3) * d(4)) * D(b1, b2, 3, 4)
    return source + rho * C_W / 4 * passed_on + rho * C_W**2 / 2 * sum_inputs(again, b1, b2)


def d_vertex(second=(b3, b4)):
    return V(b1, b2, b3, b4) * mean(sigma(1) * sigma(2), b1, b2) * mean(Omega(3, 4), *second)


@claim(
    id="D.recursion",
    statement=r"The recursion of $D_{1234}$ in step 3",
    level="symbolic",
    uses=["V.recursion", "Theta.recursion"],
    published="arXiv:2508.11522 (50), with the labels of the second bracket corrected",
)
def d_recursion():
    return Identity(d_published(sum_inputs(d_vertex(), b1, b2, b3, b4)), derived("D"))


@d_recursion.control("(50) as printed: the labels b1, b2 repeated in the second bracket")
def d_misprint():
    literal = sum_over([1, 2, 3, 4], d_vertex(second=(b1, b2)), b1, b2, b3, b4)
    return Identity(d_published(literal), derived("D"))


@claim(
    id="F.recursion",
    statement=r"The recursion of $F_{1324}$ in step 4",
    level="symbolic",
    uses=["Theta.recursion", "K.heat-equation"],
    published="arXiv:2508.11522 (5)",
)
def f_recursion():
    return Identity(f_published(F(b1, 3, b2, 4)), derived("F"))


def f_published(tensor):
    source = C_W**2 * mean(sigma(1) * sigma(2) * d(3) * d(4)) * Theta(3, 4)
    return source + rho * C_W**2 * sum_inputs(mean(sigma(1) * d(3), b1) * mean(sigma(2) * d(4), b2) * tensor, b1, b2)


@f_recursion.control("the slots of z and of the tangent kernel exchanged")
def f_swapped():
    return Identity(f_published(F(3, b1, 4, b2)), derived("F"))


def a_published(other):
    """Return (53) with the D that multiplies the second derivative of Omega_34."""
    source = mean(Omega(1, 2) * Omega(3, 4)) - mean(Omega(1, 2)) * mean(Omega(3, 4))
    vertex = V(b1, b2, b3, b4) * mean(Omega(1, 2), b1, b2) * mean(Omega(3, 4), b3, b4)
    first = mean(Omega(1, 2), b1, b2) * mean(d(3) * d(4)) * D(b1, b2, 3, 4)
    second = mean(Omega(3, 4), b1, b2) * mean(d(1) * d(2)) * other
    again = C_W**2 * mean(d(1) * d(2)) * mean(d(3) * d(4)) * A(1, 2, 3, 4)
    mixed = C_W / 2 * sum_inputs(first + second, b1, b2)
    return source + rho * (sum_inputs(vertex, b1, b2, b3, b4) / 4 + mixed + again)


@claim(
    id="A.recursion",
    statement=r"$A'_{1234}=\langle\widehat\Omega_{12}\widehat\Omega_{34}\rangle-\langle\widehat\Omega_{12}\rangle"
    r"\langle\widehat\Omega_{34}\rangle+\dots$ with $V$, $D$ twice and $A$ passed on",
    level="symbolic",
    uses=["D.recursion"],
    published="arXiv:2508.11522 (53), with the slots of the second D corrected",
)
def a_recursion():
    return Identity(a_published(D(b1, b2, 1, 2)), derived("A"))


@a_recursion.control("(53) as printed: D_{12 b3 b4}, tangent slots first")
def a_misprint():
    return Identity(a_published(D(1, 2, b1, b2)), derived("A"))


def b_published(source):
    return C_W**2 * (
        mean(d(1) * d(2) * d(3) * d(4)) * source + rho * mean(d(1) * d(3)) * mean(d(2) * d(4)) * B(1, 3, 2, 4)
    )


@claim(
    id="B.recursion",
    statement=r"The recursion of $B_{1324}$ in step 4",
    level="symbolic",
    uses=["Theta.recursion"],
    published="arXiv:2508.11522 (55)",
)
def b_recursion():
    return Identity(b_published(Theta(1, 2) * Theta(3, 4)), derived("B"))


@b_recursion.control("the directions paired across: Theta_13 Theta_24")
def b_swapped():
    return Identity(b_published(Theta(1, 3) * Theta(2, 4)), derived("B"))


# %% [markdown]
# ## Exact moments
# Two inputs, unequal widths, layer 3, the witness of the files before. Every component of the leading
# coefficients, and of one component of each tensor also the next coefficient (`A_1` and so on), which
# involves six-point cumulants such as $\kappa(\widehat G_{01,02},\widehat G_{a3,a4},\widehat G_{b5,b6})$ that
# the engine finds and derives by itself.

# %%
NETWORK = PolynomialNetwork(
    sigma=(Fraction(0), Fraction(1), Fraction(1, 2)),
    gram=((Fraction(1), Fraction(1, 3)), (Fraction(1, 3), Fraction(2, 3))),
    ratios=(Fraction(2), Fraction(3)),
    C_b=Fraction(1, 5),
    C_W=Fraction(1, 2),
    lambda_b=Fraction(1, 3),
    lambda_W=Fraction(3, 4),
)
SPECS = {"A": "a1 a2 | b3 b4", "B": "a1 b3 | a2 b4", "D": "1 2 | a3 a4", "F": "1 a3 | 2 a4"}
AXES = {"A": (1, 2, 3, 4), "B": (1, 3, 2, 4), "D": (1, 2, 3, 4), "F": (1, 3, 2, 4)}


def at_layer_3(order):
    theory = pdlt.derive(list(SPECS), order=order)
    return iterate(theory, *NETWORK.first_layer(), polynomial_averages(NETWORK.sigma), NETWORK.parameters())[2]


@cache
def variance_both_ways():
    """Return tables name -> inputs -> leading coefficient: from the recursions, and exactly."""
    state = at_layer_3(order=1)
    recursion = {name: state[name] for name in SPECS}
    exact = {
        name: {
            inputs: NETWORK.coefficients(spec, dict(zip(AXES[name], inputs, strict=True)), layer=3, terms=1)[0]
            for inputs in product((0, 1), repeat=4)
        }
        for name, spec in SPECS.items()
    }
    return recursion, exact


def numbers(table):
    return [table[name][inputs] for name in SPECS for inputs in product((0, 1), repeat=4)]


@claim(
    id="ABDF.exact-moments",
    statement="For a quadratic activation, two inputs and unequal widths, all components of $A$, $B$, $D$, $F$ at "
    "layer 3 are the leading coefficients of the finite network's exact joint cumulants",
    level="precision",
    uses=["A.recursion", "B.recursion", "D.recursion", "F.recursion"],
)
def abdf_exact():
    recursion, exact = variance_both_ways()
    return Agreement(numbers(recursion), numbers(exact), 0, "rational arithmetic on both sides")


@abdf_exact.control("D with the slots of z and of the tangent kernel exchanged")
def abdf_swapped():
    recursion, exact = variance_both_ways()
    swapped = {inputs: recursion["D"][inputs[2:] + inputs[:2]] for inputs in recursion["D"]}
    return Agreement(numbers({**recursion, "D": swapped}), numbers(exact), 0, "as in the claim")


@cache
def next_order_both_ways():
    ratios = NETWORK.ratios
    finite = PolynomialNetwork(NETWORK.sigma, ((Fraction(2, 3),),), ratios, *(Fraction(1, 2),) * 4)
    theory = pdlt.derive(list(SPECS), order=2)
    state = iterate(theory, *finite.first_layer(), polynomial_averages(finite.sigma), finite.parameters())[2]
    keys = [(name, f"{name}_1") for name in SPECS]
    recursion = [state[key][0, 0, 0, 0] for pair in keys for key in pair]
    one = dict.fromkeys((1, 2, 3, 4), 0)
    exact = [value for spec in SPECS.values() for value in finite.coefficients(spec, one, layer=3, terms=2)]
    return recursion, exact


@claim(
    id="ABDF.next-order",
    statement=r"On one input also $A^{\{1\}}$, $B^{\{1\}}$, $D^{\{1\}}$, $F^{\{1\}}$ agree with the exact "
    "joint cumulants",
    level="precision",
    uses=["ABDF.exact-moments"],
)
def abdf_next_order():
    return Agreement(*next_order_both_ways(), 0, "rational arithmetic on both sides")


@abdf_next_order.control("the leading coefficients in place of the next ones")
def abdf_leading_twice():
    recursion, exact = next_order_both_ways()
    return Agreement([value for value in recursion[::2] for _ in (0, 1)], exact, 0, "as in the claim")


# %% [markdown]
# ## Real fluctuations
# tanh, three layers, two inputs. All sixteen components of each tensor from the jets sampler, widths 32 and
# 64 combined; then $B$, the variance of the NTK between two output neurons, from real weights and automatic
# differentiation.

# %%
INPUTS = np.array([[0.9, -0.4, 1.1], [0.3, 0.8, -0.5]])
SCALES = {"C_b": 0.3, "C_W": 1.4, "lambda_b": 0.7, "lambda_W": 1.1}
TANH = pdlt.MLP(depth=3, width=32, activation="tanh", **SCALES)
NAMES = ["B", "D", "F"]
SEED = 41


@cache
def variance_measured():
    prediction = pdlt.predict(TANH, INPUTS, observables=NAMES).isel(layer=-1)
    run = extrapolated(TANH, INPUTS, NAMES, samples=30_000, sampler="jets", seed=SEED)
    predicted = {name: prediction[name].values for name in NAMES}
    return predicted, [run[name][0] for name in NAMES], [run[name][1] for name in NAMES]


@claim(
    id="BDF.ensemble",
    statement="All components of $B$, $D$, $F$ of three-layer tanh networks on two inputs, from finite networks",
    level="ensemble",
    uses=["B.recursion", "D.recursion", "F.recursion"],
)
def bdf_ensemble():
    predicted, measured, stderr = variance_measured()
    return Scores([predicted[name] for name in NAMES], measured, stderr, z_max=4, seed=SEED)


@bdf_ensemble.control("F with the slots of z and of the tangent kernel exchanged")
def bdf_swapped():
    predicted, measured, stderr = variance_measured()
    wrong = {**predicted, "F": predicted["F"].transpose(1, 0, 3, 2)}
    return Scores([wrong[name] for name in NAMES], measured, stderr, z_max=4, seed=SEED)


# %% [markdown]
# $A$ competes with the fluctuations of $V$ and $D$ that it inherits and needs more draws; one input is enough
# to see it.

# %%
ONE_INPUT = INPUTS[:1]


@cache
def a_measured():
    prediction = pdlt.predict(TANH, ONE_INPUT, observables=["A"]).isel(layer=-1)["A"].values
    return prediction, *extrapolated(TANH, ONE_INPUT, ["A"], samples=60_000, sampler="jets", seed=SEED)["A"]


@claim(
    id="A.ensemble",
    statement="$A$ of three-layer tanh networks on one input, measured on finite networks",
    level="ensemble",
    uses=["A.recursion"],
)
def a_ensemble():
    return Scores(*a_measured(), z_max=3, seed=SEED)


@a_ensemble.control("A doubled")
def a_doubled():
    prediction, measured, stderr = a_measured()
    return Scores(2 * prediction, measured, stderr, z_max=3, seed=SEED)


@cache
def b_of_networks():
    small = pdlt.MLP(depth=3, width=8, activation="tanh", **SCALES)
    prediction = pdlt.predict(small, INPUTS, observables=["B"]).isel(layer=-1)["B"].values
    return prediction, *extrapolated(small, INPUTS, ["B"], samples=4_000, sampler="network", seed=SEED)["B"]


@claim(
    id="B.networks",
    statement="All components of $B$ of three-layer tanh networks on two inputs, from real weights at widths 8 and 16",
    level="ensemble",
    uses=["B.recursion"],
)
def b_networks():
    return Scores(*b_of_networks(), z_max=4, seed=SEED)


@b_networks.control("B doubled")
def b_doubled():
    prediction, measured, stderr = b_of_networks()
    return Scores(2 * prediction, measured, stderr, z_max=4, seed=SEED)
