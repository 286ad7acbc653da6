# %% [markdown]
# # 15. Networks and their linearisations: how far apart training takes them
#
# **What is derived.** The training of $f(\theta_0)+\nabla f\cdot(\theta-\theta_0)$ in closed form, and the distance
# between it and the training of the network itself. For smooth activations that distance is of order $1/n$ *in every
# single network*, and of the same order in the mean over initialisations; one order smaller than the fluctuation
# $O(n^{-1/2})$ of the tangent kernel between networks. Bounds of order $n^{-1/2}$ (Lee et al., arXiv:1902.06720) hold
# but are not sharp; that $1/n$ is the order was argued with Feynman diagrams by Dyer and Gur-Ari (arXiv:1909.11304).
#
# ## Step 1: the linear model
# Count parameters so that gradient flow is $\xi'=-J^Tr$, with $J=\partial z/\partial\xi$ on the training set and
# $r=z-y$. If $z$ is linear in $\xi$, $J$ is constant, $r'=-Hr$ with the empirical tangent kernel $H=JJ^T$, and with
# $J=UsV^T$
# $$\xi(t)=\xi_0-\sum_i v_i\,s_i\,\frac{1-e^{-s_i^2t}}{s_i^2}\,u_i\cdot r_0 ,$$
# with $(1-(1-\eta s_i^2)^k)/s_i^2$ after $k$ steps of gradient descent. One mode decides; the rest is a rotation.

# %%
import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import sympy

import pdlt
from pdlt._jax import x64
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.finite import Architecture, FiniteNetwork, Linearised, solve, train, trained

t, u, s, r_0, eta = sympy.symbols("t u s r_0 eta", positive=True)


def one_mode(factor=1):
    amplitude = -s * factor * (1 - sympy.exp(-(s**2) * t)) / s**2 * r_0  # of xi - xi_0 along v
    residual = r_0 + s * amplitude
    steps = -s * (1 - (1 - eta * s**2) ** 3) / s**2 * r_0
    by_hand, position = r_0, 0
    for _ in range(3):
        position, by_hand = position - eta * s * by_hand, sympy.expand(by_hand * (1 - eta * s**2))
    left = [sympy.diff(amplitude, t), steps]
    return Identity([sympy.expand(e) for e in left], [sympy.expand(-s * residual), sympy.expand(position)])


@claim(
    id="linearised.mode",
    statement=r"One mode of the linear model under gradient flow, and after three steps of gradient descent",
    level="symbolic",
)
def mode():
    return one_mode()


@mode.control("relaxation at twice the rate, as for the loss")
def twice_the_rate():
    return one_mode(factor=2)


# %% [markdown]
# `pdlt.finite.solve` is this formula. The witness is numpy's matrix exponential in the form of an eigendecomposition
# of $H$, applied to outputs on points that are not trained on, for a real network with two outputs.

# %%
NET = pdlt.MLP(3, 7, "tanh", 0.3, 1.4, 0.7, 1.1)
X = [[0.9, -0.4, 1.1], [0.2, 1.3, -0.5]]
Y = [[0.4, -1.0], [-0.3, 0.8]]
TEST = [[-0.7, 0.3, 0.8], [1.0, 0.1, 0.0], [0.3, 0.3, 0.3]]


def closed_form(forget_start=False):
    network = FiniteNetwork(NET, inputs=3, outputs=2, seed=15)
    times = np.array([0.0, 0.3, 2.0])
    found = solve(network, X, Y, times).outputs(TEST)
    J, J_test = (network.jacobian(x).reshape(2 * len(x), -1) for x in (X, TEST))
    values, vectors = np.linalg.eigh(J @ J.T)
    error = (0 if forget_start else network(X).reshape(-1)) - np.reshape(Y, -1)
    moved = [vectors @ (-np.expm1(-values * time) / values * (vectors.T @ error)) for time in times]
    start = 0 if forget_start else network(TEST)
    witness = [start - (J_test @ J.T @ part).reshape(len(TEST), 2) for part in moved]
    return Agreement(found, np.array(witness), 1e-10, "double precision, condition number of H below 1e3")


