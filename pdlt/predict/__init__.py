"""Numbers from derived equations, for concrete networks and inputs."""

from pdlt.predict.initialisation import AccuracyWarning, coefficients, predict, total

__all__ = ["AccuracyWarning", "coefficients", "predict", "total"]
