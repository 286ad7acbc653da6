# %% [markdown]
# # 10. Depth and width to infinity together: the double-scaling limit
#
# **What is derived.** For $\sigma(z)=a_+z$ ($z>0$), $a_-z$ ($z<0$), $C_b=0$, $C_W=1/A_2$ and one input: every joint
# cumulant of the jets' covariance $\widehat G$ as $n,L\to\infty$ at fixed $r=L/n$. The result contains all orders of
# $1/n$, each with its leading power of the depth. Notation as in derivation 8: $A_m=(a_+^m+a_-^m)/2$, $a=A_4/A_2^2$,
# $\nu=3a-1$, $\kappa_W=\lambda_WA_2K$, $\kappa=\lambda_b+\kappa_W$; further $w=\kappa_W/\kappa$.
#
# ## Step 1: one layer
# Almost everywhere $\sigma(z)=s\,z$, $\sigma'=s$ and $\sigma''=0$ with a random slope $s$, so the jets of the
# activation are $\phi_S=s\,z_S$ for every set $S$ of directions, and
# $$\widehat G'_{ST}=\lambda_b[S=T=\{x\}]+\frac1n\sum_j s_j^2\Big(C_W z_Sz_T
#   +\lambda_W\sum_{x\in S\cap T}z_{S\setminus x}z_{T\setminus x}\Big)_j .$$
# An even polynomial of the jets times $s^{2k}$ averages to $A_{2k}$ times its Gaussian average with covariance
# $\widehat G$, because $u\to-u$ exchanges the two slopes. Hence, given $\widehat G$,
# $$E\,\widehat G'_{ST}=\widehat G_{ST}+\lambda_b[S=T=\{x\}]
#   +\lambda_WA_2\sum_x\widehat G_{S\setminus x,T\setminus x},$$
# $$n\,\mathrm{Cov}(\widehat G'_{AB},\widehat G'_{CD})
#   =a\,(G_{AB}G_{CD}+G_{AC}G_{BD}+G_{AD}G_{BC})-G_{AB}G_{CD}+\text{terms with }\lambda_W .$$
#
# ## Step 2: the limit
# A direction is worth $\sqrt{\kappa\ell}$, since $\Theta=\kappa\ell$. With $t=\ell/n$ and
# $G_{ST}=K^{1-d/2}(n\kappa)^{d/2}g_{ST}$, $d=|S|+|T|$, both the mean change and the covariance of a step are $1/n$
# times numbers of order one, and the $\lambda_W$ terms of the covariance are $1/n^2$. So $g(t)$ is a diffusion with
# $$\text{drift}_{ST}=(1-w)[S=T=\{x\}]+w\sum_xg_{S\setminus x,T\setminus x},\qquad
#   \text{covariance}=a\,(g_{AB}g_{CD}+g_{AC}g_{BD}+g_{AD}g_{BC})-g_{AB}g_{CD},$$
# and $g(0)=0$ but for the plain preactivations, $g_{00}(0)=1$.
#
# ## Step 3: moments of second degree, by hand
# A moment of $m$ factors changes by the drift of each factor and the covariance of each pair. With
# $$y=E\,g_{00}g_{aa},\quad x=E\,g_{0a}^2,\quad z=E\,g_{aa}g_{bb},\quad b=E\,g_{ab}^2,\quad q=E\,g_{00}^2$$
# and $E\,g_{00}=1$, $E\,g_{aa}=t$:
# $$\dot q=\nu q,\qquad\dot y=wq+(1-w)+(a-1)y+2a\,x,\qquad\dot x=a\,y+(2a-1)x,$$
# $$\dot z=2wy+2(1-w)t+(a-1)z+2a\,b,\qquad\dot b=a\,z+(2a-1)b .$$
# Both pairs have the matrix $\begin{pmatrix}a-1&2a\\a&2a-1\end{pmatrix}$ with exponents $\nu$ (all pairings alike) and
# $-1$. The package derives such systems from the layer map and solves them; here its results are put into the
# equations above: $V/nK^2=q-1$, $D/nK\Theta=(y-t)/t$, $F/nK\Theta=x/t$, $A/n\Theta^2=(z-t^2)/t^2$, $B/n\Theta^2=b/t^2$.

# %%
from functools import cache

import mpmath
import sympy