@claim(
    id="linearised.solve",
    statement="`pdlt.finite.solve` on test points, against the eigendecomposition of $H$",
    level="precision",
    uses=["linearised.mode"],
)
def linear_solve():
    return closed_form()


@linear_solve.control("the function at initialisation left out, as for the mean over an ensemble")
def start_left_out():
    return closed_form(forget_start=True)


# %% [markdown]
# ## Step 2: one datum, one network
# On one training point the network obeys $z'=-He$, $H'=-2\,dH\,e$, $dH'=-dd\,e$ with $e=z-y$ and
# $dd=dd_IH+2\,dd_{II}H$, so $H$ is a function of $z$ alone (file 12),
# $$H(z)=H_0+\frac{2\,dH}{H_0}(z-z_0)+\Big(\frac{dd}{H_0^2}-\frac{2\,dH^2}{H_0^3}\Big)(z-z_0)^2+\dots$$
# The linearisation has $e_{\rm lin}=e_0E$, $E=e^{-H_0t}$. Insert $z-z_0=-e_0(1-E)$ on the right of
# $\delta'=-H_0\delta-(H-H_0)e$ for $\delta=z-z_{\rm lin}$. With $q=1-E$,
# $$\delta=E\int_0^t\Big[\frac{2\,dH}{H_0}\,e_0^2\,q-\frac{dd}{H_0^2}\,e_0^3\,q^2\Big]
# =E\Big[\frac{2\,dH\,e_0^2}{H_0}\,c_1-\frac{dd\,e_0^3}{H_0^2}\,c_2\Big],\qquad
# c_1=t-\frac{1-E}{H_0},\quad c_2=t-\frac{2(1-E)}{H_0}+\frac{1-E^2}{2H_0}.$$
# What is left out has two powers of $dH$, or higher differentials. In powers of $e_0$ the first term is exact.

# %%
H = sympy.Symbol("H", positive=True)
e_0, dH, dd = sympy.symbols("e_0 dH dd", real=True)


def apart(double=2):
    E = sympy.exp(-H * u)
    moved = 1 - E  # z - z_0 = -e_0 q
    source = double * dH / H * e_0**2 * moved - dd / H**2 * e_0**3 * moved**2
    difference = sympy.exp(-H * t) * sympy.integrate(sympy.expand(source), (u, 0, t))
    E = sympy.exp(-H * t)
    c_1, c_2 = t - (1 - E) / H, t - 2 * (1 - E) / H + (1 - E**2) / (2 * H)
    return Identity(sympy.expand(difference), sympy.expand(E * (2 * dH * e_0**2 / H * c_1 - dd * e_0**3 / H**2 * c_2)))


@claim(
    id="linearised.one-datum",
    statement=r"$z-z_{\rm lin}=E[2\,dH\,e_0^2c_1/H_0-dd\,e_0^3c_2/H_0^2]$ on one training point",
    level="symbolic",
    uses=["linearised.mode"],
)
def one_datum():
    return apart()


@one_datum.control("H' = -dH e: one of the two factors of H differentiated")
def one_factor():
    return apart(double=1)


# %% [markdown]
# A single real network confirms the first term to many digits: with labels $y=z_0\pm h$ the part of $\delta$ that is
# even in $h$ is $h^2$ times $2\,dH\,E\,c_1/H_0$ up to $h^4$, which extrapolation in $h$ removes. $dH$ comes from
# automatic differentiation.


