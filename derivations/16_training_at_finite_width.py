# %% [markdown]
# # 16. Training at finite width: the learned function and the kernels at order $1/n$
#
# **What is derived.** Mean and covariance, over initialisations, of the outputs of networks of width $n$ at any time of
# their training, and the change of their kernels, at order $1/n$: for gradient flow and for full-batch gradient descent
# with any stable step, any number of outputs, unequal widths. The result is a list of diagrams that is generated, not
# written down; the files behind it are `pdlt/learning/corrections/`.
#
# ## Step 1: events
# Expand one step of descent in the parameters' motion (derivation 17, step 1, does it and checks it on polynomial
# models). Outputs, tangent kernel and dNTK move by
# $$\delta z_I=-\eta H_{Ia}\epsilon_a+\tfrac{\eta^2}2dH_{Iab}\epsilon_a\epsilon_b-\tfrac{\eta^3}6dd_I\epsilon\epsilon
# \epsilon,\quad \delta H_{IJ}=-\eta(dH_{IJa}+dH_{JIa})\epsilon_a+\dots,\quad
# \delta(dH)_{IJK}=-\eta(dd_{I\,IJKa}+dd_{II\,IJKa}+dd_{II\,IKJa})\epsilon_a .$$
# Sizes: $\Delta H=H-\Theta$ is of order $n^{-1/2}$ with mean $\Theta^{\{1\}}/n$; $dH$ correlates with $z$ at order
# $1/n$; the ddNTKs have means of order $1/n$. To order $1/n$ a trajectory is therefore the leading one,
# $\epsilon_a(t)=e^{-\lambda_at}\epsilon_a(0)$ in eigenmodes of $\Theta$, interrupted by one or two events of
# $\Delta H$, by one chain $dH\to H\to z$, or by one chain $dd\to dH\to H\to z$.
#
# ## Step 2: times
# Between events each product of residuals decays at the sum of its rates, so that summing over the times of the events
# gives iterated integrals of exponentials. They are divided differences of $p(x)=e^{-xt}$:
# $$\int_{t>s_1>\dots>s_m>0}e^{-x_0(t-s_1)}\cdots e^{-x_ms_m}=(-1)^m\,p[x_0,\dots,x_m].$$
# For descent $p(x)=(1-\eta x)^t$, rates add as $x\oplus y=x+y-\eta xy$, and $\eta^m$ times the sum over steps takes the
# place of the integral. The claim is checked with both sides computed independently.

# %%
from functools import cache
from math import factorial

import numpy as np
import sympy

import pdlt
from pdlt.checks import Agreement, Identity, Scores, claim
from pdlt.checks.hierarchy import trained_moments
from pdlt.learning.corrections import averages
from pdlt.learning.corrections.diagrams import tensor_of
from pdlt.learning.corrections.initial import TENSORS

eta, theta, t, y, K = sympy.symbols("eta theta t y K", positive=True)


def divided_difference(function, nodes):
    """By residues, so that nodes may coincide."""
    x = sympy.Symbol("x")
    total = 0
    for node in set(nodes):
        order = nodes.count(node)
        rest = sympy.prod([x - other for other in nodes if other != node])
        total += sympy.diff(function(x) / rest, x, order - 1).subs(x, node) / factorial(order - 1)
    return total


def chains(same_step=False):
    x = [sympy.Rational(1, 2), sympy.Integer(3), sympy.Integer(2)]
    late, early = sympy.symbols("s_1 s_2", positive=True)
    inner = sympy.integrate(sympy.exp(-x[1] * (late - early) - x[2] * early), (early, 0, late))
    integral = sympy.integrate(sympy.expand(sympy.exp(-x[0] * (t - late)) * inner), (late, 0, t))
    steps, total = 4, 0
    for second in range(steps):
        for first in range(second + same_step):
            kept = (1 - eta * x[1]) ** max(second - first - 1, 0)
            total += (1 - eta * x[0]) ** (steps - 1 - second) * kept * (1 - eta * x[2]) ** first
    flow = divided_difference(lambda v: sympy.exp(-v * t), x)
    descent = divided_difference(lambda v: (1 - eta * v) ** steps, x)
    return Identity([sympy.expand(integral), sympy.expand(eta**2 * total)], [sympy.expand(flow), sympy.expand(descent)])


@claim(
    id="training.chains",
    statement=r"Sums over the times of two events are divided differences of $e^{-xt}$ and $(1-\eta x)^t$",
    level="symbolic",
)
def chain_identity():
    return chains()


