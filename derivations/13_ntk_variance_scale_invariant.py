# %% [markdown]
# # 13. The fluctuations of the neural tangent kernel in scale-invariant networks
#
# The recursions of file 4 for the activations under which nothing but a scale changes from layer to layer: first
# against what is exact at every width, then solved in depth.
#
# ## ReLU and linear networks at every width
# For a homogeneous activation on one input the second moments of $(z,\widehat H)$ close among themselves: a
# linear recursion, exact at every $n$, that follows from one neuron at a time (slopes 0 or 1; $p=\frac12$ for
# ReLU, 1 for linear). With $v=C_W/n$, $c=\lambda_W/n$, $r=pn$, $q=p^2n(n-1)$ and $m_0=\mathbb E z_1^2z_2^2$,
# $D_1=\mathbb E z_1^2\widehat H_{11}$, $D_2=\mathbb E z_1^2\widehat H_{22}$, $F=\mathbb E z_1z_2\widehat
# H_{12}$, $A_1=\mathbb E\widehat H_{11}^2$, $A_2=\mathbb E\widehat H_{11}\widehat H_{22}$, $B=\mathbb
# E\widehat H_{12}^2$ it reads as in the code. Expanding the connected parts in $1/n$ gives $V$, $D$, $F$,
# $A$, $B$ and their next coefficients.

# %%
from fractions import Fraction
from functools import cache

import sympy

import pdlt
from pdlt.checks import Agreement, Identity, claim
from pdlt.checks.arithmetic import single_input
from pdlt.checks.gaussian import homogeneous_average


@cache
def homogeneous_exact(p, depth):
    """Return the first two coefficients of V, D, F, A, B for C_W = 1/p, lambda_W = 1, K = C_W at layer `depth`."""
    u = sympy.Symbol("u")  # 1/n
    cw, g = 1 / sympy.Rational(p), sympy.Integer(1)
    v, c, r, q = cw * u, u, p / u, p**2 * (1 - u) / u**2
    m0, d1, d2, f, b, a1, a2 = (cw * g) ** 2, cw * g**2, cw * g**2, 0, 0, g**2, g**2
    for _ in range(depth - 1):
        s4, st, sm = (3 * r + q) * m0, r * d1 + q * d2, r * d1 + q * f
        tau, tau2 = r * a1 + q * a2, r * a1 + q * b
        m0, d2, f = v**2 * s4, v * c * s4 + v**2 * st, v**2 * sm
        a2, b = c**2 * s4 + 2 * c * v * st + v**2 * tau, v**2 * tau2
        d1, a1 = d2 + 2 * f, a2 + 2 * b
        m0, d1, d2, f, a1, a2, b = (sympy.expand(x) for x in (m0, d1, d2, f, a1, a2, b))
    kernel, theta = cw * g, g * depth
    connected = (m0 - kernel**2, d2 - kernel * theta, f, a2 - theta**2, b)
    return [sympy.expand(x).coeff(u, power) for x in connected for power in (1, 2)]


@cache
def homogeneous_derived(p, depth):
    theory = pdlt.derive(["V", "D", "F", "A", "B"], order=2)
    cw = 1 / Fraction(p)
    state = {**dict.fromkeys(theory.keys(), Fraction(0)), "K": cw, "Theta": Fraction(1)}
    parameters = {"C_b": 0, "lambda_b": 0, "C_W": cw, "lambda_W": Fraction(1), "rho": Fraction(1)}
    for _ in range(depth - 1):
        average = homogeneous_average(lambda m: Fraction(p), state["K"])
        state = {e.key: single_input(e, state, average, parameters) for e in theory}
    return [state[key] for name in "VDFAB" for key in (name, f"{name}_1")]


@claim(
    id="ABDF.homogeneous",
    statement=r"For ReLU and linear networks of depth 4 on one input the first two coefficients of $V$, $D$, $F$, $A$, "
    "$B$ are those of the recursion that is exact at every width",
    level="precision",
    uses=["ABDF.exact-moments", "V.homogeneous"],
)
def abdf_homogeneous():
    values = homogeneous_derived(Fraction(1, 2), 4) + homogeneous_derived(Fraction(1), 4)
    witness = homogeneous_exact(sympy.Rational(1, 2), 4) + homogeneous_exact(sympy.Integer(1), 4)
    return Agreement(values, witness, 0, "rational arithmetic on both sides")


@abdf_homogeneous.control("depth 3 in place of depth 4")
def abdf_depth():
    return Agreement(homogeneous_derived(Fraction(1, 2), 3), homogeneous_exact(sympy.Rational(1, 2), 4), 0, "as above")