import pdlt
from pdlt.checks import Agreement, Identity, claim
from pdlt.observables import observable
from pdlt.symbolic.depth import A_2, K, ell
from pdlt.symbolic.double_scaling import a_4, double_scaling, r, truncations, w
from pdlt.symbolic.expressions import lambda_b, lambda_W

nu = 3 * a_4 - 1


def as_fraction(f):
    """The unique form of a rational function of a, w, r and the two exponentials."""
    growth, decay = sympy.symbols("growth decay")
    return sympy.cancel(f.subs({sympy.exp(r * nu): growth, sympy.exp(-r): decay}))


def equations_of_motion(crossed):
    """Both sides of the five equations; `crossed` is the weight of pairings across the two factors."""
    limit = double_scaling(["V", "D", "F", "A", "B"], None)
    q, y, x = limit["V"] + 1, r * limit["D"] + r, r * limit["F"]
    z, b = r**2 * limit["A"] + r**2, r**2 * limit["B"]
    a = a_4
    right = [
        nu * q,
        w * q + (1 - w) + (a - 1) * y + 2 * a * crossed * x,
        a * y + (2 * a - 1) * x,
        2 * w * y + 2 * (1 - w) * r + (a - 1) * z + 2 * a * crossed * b,
        a * z + (2 * a - 1) * b,
    ]
    left = [sympy.diff(f, r) for f in (q, y, x, z, b)]
    return Identity([as_fraction(f) for f in left], [as_fraction(f) for f in right])


@claim(
    id="double-scaling.equations",
    statement=r"$V$, $D$, $F$, $A$, $B$ in the limit obey the equations of step 3, for every $a$ and $w$",
    level="symbolic",
    uses=["depth.scale-invariant"],
)
def double_scaling_equations():
    return equations_of_motion(1)


@double_scaling_equations.control("Wick's theorem with the block-diagonal covariance of leading order")
def block_diagonal():
    return equations_of_motion(0)


# %% [markdown]
# ## Step 4: the kernel is log-normal
# $g_{00}$ alone is a geometric Brownian motion, $\mathrm dg=\sqrt\nu\,g\,\mathrm dB$, so
# $\log\widehat G_{00}/K$ is normal with mean $-\nu r/2$ and variance $\nu r$, and
# $E\,\widehat G^m=K^me^{\nu m(m-1)r/2}$. For deep linear networks ($\nu=2$) these are the moments $e^{m(m-1)r}$ of the
# exact product $\prod_\ell\prod_{s<m}(1+2s/n)$.

# %%


def moments(exponent):
    specs = ["1 2", "1 2 | 3 4", "1 2 | 3 4 | 5 6", "1 2 | 3 4 | 5 6 | 7 8"]
    limit = double_scaling(specs, None)
    k1, k2, k3, k4 = (limit[observable(spec).name] for spec in specs)
    found = [
        k1,
        k2 + k1**2,
        k3 + 3 * k2 * k1 + k1**3,
        k4 + 4 * k3 * k1 + 3 * k2**2 + 6 * k2 * k1**2 + k1**4,
    ]
    wanted = [sympy.exp(sympy.expand(exponent(m) * r)) for m in (1, 2, 3, 4)]
    return Identity([sympy.powsimp(sympy.expand(f)) for f in found], wanted)


@claim(
    id="double-scaling.log-normal",
    statement=r"$E\,\widehat G^m=K^me^{\nu m(m-1)r/2}$ for $m\le4$",
    level="symbolic",
    published="PDLT (3.18)-(3.30): the product whose limit this is, for deep linear networks",
    uses=["depth.vertex-to-order-three"],
)
def double_scaling_log_normal():
    return moments(lambda m: nu * m * (m - 1) / 2)


@double_scaling_log_normal.control("the moments of a normal logarithm whose mean is left at zero")
def mean_of_the_logarithm():
    return moments(lambda m: nu * m**2 / 2)


# %% [markdown]
# ## Step 5: the powers of $r$ are the leading powers of depth
# The recursions of the $1/n$ expansion (derivation 8) are derived and solved without any of this: for a cumulant with
# $D$ directions in its slots, the coefficient $X_j$ of order $k$ is a polynomial in $\ell$ of degree $k+D/2$, and its
# highest coefficient, in units of $K$ and $\kappa$, must be the coefficient of $r^k$. That it depends on $\lambda_b$,
# $\lambda_W$ and $K$ through $w$ only is part of the statement.
# $P$, $R$ and $U$ begin one order later than the others: what is zero at order 1 for every depth is not zero.