# %%
def one_network(double=2):
    network = FiniteNetwork(NET, inputs=3, seed=15)
    x, time = X[:1], 0.3
    z_0, H_0 = network(x).item(), network.ntk(x).item()
    with x64():
        f = jax.jit(lambda xi: network.architecture.evaluate(network.weights, xi, jnp.asarray(x))[0, 0])
        origin = jnp.zeros(network.start.size)
        g = jax.grad(f)(origin)
        differential = float(g @ jax.jvp(jax.grad(f), (origin,), (g,))[1])

    def even(h):
        ends = [train(network, x, [z_0 + sign * h], [time], tolerance=1e-13).outputs(x).item() for sign in (1, -1)]
        lines = [z_0 + sign * h * -math.expm1(-H_0 * time) for sign in (1, -1)]
        return (sum(ends) - sum(lines)) / (2 * h**2)

    a, b, c = even(0.1), even(0.2), even(0.4)
    ab, bc = (4 * a - b) / 3, (4 * b - c) / 3
    E = math.exp(-H_0 * time)
    formula = double * differential / H_0 * E * (time - (1 - E) / H_0)
    return formula, (16 * ab - bc) / 15, abs((ab - bc) / 15)


@claim(
    id="linearised.one-network",
    statement=r"The part of $z-z_{\rm lin}$ that is quadratic in $y-z_0$, for one real network of width 7",
    level="precision",
    uses=["linearised.one-datum"],
)
def quadratic_part():
    return quadratic()


def quadratic(double=2):
    formula, measured, _ = one_network(double)
    return Agreement([formula], [measured], 1e-8, "extrapolation in h removes h^2 and h^4; the flow is good to 1e-12")


@quadratic_part.control("one of the two factors of H differentiated")
def quadratic_half():
    return quadratic(double=1)


# %% [markdown]
# ## Step 3: the order in $1/n$
# In jets, $dH=\mathbb E_{ab}[z_{ab}z_az_b]$, and $\mathbb E[dH^2]$ is the mean of a product of six jets,
# $z_{ab}z_az_bz_{cd}z_cz_d$. Given $\hat G$ they are Gaussian, and each of the three factors $\hat G$ in any pairing
# joins jets of different directions, so its leading value is zero: the mean of a product of three fluctuations, each of
# order $n^{-1/2}$, is their third cumulant, $O(n^{-2})$. Hence $dH=O(1/n)$ in a typical network, where
# $H-\Theta=O(n^{-1/2})$; and $dd_IH$, $dd_{II}H$ have means of order $1/n$. Therefore $\delta=O(1/n)$ in each network.
#
# The mean over initialisations is of the same order. With $e_0=z_0-y$, $\mathbb E[dH\,e_0^2]=-2y(P+2Q)/n$ and
# $\mathbb E[dd\,e_0^3]=-[3R+2(S+T+U)](y^3+3Ky)/n$ (files 5, 6 and 12):
# $$n\,\mathbb E[\delta]=E\Big\{-\frac{4y(P+2Q)}\Theta\,c_1+\frac{[3R+2(S+T+U)](y^3+3Ky)}{\Theta^2}\,c_2\Big\}+O(1/n).$$
# The fluctuations of $H$ itself, which dominate the mean of a kernel machine's own correction, drop out: both models
# start from the same $H$.
#
# The ensemble: tanh networks with one hidden layer, trained by `pdlt.finite.trained` on the labels $y$ and $-y$ from
# the same weights, which removes the noise that is even in $y$; widths 32, 64, 128 combined so that the next two
# orders cancel. At $y^2=4K$ and $t=2/\Theta$ the two terms, $0.25$ and $-0.52$, are both visible.

# %%
SCALES, SQUARE, SEED = (0.3, 1.4, 0.7, 1.1), 0.8, 151


@cache
def distances(depth, width, networks, label, time):
    """Return z - z_lin at the training point for the labels (+label, -label), shape (networks, 2)."""
    architecture = Architecture(pdlt.MLP(depth, width, "tanh", *SCALES), 1, 1)
    x, origin = np.array([[math.sqrt(SQUARE)]]), np.zeros(architecture.size)

    def network(key):
        weights = architecture.draw(key)
        z_0, g = jax.value_and_grad(lambda xi: architecture.evaluate(weights, xi, x)[0, 0])(jnp.asarray(origin))

        def distance(y):
            path = trained(architecture, weights, origin, x, y[None, None], time, tolerance=1e-4)
            return architecture.evaluate(weights, path[0], x)[0, 0] - y - (z_0 - y) * jnp.exp(-(g @ g) * time[0])

        return jax.vmap(distance)(label * jnp.array([1.0, -1.0]))

    with x64():
        run, time = jax.jit(jax.vmap(network)), jnp.array([time])
        keys = jax.random.split(jax.random.key(SEED), networks)
        batch = 500
        return np.concatenate([np.asarray(run(keys[i : i + batch])) for i in range(0, networks, batch)])