@chain_identity.control("two events in one step counted as an ordered pair")
def not_strict():
    return chains(same_step=True)


# %% [markdown]
# ## Step 3: averages
# Given the jet covariance $G$ of the last layer, jets of different outputs are independent Gaussians (THEORY §2). Every
# event is a product of jets averaged over directions: $H$ of two, $dH$ of three, $dd$ of four. At order $1/n$ the
# average over networks pairs *four* jets, residuals included where an event has less than four, into two components
# of $G$, and takes their joint cumulant: $A,B$ from $\Delta H\Delta H$, $D,F$ from $\Delta H\,zz$, $P,Q$ from $dH\,z$,
# $R$ from $dd_I$ and $S,T,U$ from $dd_{II}$, each with all its index orders. Residuals that are left average to
# $-y$ and $K$. A training index occurs twice in a product and carries an eigenvalue; the pairs carry the outputs,
# whose closed loops give factors $n_L$. All of this is `diagrams.py`, which knows no tensor by name.
#
# For one training point and one output the same can be done by hand, with scalars: $\epsilon'=-H\epsilon$,
# $H'=-2\,dH\,\epsilon$, $dH'=-(dd_I+2\,dd_{II})\epsilon$, perturbed to second order.


# %%
class Symbolic:
    """The decay for symbols, in place of `pdlt.learning.corrections.chains.Decay`."""

    learning_rate = 0

    def joint(self, *rates):
        return sum(rates)

    def chain(self, *rates):
        return divided_difference(lambda v: sympy.exp(-v * t), list(rates))


def one_point(contributions, row, forgotten=""):
    """The sum over diagrams when there is one input, one output, and it is the training point."""
    total = 0
    for c in contributions:
        if c.part == forgotten:
            continue
        weight = 1
        for factor in c.factors:
            names = {name: theta for _, name in factor.names}
            weight = weight * sympy.sympify(np.asarray(factor.weight(Symbolic(), row, names)).item())
        name, _ = tensor_of(c.diagram)
        value = sympy.Symbol(name) * y ** len(c.diagram.targets) * K ** len(c.diagram.kernels)
        total += c.coefficient * weight * value
    return total


def by_hand():
    A, B, P, Q, R, S, T, U = sympy.symbols("A B P Q R S T U")
    s = sympy.Symbol("s", positive=True)
    decay = sympy.exp(-theta * t)

    def driven(source):
        """The solution of x' = -theta x + source that starts at 0."""
        return sympy.integrate(sympy.expand((source * sympy.exp(theta * t)).subs(t, s)), (s, 0, t)) * decay

    passed = sympy.integrate(decay.subs(t, s), (s, 0, t))
    twice = driven(-driven(-decay))  # times h^2 e
    by_dntk = driven(2 * passed * decay)  # times dH e e
    by_ddntk = driven(-2 * sympy.integrate(sympy.expand((passed * decay).subs(t, s)), (s, 0, t)) * decay)  # dd e e e
    mean = (A + 2 * B) * -y * twice - 2 * y * (P + 2 * Q) * by_dntk
    return mean + (3 * R + 2 * (S + T + U)) * (-(y**3) - 3 * K * y) * by_ddntk


def mean_of_one_point(forgotten=""):
    return Identity(
        sympy.expand(sympy.simplify(one_point(averages.mean(), (theta,), forgotten))), sympy.expand(by_hand())
    )


@claim(
    id="training.one_point",
    statement=r"The mean output on one training point under gradient flow, at any time",
    level="symbolic",
)
def one_training_point():
    return mean_of_one_point()


@one_training_point.control("without the dNTK")
def no_dntk():
    return mean_of_one_point("dNTK")


# %% [markdown]
# The change of the tangent kernel at the end of training was derived in derivation 12 along the curve
# $dH/dz=2\,dH/H$, without any expansion in time.


# %%
def change_of_one_point(factor=2):
    P, Q, R, S, T, U = sympy.symbols("P Q R S T U")
    found = sympy.limit(sympy.simplify(one_point(averages.change_of_kernel(), (sympy.Integer(0),))), t, sympy.oo)
    wanted = -factor * (P + 2 * Q) / theta + (3 * R + 2 * (S + T + U)) * (K + y**2) / theta**2
    return Identity(sympy.expand(2 * found), sympy.expand(wanted))


