"""Numbers from derived equations, for concrete networks and inputs."""

from pdlt.predict.initialisation import AccuracyWarning, predict
from pdlt.predict.series import coefficients
from pdlt.predict.sums import total
from pdlt.predict.trust import TruncationWarning

__all__ = ["AccuracyWarning", "TruncationWarning", "coefficients", "predict", "total"]