def predicted(depth):
    prediction = pdlt.predict(pdlt.MLP(depth, 64, "tanh", *SCALES), [[math.sqrt(SQUARE)]]).isel(layer=-1)
    return {name: float(prediction[name].values.item()) for name in ("K", "Theta", *"PQRSTU")}


def times_of(p, time):
    E = math.exp(-p["Theta"] * time)
    c_1 = time - (1 - E) / p["Theta"]
    return E, c_1, time - 2 * (1 - E) / p["Theta"] + (1 - E**2) / (2 * p["Theta"])


def extrapolated(series, weights):
    means = [samples.mean() for samples in series]
    errors = [samples.std() / math.sqrt(len(samples)) for samples in series]
    return np.dot(weights, means), math.sqrt(np.dot(np.square(weights), np.square(errors)))


def mean_distance(double=2, networks=4_000):
    p = predicted(2)
    y, time = 2 * math.sqrt(p["K"]), 2 / p["Theta"]
    E, c_1, c_2 = times_of(p, time)
    dd = 3 * p["R"] + double * (p["S"] + p["T"] + p["U"])
    value = E * (
        -4 * y * (p["P"] + 2 * p["Q"]) / p["Theta"] * c_1 + dd * (y**3 + 3 * p["K"] * y) / p["Theta"] ** 2 * c_2
    )
    runs = [n * (lambda d: (d[:, 0] - d[:, 1]) / 2)(distances(2, n, networks, y, time)) for n in (32, 64, 128)]
    measured, stderr = extrapolated(runs, [1 / 3, -2, 8 / 3])
    return Scores([value], [measured], [stderr], z_max=3.5, seed=SEED)


@claim(
    id="linearised.mean-distance",
    statement=r"$n\,\mathbb E[z-z_{\rm lin}]$ on one training point at $t=2/\Theta$, $y^2=4K$, one hidden layer",
    level="ensemble",
    uses=["linearised.one-datum", "P.recursion", "Q.recursion", "R.recursion", "S.recursion", "T.recursion",
          "U.recursion"],
)  # fmt: skip
def mean_apart():
    return mean_distance()


@mean_apart.control("S + T + U once instead of twice: one of the two index orders of ddII forgotten")
def one_order():
    return mean_distance(double=1)


# %% [markdown]
# ## Step 4: the size in a typical network, one hidden layer
# With $z=b+\sum_jW_j\sigma(u_j)$, $W_j=\sqrt{C_W/n}\,w_j$, and $\Theta_1=\lambda_b+\lambda_Wx\cdot x/n_0$, neuron by
# neuron
# $$n\,dH=n^{-1/2}\sum_jw_j\big(a_j+b_jw_j^2\big),\qquad a=2\lambda_WC_W^{1/2}\Theta_1\,\sigma\sigma'^2,\quad
# b=C_W^{3/2}\Theta_1^2\,\sigma''\sigma'^2 ,$$
# a sum of independent terms of mean zero: $n\,dH$ and $z_0$ are jointly Gaussian at large $n$, with
# $v=\mathbb E[(n\,dH)^2]=\langle a^2+6ab+15b^2\rangle$ and $\mathbb E[n\,dH\,z_0]=\kappa=P+2Q$, while $n\,dd$ tends to
# its mean $m=3R+2(S+T+U)$. So
# $$n^2\,\mathbb E[\delta^2]\to E^2\,\Big\{\frac{4c_1^2}{\Theta^2}\Big(v-\frac{\kappa^2}K\Big)\mathbb E[e_0^4]
# +\mathbb E\Big[\Big(\frac{2c_1\kappa}{\Theta K}z_0e_0^2-\frac{c_2m}{\Theta^2}e_0^3\Big)^2\Big]\Big\},
# \qquad e_0=z_0-y,\ z_0\sim N(0,K).$$


