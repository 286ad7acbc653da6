# %% [markdown]
# # 8. Closed forms in depth: scale-invariant activations
#
# **What is derived.** For $\sigma(z)=a_+z$ ($z>0$), $a_-z$ ($z<0$), $C_b=0$ and one input, every tensor as a
# function of the depth $\ell$. Notation: $A_m=(a_+^m+a_-^m)/2$, $a=A_4/A_2^2$, $\nu=3a-1$, $\kappa_W=\lambda_WA_2K$,
# $\kappa=\lambda_b+\kappa_W$.
#
# ## Step 1: expectations are numbers
# A product of $i$ factors $\sigma$ and $j$ factors $\sigma'$ is $z^i$ times $a_\pm^{i+j}$. In the recursions $i-p$ and
# $i+j$ are even for $p$ derivatives of the product, so only the even part counts and
# $$\langle\partial^p(\sigma^i\sigma'^j)\rangle =A_{i+j}\,\frac{i!}{(i-p)!}\,(i-p-1)!!\;K^{(i-p)/2}.$$
#
# ## Step 2: the recursions are linear and triangular
# At $C_W=1/A_2$ the kernel does not change with depth, every tensor obeys $X'=X+\text{source}$, and the source is a
# polynomial in $\ell$ built from tensors that are already known. Summing a polynomial gives a polynomial.
# For $V$ the source is $C_W^2(\langle\sigma^4\rangle-\langle\sigma^2\rangle^2)=\nu K^2$, a constant, hence
# $V=\nu K^2(\ell-1)$; for $B$ it is $a\,\Theta^2=a\kappa^2\ell^2$, hence the sum of squares.

# %%
import sympy

import pdlt
from pdlt.checks import Identity, claim
from pdlt.symbolic.depth import A_2, K, ell
from pdlt.symbolic.expressions import lambda_b, lambda_W

a = sympy.Symbol("a_4", positive=True)
k_W = lambda_W * A_2 * K
k = lambda_b + k_W
PAIRS = ell * (ell - 1) / 2
SQUARES = (ell - 1) * ell * (2 * ell - 1) / 6


def published(nu):
    return {
        "Theta": k * ell,
        "V": nu * K**2 * (ell - 1),
        "F": a * K * k * PAIRS,
        "B": a * k**2 * SQUARES,
        "D": K * (k_W * nu + k * (a - 1)) * PAIRS,
        "A": (k_W**2 * nu + k_W * k * (a - 1) + k**2 * (a - 1)) * SQUARES + k_W * k * (a - 1) * PAIRS,
        "Q": a * k_W * k * (ell - 1) * ell * (ell + 1) / 6,
    }


def both(nu):
    table = published(nu)
    found = pdlt.closed_form(list(table), activation=None)
    return Identity([found[key] for key in table], list(table.values()))


@claim(
    id="depth.scale-invariant",
    statement=r"$\Theta=\kappa\ell$, $V=\nu K^2(\ell-1)$, $F$, $B$, $D$, $A$, $Q$ as polynomials in $\ell$",
    level="symbolic",
    uses=["K_1.scale-invariant"],
)
def depth_scale_invariant():
    return both(3 * a - 1)


@depth_scale_invariant.control("the coupling 3a - 2 instead of 3a - 1: the squared mean subtracted twice")
def wrong_coupling():
    return both(3 * a - 2)


# %% [markdown]
# ## Step 3: all orders of the vertex at once
# Without biases $\widehat G$ is a product of independent averages, and $V$ at width $n$ is
# $nK^2\big[(1+\nu/n)^{\ell-1}-1\big]$. Its expansion in $1/n$ is finite, with binomial coefficients:
# $V^{\{j\}}=\nu^{j+1}K^2\binom{\ell-1}{j+1}$. The recursions know nothing of the product.


# %%
def vertex(first):
    found = pdlt.closed_form("V", activation=None, order=3)
    falling = [sympy.ff(ell - 1, first + j) / sympy.factorial(first + j) for j in range(3)]
    exact = [(3 * a - 1) ** (j + 1) * K**2 * sympy.expand_func(f) for j, f in enumerate(falling)]
    return Identity([found[key] for key in ("V", "V_1", "V_2")], exact)


@claim(
    id="depth.vertex-to-order-three",
    statement=r"$V+V^{\{1\}}/n+V^{\{2\}}/n^2$ is $nK^2[(1+\nu/n)^{\ell-1}-1]$ to this order, for every depth",
    level="symbolic",
    uses=["depth.scale-invariant"],
)
def depth_vertex():
    return vertex(1)


@depth_vertex.control("binomial coefficients shifted by one")
def shifted():
    return vertex(2)