# %%
ORDER = 2
NAMES = ("V", "D", "F", "A", "B", "P", "Q", "R", "S", "T", "U")


def highest_powers(below):
    kappa = sympy.Symbol("kappa", positive=True)
    shares = {lambda_W: w * kappa / (A_2 * K), lambda_b: (1 - w) * kappa}
    expanded = pdlt.closed_form(list(NAMES), None, ORDER)
    left, right = [], []
    for name in NAMES:
        slots = observable(name).slots
        half = sum(map(len, slots)) // 2
        size = K ** sum(sympy.Rational(1 - len(slot), 2) for slot in slots) * kappa**half
        kept = truncations(name, None, ORDER)
        for j in range(ORDER):
            formula = sympy.Poly(sympy.expand(expanded[f"{name}_{j}" if j else name]), ell)
            left.append(formula.coeff_monomial(ell ** (half + 1 + j - below)).subs(shares))
            right.append(size * kept.coeff(r, 1 + j))
    return Identity(left, right)


@claim(
    id="double-scaling.leading-depth",
    statement=r"the coefficient of $r^k$ is the leading power of $\ell$ at order $k\le2$, for all tensors of order 1",
    level="symbolic",
    uses=["depth.scale-invariant"],
)
def double_scaling_leading_depth():
    return highest_powers(0)


@double_scaling_leading_depth.control("the power of the depth below the highest")
def lower_power():
    return highest_powers(1)


# %% [markdown]
# ## Step 6: finite networks
# Homogeneous activations have closed recursions for all second moments of $(z,\widehat H)$ at any width. For ReLU and
# linear networks ($p=1/2$, $1$; $\lambda_b=0$, so $w=1$) they are iterated at depth $n/2$ for $n=32,64,\dots,2048$. The
# difference from the limit is a series in $1/n$, of which seven widths remove six terms.

# %%
WIDTHS = [32 * 2**k for k in range(7)]


@cache
def finite(p, crossed):
    """V/nK^2, D/nK Theta, F/nK Theta, A/n Theta^2, B/n Theta^2 at L = n/2, extrapolated."""
    table = []
    with mpmath.workdps(40):
        for n in WIDTHS:
            x, y, v, c = p * n, p * p * n * (n - 1), 1 / (p * n), 1 / mpmath.mpf(n)
            m0, d1, d2, f, b, a1, a2 = 1, c / v, c / v, 0, 0, (c / v) ** 2, (c / v) ** 2
            for _ in range(n // 2 - 1):
                s4, s_t, s_m = (3 * x + y) * m0, x * d1 + y * d2, x * d1 + y * f
                tau, tau2 = x * a1 + y * a2, x * a1 + y * b
                m0, d2, f = v**2 * s4, v * c * s4 + v**2 * s_t, v**2 * s_m
                d1 = d2 + 2 * crossed * f
                a2, b = c**2 * s4 + 2 * c * v * s_t + v**2 * tau, v**2 * tau2
                a1 = a2 + 2 * b
            theta = n // 2 * c / v
            table.append([m0 - 1, d2 / theta - 1, f / theta, a2 / theta**2 - 1, b / theta**2])
        for k in range(1, len(WIDTHS)):
            pairs = zip(table, table[1:])
            table = [[(2**k * fine - x) / (2**k - 1) for x, fine in zip(*rows)] for rows in pairs]
    return table[0]


def finite_networks(crossed):
    values = []
    for activation in ("linear", "relu"):
        limit = double_scaling(["V", "D", "F", "A", "B"], activation)
        values += [e.subs({w: 1, r: sympy.Rational(1, 2)}).evalf(30) for e in limit.values()]
    witness = [*finite(mpmath.mpf(1), crossed), *finite(mpmath.mpf(0.5), crossed)]
    return Agreement(values, witness, 1e-8, "seven widths up to 2048 leave the seventh power of 1/n")


@claim(
    id="double-scaling.finite-networks",
    statement=r"exact finite ReLU and linear networks approach the limits of $V$, $D$, $F$, $A$, $B$ at $r=1/2$",
    level="precision",
    uses=["double-scaling.equations"],
)
def double_scaling_finite_networks():
    return finite_networks(1)


@double_scaling_finite_networks.control("one of the two crossed pairings forgotten in E z^2 H")
def one_pairing_forgotten():
    return finite_networks(0.5)
