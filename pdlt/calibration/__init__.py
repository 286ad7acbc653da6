"""Calibration: would a subtly wrong sampler, formula or error bar be seen?

Random cases are measured by two samplers, or by one sampler where the answer is known exactly. If all are right, and
their standard errors too, the differences divided by their combined standard errors are standard normal.

    cases       number k of a suite: network, inputs, observable, what is compared; a pure function of the seed and k
    layerwise   exact: piecewise linear networks of any depth, by a recursion of their moments
    shallow     exact: one hidden layer, any activation, by quadrature
    comparison  a case -> z-scores
    plants      errors that can be planted in one side, which the suite must find
    normality   z-scores -> tests of standard normality, with thresholds fixed in advance
    journal     results in a file, so that an interrupted suite continues
    suite       the driver
    report      outcome -> Markdown
    figure      outcome -> histogram and quantiles

It imports the ensemble and the description of networks, and no theory: the exact solutions are its own.
"""

from pdlt.calibration.suite import Outcome, Settings, calibrate

__all__ = ["Outcome", "Settings", "calibrate"]
