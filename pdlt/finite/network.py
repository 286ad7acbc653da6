"""One real network of finite width, and its linearisation: objects that hold their weights."""

import numbers
from abc import ABC, abstractmethod
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from pdlt._arguments import count
from pdlt._jax import x64
from pdlt.errors import PdltError
from pdlt.finite.architecture import Architecture, LinearisedArchitecture, PureModel, jacobian
from pdlt.networks import MLP, check_inputs, check_network

if TYPE_CHECKING:
    from pdlt.finite.quadratic import Expanded


class Model(ABC):
    """A function of inputs and of P standardised parameters xi, in which gradient flow is xi' = -dloss/dxi.

    Attributes:
        start: the parameters at which training starts, shape (P,).
    """

    start: np.ndarray

    @property
    @abstractmethod
    def architecture(self) -> PureModel:
        """The pure function behind the model."""

    @property
    @abstractmethod
    def arrays(self) -> Any:
        """What the pure function needs besides the parameters."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(n_0, n_L)."""

    def __call__(self, x: Any, parameters: Any = None) -> np.ndarray:
        """Return the outputs, shape (N, n_L), at `parameters` (default: `start`) for inputs of shape (N, n_0).

        Raises:
            PdltError: if `x` is not of shape (N, n_0), or `parameters` not of shape (P,).
        """
        return self._run(_evaluate, x, parameters)

    def jacobian(self, x: Any, parameters: Any = None) -> np.ndarray:
        """Return J = dz/dxi, shape (N, n_L, P). Arguments and errors as in a call."""
        return self._run(jacobian, x, parameters)

    def ntk(self, x: Any, x2: Any = None, parameters: Any = None) -> np.ndarray:
        """Return the tangent kernel H of this very network: sum over parameters of lambda dz dz.

        Args:
            x, x2: inputs of shapes (N, n_0), (N_2, n_0); `x2` is `x` unless given.
            parameters: shape (P,); default `start`. Give those after training for the kernel after training.

        Returns:
            Shape (N, N_2, n_L, n_L): H_{i1 i2; 12} at [1, 2, i1, i2].
        """
        one = self.jacobian(x, parameters)
        two = one if x2 is None else self.jacobian(self.check_x(x2, "x2"), parameters)
        return np.einsum("aip,bjp->abij", one, two, optimize=True)

    def linearised(self, parameters: Any = None) -> "Linearised":
        """Return the first-order expansion around `parameters` (default: `start`)."""
        return Linearised(self, parameters)

    def quadratic(self, parameters: Any = None, *, epsilon: float = 1.0) -> "Expanded":
        """Return the second-order expansion around `parameters` (default: `start`); see `pdlt.finite.Expanded`."""
        from pdlt.finite.quadratic import Expanded

        return Expanded(self, 2, parameters, epsilon=epsilon)

    def check_parameters(self, parameters: Any) -> np.ndarray:
        """Return the parameters as an array of shape (P,), `start` for None."""
        if parameters is None:
            return self.start
        try:
            array = np.asarray(parameters, dtype=float)
        except (TypeError, ValueError):
            raise PdltError(
                f"Argument `parameters` must be {self.start.size} finite numbers, but got {str(parameters)[:60]}."
            ) from None
        if array.shape != self.start.shape or not np.isfinite(array).all():
            raise PdltError(
                f"Argument `parameters` must be {self.start.size} finite numbers, one per parameter, "
                f"but got an array of shape {array.shape} with {np.isfinite(array).sum()} finite numbers."
            )
        return array

    def check_x(self, x: Any, name: str = "x") -> np.ndarray:
        """Return the inputs as an array of shape (N, n_0); `name` is what messages call them."""
        array = check_inputs(x, name)
        if array.shape[1] != self.shape[0]:
            raise PdltError(
                f"Argument `{name}` must have {self.shape[0]} columns, the inputs of this network, "
                f"but got {array.shape[1]}."
            )
        return array

    def _run(self, function: Any, x: Any, parameters: Any) -> np.ndarray:
        inputs, xi = self.check_x(x), self.check_parameters(parameters)
        with x64():
            return np.asarray(_jitted(function, self.architecture, self.arrays, xi, inputs))


