"""The JSON of a theory: written as it is, read with suspicion.

A file may come from anywhere and what is read becomes text in several languages downstream, so names, indices and the
closure of the system are checked here, once.
"""

import json
import re
from fractions import Fraction
from typing import Any

from pdlt.equations import PARAMETERS, Equation, Tensor, Term, Theory, frame
from pdlt.errors import PdltError
from pdlt.observables import Observable, identify, observable

SCHEMA = "pdlt.theory/1"


def encode(theory: Theory) -> str:
    """Return a theory as JSON; `decode` restores an equal one."""
    return json.dumps(_data(theory), indent=1, ensure_ascii=False)


def _data(theory: Theory) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "version": theory.version,
        "order": theory.order,
        "requested": list(theory.requested),
        "activation": theory.activation,
        "parameters": list(PARAMETERS),
        "equations": [
            {
                "name": e.name,
                "order": e.order,
                "labels": list(e.labels),
                "spec": e.spec,
                "terms": [
                    {
                        "coefficient": str(t.coefficient),
                        "powers": list(t.powers),
                        "expectations": [[list(factor) for factor in x] for x in t.expectations],
                        "tensors": [{"name": x.name, "order": x.order, "args": list(x.args)} for x in t.tensors],
                    }
                    for t in e.terms
                ],
            }
            for e in theory.equations
        ],
    }


def decode(text: str) -> Theory:
    """Return the theory written by `encode`. The text is parsed and checked, never evaluated.

    Raises:
        PdltError: if the text is not JSON of this schema, or is not a closed system of recursions.
    """
    wanted = "Argument `text` must be JSON written by `Theory.to_json`"
    try:
        data = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise PdltError(f"{wanted}, but it is not JSON: {error}.") from None
    try:
        if data["schema"] != SCHEMA:
            raise PdltError(f"Argument `text` must have schema {SCHEMA!r}, but has {data['schema']!r}.")
        theory = Theory(
            _natural(data["order"]),
            tuple(_string(name) for name in _list(data["requested"])),
            tuple(_decode_equation(e) for e in _list(data["equations"])),
            None if data["activation"] is None else _string(data["activation"]),
            _string(data["version"]),
        )
        _require_consistent(theory)
    except (LookupError, TypeError, ValueError, ArithmeticError) as error:
        reason = str(error) if isinstance(error, PdltError) else repr(error)
        raise PdltError(f"{wanted}, but is malformed: {reason}") from None
    return theory


def _decode_equation(data: dict[str, Any]) -> Equation:
    item = _frame(data["name"])
    if data["labels"] != list(item.axis_labels) or data["spec"] != item.spec:
        raise ValueError(f"{item.name} has labels {item.axis_labels} and spec {item.spec!r}")
    terms = tuple(_decode_term(t, item.labels) for t in _list(data["terms"]))
    return Equation(item.name, _natural(data["order"]), item.axis_labels, item.spec, terms)


def _decode_term(data: dict[str, Any], labels: tuple[int, ...]) -> Term:
    powers = tuple(_natural(p) for p in _list(data["powers"]))
    if len(powers) != len(PARAMETERS):
        raise ValueError(f"powers {powers}")
    expectations = tuple(tuple((_natural(a), _natural(k)) for a, k in _list(x)) for x in _list(data["expectations"]))
    for factors in expectations:
        used = [label for label, _ in factors]
        if not used or len(set(used)) < len(used) or not set(used) <= set(labels):
            raise ValueError(f"an expectation over the inputs {used}")
    tensors = []
    for x in _list(data["tensors"]):
        item, args = _frame(x["name"]), tuple(_integer(a) for a in _list(x["args"]))
        if len(args) != len(item.slots) or not all(a in labels or -len(expectations) <= a < 0 for a in args):
            raise ValueError(f"{item.name} with indices {args}")
        tensors.append(Tensor(item.name, _natural(x["order"]), args))
    return Term(_fraction(data["coefficient"]), powers, expectations, tuple(tensors))  # type: ignore[arg-type]


def _require_consistent(theory: Theory) -> None:
    """Raise ValueError unless a decoded theory is closed and holds what it says was requested."""
    keys = theory.keys()
    if len(set(keys)) < len(keys):
        raise ValueError("an equation occurs twice")
    requested = [observable(name) for name in theory.requested]
    needed = {"K"} | {identify(item.slots)[0].name for item in requested}
    for equation in theory:
        for term in equation.terms:
            needed |= {tensor.key for tensor in term.tensors}
            # A term of the expansion has at most two deltas per power of 1/n, and a delta has two indices.
            if sum(a < 0 for tensor in term.tensors for a in tensor.args) > 4 * theory.order:
                raise ValueError(f"{equation.key} has a term with more summation indices than its order allows")
    if not requested or not needed <= set(keys):
        raise ValueError(f"equations are missing: {', '.join(sorted(needed - set(keys))) or 'nothing is requested'}")
    if theory.activation is not None:
        from pdlt.activations import activation

        activation(theory.activation)


def _frame(name: Any) -> Observable:
    item = frame(_string(name))
    if item.name != name:
        raise ValueError(f"{name!r} is called {item.name!r}")
    return item


def _list(value: Any) -> list:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _natural(value: Any) -> int:
    # No exponent, order or label of a theory comes near the limit; larger ones would only cost time downstream.
    if not 0 <= _integer(value) < 1000:
        raise ValueError(f"{value!r} is not an integer from 0 to 999")
    return int(value)


def _fraction(value: Any) -> Fraction:
    # Fraction("1e999999999") would build the integer, so only plain ratios are read.
    if not re.fullmatch(r"-?\d{1,100}(/\d{1,100})?", _string(value)):
        raise ValueError(f"{value!r} is not a ratio of integers")
    return Fraction(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a string")
    return value
