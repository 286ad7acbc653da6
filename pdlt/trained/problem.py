"""What is trained on what: the checked arguments, and the same as plain data that determines a run."""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from pdlt._arguments import real_array
from pdlt.errors import PdltError
from pdlt.finite.architecture import Architecture
from pdlt.finite.training import MAX_COUNT, Rule, check_labels, check_rule, check_times, check_tolerance
from pdlt.networks import MLP, check_inputs, check_network

#: Arrays of a problem, in the order in which a run keeps them.
ARRAYS = ("x_train", "y_train", "x_test")


@dataclass(frozen=True, eq=False)
class Problem:
    """A network, its training data, and when to look at which points.

    Attributes:
        net: the network.
        x_train: inputs, shape (N, n_0).
        y_train: labels, shape (N, n_L).
        x_test: any points, shape (P, n_0).
        times: increasing, finite, shape (T,); numbers of steps for "gd".
        rule: "flow" or "gd".
        learning_rate: eta of gd; 0 for a flow.
        tolerance: of the integrator of a flow.
    """

    net: MLP
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    times: np.ndarray
    rule: Rule
    learning_rate: float
    tolerance: float

    @classmethod
    def of(
        cls,
        net: Any,
        x_train: Any,
        y_train: Any,
        x_test: Any,
        times: Any,
        rule: Any,
        learning_rate: Any,
        tolerance: Any,
    ) -> Self:
        """Check the arguments of `simulate_training`.

        Raises:
            PdltError: if one of them is not acceptable.
        """
        net = check_network(net)
        inputs, points = check_inputs(x_train, "x_train"), check_inputs(x_test, "x_test")
        if points.shape[1] != inputs.shape[1]:
            raise PdltError(
                f"Argument `x_test` must have the {inputs.shape[1]} columns of `x_train`, but has {points.shape[1]}."
            )
        wanted = f"an array of finite numbers of shape ({len(inputs)},) or ({len(inputs)}, n_L)"
        given = real_array("y_train", y_train, wanted)
        if given.ndim not in (1, 2) or given.size == 0:
            raise PdltError(f"Argument `y_train` must be {wanted}, but got an array of shape {given.shape}.")
        labels = check_labels(y_train, len(inputs), given.reshape(len(given), -1).shape[1], "y_train")
        eta = check_rule(rule, learning_rate)
        at = check_times(times, rule)
        if np.isinf(at[-1]):
            raise PdltError(
                "Argument `times` must be finite, but got inf: real networks are trained for as long as it takes. "
                "Give a time at which the slowest mode has been learned, some multiples of `learning_time` of "
                "pdlt.predict_training."
            )
        if rule == "gd" and at[-1] > MAX_COUNT:
            raise PdltError(
                f"Argument `times` must be at most {MAX_COUNT} steps, which are taken one by one, but got {at[-1]:g}."
            )
        check_tolerance(tolerance)
        return cls(net, inputs, labels, points, at, rule, eta, tolerance)

    @property
    def architecture(self) -> Architecture:
        """The network with its numbers of inputs and outputs."""
        return Architecture(self.net, self.x_train.shape[1], self.y_train.shape[1])

    def numbers(self) -> np.ndarray:
        """Return all arrays one after the other, as a run keeps them."""
        return np.concatenate([getattr(self, name).ravel() for name in ARRAYS])

    def describe(self) -> dict[str, Any]:
        """Return everything but the numbers of the arrays as plain data."""
        return {
            "network": self.net.describe(),
            "arrays": [[name, list(getattr(self, name).shape)] for name in ARRAYS],
            "times": self.times.tolist(),
            "rule": self.rule,
            "learning_rate": self.learning_rate,
            "tolerance": self.tolerance,
        }

    @classmethod
    def from_description(cls, spec: dict[str, Any], numbers: np.ndarray) -> Self:
        """Return the problem that `describe` and `numbers` were made of.

        Raises:
            PdltError: if they are not acceptable.
        """
        fields = dict(spec["network"])
        if fields.pop("kind") != "MLP":
            raise PdltError(f"The run's network must be an MLP, but is {spec['network']!r}.")
        shapes = [shape for _, shape in spec["arrays"]]
        parts = np.split(numbers.ravel(), np.cumsum([math.prod(shape) for shape in shapes])[:-1])
        x, y, points = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        eta = spec["learning_rate"] if spec["rule"] == "gd" else None
        return cls.of(MLP(**fields), x, y, points, spec["times"], spec["rule"], eta, spec["tolerance"])