@claim(
    id="training.change_of_kernel",
    statement=r"$n\,E[H(\infty)-H(0)]=-2(P+2Q)/\Theta+(3R+2(S+T+U))(K+y^2)/\Theta^2$ on one training point",
    level="symbolic",
)
def change_of_kernel():
    return change_of_one_point()


@change_of_kernel.control("the dNTK counted once")
def dntk_once():
    return change_of_one_point(factor=1)


# %% [markdown]
# ## Step 4: all of it against brute force
# `pdlt.checks.hierarchy` integrates the hierarchy of step 1 numerically, over all composite indices of outputs and
# inputs, from random starts with the right cumulants: no eigenmodes, no diagrams, no contraction of outputs by hand.
# Two training points of unequal weight in the data (the second occurs twice), a test point, two outputs, unequal
# widths; six steps of descent.

# %%
NET = pdlt.MLP(depth=3, width=(16, 32), activation="tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
X = np.array([[0.9, -0.4], [-0.3, 1.1], [0.6, 0.7]])
Y = np.array([[0.8, -0.5], [-1.0, 0.4]])


@cache
def both(scale=1.0):
    rows, labels = [0, 1, 1], Y[[0, 1, 1]]
    settings = {"rule": "gd", "learning_rate": 0.15}
    found = pdlt.predict_training(NET, X[rows], labels, X, [6], order=1, kernels="tangent", **settings)
    tensors = pdlt.predict(NET, X, ["K", "Theta", *TENSORS], rtol=1e-6).isel(layer=-1)
    arrays = {name: tensors[name].values for name in tensors.data_vars}
    arrays["T"] = scale * arrays["T"]
    wanted = trained_moments(arrays, training=rows, y=labels, test=[0, 1, 2], times=[6], **settings)
    return found, wanted


def brute_force(scale=1.0):
    found, wanted = both(scale)
    names = ("mean_1", "covariance_1", "kernel_change_1")
    left = np.concatenate([found[name].values.ravel() for name in names])
    right = np.concatenate([np.asarray(getattr(wanted, name)).ravel() for name in names])
    kept = np.abs(right) > 1e-6  # the covariance of training points has entries that have decayed
    return Agreement(left[kept], right[kept], rtol=1e-8, why="the same tensors on both sides, and rounding of sums")


@claim(
    id="training.brute_force",
    statement="Mean, covariance and change of the tangent kernel, two outputs, finite steps, repeated inputs",
    level="precision",
)
def against_brute_force():
    return brute_force()


@against_brute_force.control("the tensor T one per cent too large")
def wrong_tensor():
    return brute_force(scale=1.01)


# %% [markdown]
# ## Step 5: networks that were really trained
# Ensembles at two widths: $\big(n_2^2\,m(n_2)-n_1^2\,m(n_1)\big)/(n_2-n_1)$, with $m$ the measured mean minus the
# leading one, is the coefficient of $1/n$: terms of order $n^{-2}$ in $m$ drop out, those of $n^{-3}$ leave
# $1/(n_1n_2)$.

# %%
WIDTHS, TIMES, SEED, LABELS = (32, 64), [1.0, 4.0], 5, 2.5 * Y[:, :1]


@cache
def measured():
    runs = []
    for width in WIDTHS:
        net = pdlt.MLP(depth=3, width=width, activation="tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
        how = {"observables": ("mean",), "samples": 1000, "seed": SEED}
        runs.append(pdlt.simulate_training(net, X[:2], LABELS, X, TIMES, **how))
    theory = pdlt.predict_training(net, X[:2], LABELS, X, TIMES, order=1)
    a, b = WIDTHS
    weights = np.array([-(a**2), b**2]) / (b - a)
    change = np.array([(run["mean"] - theory["mean"]).values for run in runs])
    errors = np.array([run["mean_stderr"].values for run in runs])
    value = np.tensordot(weights, change, 1).ravel()
    return theory, value, np.sqrt(np.tensordot(weights**2, errors**2, 1)).ravel()


def ensembles(parts=(0, 1, 2, 3)):
    theory, value, error = measured()
    wanted = theory.mean_1_parts.values[list(parts)].sum(0).ravel()
    return Scores(wanted, value, error, z_max=4.0, seed=SEED, power=4.0)


@claim(
    id="training.ensembles",
    statement="The coefficient of $1/n$ of the mean output, measured on trained networks of widths 48 and 96",
    level="ensemble",
)
def trained_ensembles():
    return ensembles()


@trained_ensembles.control("without the ddNTKs: networks that learn no features beyond the dNTK")
def no_ddntk():
    return ensembles(parts=(0, 1, 2))
