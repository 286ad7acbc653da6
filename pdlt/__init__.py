"""pdlt: the 1/width expansion of neural networks, derived, evaluated and checked.

The public names; each is imported on first use, so that `import pdlt` and `pdlt --help` stay fast.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from pdlt._version import __version__

_HOME = {
    "MLP": "pdlt.networks",
    "Activation": "pdlt.activations",
    "activation": "pdlt.activations",
    "derive": "pdlt.pipeline",
    "closed_form": "pdlt.symbolic.depth",
    "cumulant": "pdlt.observables",
    "Theory": "pdlt.equations",
    "predict": "pdlt.predict",
    "kernel": "pdlt.predict.gram",
    "recipe": "pdlt.parametrisation",
    "recipe_of": "pdlt.parametrisation",
    "total": "pdlt.predict",
    "criticality": "pdlt.predict.criticality",
    "equivalent_learning_rates": "pdlt.predict.learning_rates",
    "scaling": "pdlt.predict.scaling",
    "double_scaling": "pdlt.symbolic.double_scaling",
    "advise": "pdlt.predict.advice",
    "simulate": "pdlt.ensemble",
    "posterior": "pdlt.learning.posterior",
    "log_evidence": "pdlt.learning.evidence",
    "predict_training": "pdlt.learning.training",
    "simulate_training": "pdlt.trained",
    "sample_prior": "pdlt.learning.samples",
    "sample_posterior": "pdlt.learning.samples",
    "sample_training": "pdlt.learning.samples",
    "modes": "pdlt.learning.modes",
    "population_modes": "pdlt.learning.continuum",
    "label_log_probability": "pdlt.learning.labels",
    "rank_labels": "pdlt.learning.labels",
    "FiniteNetwork": "pdlt.finite",
    "compare": "pdlt.compare",
    "compare_training": "pdlt.compare_training",
    "sweep": "pdlt.sweep",
    "TruncationWarning": "pdlt.predict",
    "PdltError": "pdlt.errors",
}

__all__ = ["__version__", *_HOME]


class _Package(ModuleType):
    """Keeps `pdlt.predict`, `pdlt.compare` and others the functions when the modules of the same name are imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pdlt' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