# %% [markdown]
# The leading integers for ReLU with $C_W=2$, $\lambda_W=1$, $x\cdot x/n_0=1$ can be checked by hand: at layer
# 2, $V=20$, $D=12$, $F=4$, $A=8$, $B=2$; at layer 8, $140, 336, 112, 1008, 280$.


# %%
@claim(
    id="ABDF.relu-integers",
    statement="$(V,D,F,A,B)$ of ReLU networks: (20,12,4,8,2) at layer 2, (40,36,12,38,10) at layer 3, "
    "(140,336,112,1008,280) at layer 8",
    level="precision",
    uses=["ABDF.homogeneous"],
    published="the same integers follow from the closed forms below",
)
def relu_integers():
    values = [homogeneous_derived(Fraction(1, 2), depth)[::2] for depth in (2, 3, 8)]
    return Agreement(values, [(20, 12, 4, 8, 2), (40, 36, 12, 38, 10), (140, 336, 112, 1008, 280)], 0, "integers")


@relu_integers.control("the linear network")
def linear_integers():
    return Agreement([homogeneous_derived(Fraction(1), 2)[::2]], [(20, 12, 4, 8, 2)], 0, "integers")


# %% [markdown]
# ## Closed forms in depth
# At criticality a scale-invariant activation ($a=A_4/A_2^2$, $\nu=3a-1$, $\kappa_W=\lambda_WA_2K$,
# $\kappa=\lambda_b+\kappa_W$, equal widths) makes every recursion polynomial in $\ell$:
# $$V=\nu K^2(\ell-1),\quad F=aK\kappa\tfrac{\ell(\ell-1)}2,\quad
# B=a\kappa^2\tfrac{(\ell-1)\ell(2\ell-1)}6,\quad D=K[\kappa_W\nu +\kappa(a-1)]\tfrac{\ell(\ell-1)}2,$$
# $$A=[\kappa_W^2\nu +\kappa_W\kappa(a-1) +\kappa^2(a-1)]\tfrac{(\ell-1)\ell(2\ell-1)}6
# +\kappa_W\kappa(a-1)\tfrac{\ell(\ell-1)}2 .$$
# The NTK fluctuates by $A\sim\ell^3$ against $\Theta^2\sim\ell^2$: the expansion parameter is $\ell/n$. The
# claim is the induction step for symbolic $\ell$; at $\ell=1$ all of them vanish.


# %%
def closed_forms(ell, names="VFBDA", slope=None):
    k, a, weight, bias, a2 = sympy.symbols("K a lambda_W lambda_b A_2", positive=True)
    kw = weight * a2 * k
    kappa, nu, lead = bias + kw, 3 * a - 1, slope or a
    linear, quadratic, cubic = ell - 1, ell * (ell - 1) / 2, (ell - 1) * ell * (2 * ell - 1) / 6
    table = {
        "V": nu * k**2 * linear,
        "F": lead * k * kappa * quadratic,
        "B": lead * kappa**2 * cubic,
        "D": k * (kw * nu + kappa * (a - 1)) * quadratic,
        "A": (kw**2 * nu + kw * kappa * (a - 1) + kappa**2 * (a - 1)) * cubic + kw * kappa * (a - 1) * quadratic,
    }
    return {"K": k, "Theta": kappa * ell, **table}


def induction(**change):
    ell = sympy.Symbol("ell", positive=True)
    k, a, weight, bias, a2 = sympy.symbols("K a lambda_W lambda_b A_2", positive=True)
    theory = pdlt.derive(["V", "F", "B", "D", "A"], order=1)
    parameters = {"C_b": 0, "lambda_b": bias, "C_W": 1 / a2, "lambda_W": weight, "rho": 1}
    average = homogeneous_average(lambda m: {2: a2, 4: a * a2**2}[m], k)
    before, after = closed_forms(ell, **change), closed_forms(ell + 1, **change)
    return Identity([single_input(theory[key], before, average, parameters) for key in before], list(after.values()))


@claim(
    id="ABDF.scale-invariant",
    statement=r"The closed forms of $V$, $F$, $B$, $D$, $A$ in $\ell$ solve the recursions of scale-invariant "
    r"activations at criticality, for any slopes, $\lambda_b$ and $\lambda_W$",
    level="symbolic",
    uses=["V.scale-invariant", "Theta.scale-invariant", "A.recursion", "B.recursion", "D.recursion", "F.recursion"],
    published="derived here; PDLT chapters 5 and 9 have special cases",
)
def abdf_closed():
    return induction()


@abdf_closed.control("F and B with the coefficient a replaced by 1, right for linear networks only")
def abdf_linear_only():
    return induction(slope=sympy.Integer(1))
