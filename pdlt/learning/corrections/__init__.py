"""What training does at order 1/n: the corrections to outputs and kernels, derived from jets and Wick's theorem.

A trained network is a power series in its residuals (`events`); at order 1/n its averages are sums over diagrams, a
joint cumulant of two components of the jet covariance each (`diagrams`), with weights that are divided differences of
the leading decay (`chains`). `amplitudes` contracts the diagrams and `outputs` puts results together.
"""