class FiniteNetwork(Model):
    """A multilayer perceptron of finite width with weights drawn from N(0, C_W / n_{l-1}), biases from N(0, C_b).

    Args:
        net: the description; its hidden widths are used as they are.
        inputs: n_0.
        outputs: n_L.
        seed: of the weights, a non-negative integer below 2^63; equal seeds give equal networks.

    Attributes:
        start: zeros of shape (P,): parameters are counted from initialisation, see `pdlt.finite.architecture`.
        weights: (W, b) of every layer at initialisation.

    Raises:
        PdltError: if an argument is out of range.
    """

    def __init__(self, net: MLP, inputs: int, outputs: int = 1, *, seed: int) -> None:
        check_network(net)
        self._architecture = Architecture(net, count("inputs", inputs), count("outputs", outputs))
        self.seed = check_seed(seed)
        self.start = np.zeros(self._architecture.size)

    @property
    def architecture(self) -> Architecture:
        """The pure function behind the network."""
        return self._architecture

    @property
    def arrays(self) -> Any:
        """The weights at initialisation."""
        return self.weights

    @property
    def shape(self) -> tuple[int, int]:
        """(n_0, n_L)."""
        return self._architecture.inputs, self._architecture.outputs

    @property
    def net(self) -> MLP:
        """The description it was made from."""
        return self._architecture.net

    @cached_property
    def weights(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """(W, b) of every layer at initialisation, shapes (n_l, n_{l-1}) and (n_l,)."""
        with x64():
            return jax.tree.map(np.asarray, _drawn(self._architecture, self.seed))

    def weights_at(self, parameters: Any) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Return (W, b) of every layer at `parameters`, for instance after training."""
        with x64():
            return jax.tree.map(np.asarray, self._architecture.moved(self.weights, self.check_parameters(parameters)))

    def __repr__(self) -> str:
        return f"FiniteNetwork({self.net!r}, inputs={self.shape[0]}, outputs={self.shape[1]}, seed={self.seed})"


class Linearised(Model):
    """f(xi_0) + (df/dxi)(xi_0) (xi - xi_0): linear in the parameters, nonlinear in the inputs.

    The value and the parameters of the expansion point are kept: training starts from the same function as the
    network's. It is solved in closed form by `pdlt.finite.solve`.

    Args:
        model: usually a `FiniteNetwork`.
        parameters: xi_0, shape (P,); default `model.start`.
    """

    def __init__(self, model: Model, parameters: Any = None) -> None:
        check_model(model)
        if isinstance(model, Linearised):  # already linear: its expansion around any point is itself
            self.base: Model = model.base
            self.origin: np.ndarray = model.origin
            self.start = model.check_parameters(parameters)
            return
        self.base = model
        self.origin = self.start = model.check_parameters(parameters)

    @property
    def architecture(self) -> LinearisedArchitecture:
        """The pure function behind the model."""
        return LinearisedArchitecture(self.base.architecture)

    @property
    def arrays(self) -> Any:
        """What the base needs and the expansion point."""
        return self.base.arrays, self.origin

    @property
    def shape(self) -> tuple[int, int]:
        """(n_0, n_L)."""
        return self.base.shape

    def __repr__(self) -> str:
        return f"Linearised({self.base!r})"


def check_model(model: Any) -> None:
    """Raise PdltError if `model` is none of this package."""
    if not isinstance(model, Model):
        raise PdltError(
            "Argument `model` must be a pdlt.finite.FiniteNetwork, an expansion of it, or a QuadraticModel, "
            f"but got an object of type {type(model).__name__}."
        )


def check_seed(seed: Any) -> int:
    """Return the seed.

    Raises:
        PdltError: if it is not an integer from 0 to 2^63 - 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= int(seed) < 2**63:
        raise PdltError(f"Argument `seed` must be an integer from 0 to 2^63 - 1, but got {str(seed)[:60]}.")
    return int(seed)


def _evaluate(architecture: Any, arrays: Any, xi: Any, x: Any) -> Any:
    return architecture.evaluate(arrays, xi, x)


@partial(jax.jit, static_argnums=0)
def _drawn(architecture: Architecture, seed: Any) -> Any:
    return architecture.draw(jax.random.key(seed))


@partial(jax.jit, static_argnums=(0, 1))
def _jitted(function: Any, architecture: Any, arrays: Any, xi: Any, x: Any) -> Any:
    return function(architecture, arrays, xi, x)