# %%
def rms_distance(fifteen=15, power=2, networks=4_000):
    C_b, C_W, lambda_b, lambda_W = SCALES
    p = predicted(2)
    y, time = 2 * math.sqrt(p["K"]), 2 / p["Theta"]
    E, c_1, c_2 = times_of(p, time)
    Theta_1 = lambda_b + lambda_W * SQUARE
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    weights = weights / weights.sum()
    sigma = np.tanh(math.sqrt(C_b + C_W * SQUARE) * nodes)
    slope, curvature = 1 - sigma**2, -2 * sigma * (1 - sigma**2)
    a = 2 * lambda_W * math.sqrt(C_W) * Theta_1 * sigma * slope**2
    b = C_W**1.5 * Theta_1**2 * curvature * slope**2
    v = weights @ (a**2 + 6 * a * b + fifteen * b**2)
    kappa, m = p["P"] + 2 * p["Q"], 3 * p["R"] + 2 * (p["S"] + p["T"] + p["U"])
    z = math.sqrt(p["K"]) * nodes
    e = z - y
    together = 2 * c_1 * kappa / (p["Theta"] * p["K"]) * z * e**2 - c_2 * m / p["Theta"] ** 2 * e**3
    alone = 4 * c_1**2 / p["Theta"] ** 2 * (v - kappa**2 / p["K"]) * (weights @ e**4)
    value = E**2 * (alone + weights @ together**2)
    runs = [n**power * (distances(2, n, networks, y, time) ** 2).mean(axis=1) for n in (32, 64, 128)]
    measured, stderr = extrapolated(runs, [1 / 3, -2, 8 / 3])
    return Scores([value], [measured], [stderr], z_max=4, seed=SEED)


@claim(
    id="linearised.rms-distance",
    statement=r"$n^2\,\mathbb E[(z-z_{\rm lin})^2]$ on one training point, one hidden layer: the distance is $O(1/n)$",
    level="ensemble",
    uses=["linearised.one-datum", "linearised.mean-distance"],
)
def rms_apart():
    return rms_distance()


@rms_apart.control("E w^6 taken to be 3 instead of 15")
def sixth_moment():
    return rms_distance(fifteen=3)


@rms_apart.control("a distance of order n^(-1/2), the size of the kernel's fluctuation")
def half_power():
    return rms_distance(power=1)


# %% [markdown]
# ## Step 5: kinks
# For ReLU and its relatives units cross their kinks, $H(\infty)-H(0)=O(n^{-1/2})$ (file 12), and
# $\delta'=-H_0\delta-(H-H_0)e$ makes the distance from the linearisation of that order too. docs/linearised.md has
# measurements; no claim is made here.
#
# The linearisation is a model of its own, trained by the same integrator: with the value and the parameters of the
# expansion point kept, it starts from the network's own function and parameters.


# %%
def trained_and_solved(parameters_kept=True):
    network = FiniteNetwork(NET, inputs=3, outputs=2, seed=15)
    around = train(network, X, Y, [0.1]).parameters[0]
    line = Linearised(network, around)
    found = train(line, X, Y, [0.5], tolerance=1e-12).outputs(TEST)
    gradient = line.jacobian(TEST) if parameters_kept else network.jacobian(TEST)
    moved = solve(line, X, Y, [0.5]).parameters[0] - around
    return Agreement(found[0], line(TEST) + gradient @ moved, 1e-8, "the flow's tolerance is 1e-12 a step")


@claim(
    id="linearised.trained",
    statement="A linearisation at parameters met in training: trained as a model, and in closed form",
    level="precision",
    uses=["linearised.solve"],
)
def linear_trained():
    return trained_and_solved()


@linear_trained.control("the gradient taken at initialisation")
def gradient_elsewhere():
    return trained_and_solved(parameters_kept=False)
