"""pdlt regress."""

from pathlib import Path
from typing import Any

import click

from pdlt.cli._options import (
    FIGURES,
    build_network,
    check_output,
    emit,
    figure_option,
    given,
    label_options,
    network_options,
    output_options,
    parse_numbers,
    read_array,
    read_inputs,
    read_labels,
)
from pdlt.errors import PdltError

TRAINING = ("times", "rule", "learning_rate", "ridge", "unresolved")


@click.command(
    epilog="""\b
Examples:
  pdlt regress --activation relu --C-W 2 --x '[[-1],[0.2],[0.9]]' --y '[1,0,-1]' --C-b 0.1 --lambda-b 1
  pdlt regress --inputs x.csv --labels y.csv --test-inputs u.csv --test-labels v.csv --times 1,10,100,inf
  pdlt regress --inputs x.npy --labels y.npy --test-inputs u.npy --rule gd --learning-rate 0.01 --times 1000 -o gd.csv
  pdlt regress --inputs x.npy --labels y.npy --test-inputs u.npy --posterior --noise 0.01 --figure posterior.png
  pdlt regress --activation erf --width 64 --x '[[-1],[0.9]]' --y '[1,-1]' --posterior --noise 0.1 --order 1

Without --test-inputs, results are on the training inputs (figures of one-dimensional inputs have a grid around them).
Labels that name classes are given one-hot.
""",
)
@network_options
@label_options
@click.option("--test-inputs", type=click.Path(path_type=Path), help="Points to predict: a .npy or .csv file.")
@click.option("--test-labels", type=click.Path(path_type=Path), help="Their labels, for errors and accuracy.")
@click.option("--times", default="inf", show_default=True, help="Times, or numbers of steps, e.g. 1,10,100,inf.")
@click.option("--rule", default="flow", show_default=True, help="flow (gradient flow) or gd (gradient descent).")
@click.option("--learning-rate", type=float, help="Learning rate of gd.")
@click.option("--ridge", type=float, default=0.0, show_default=True, help="Penalty that draws parameters back.")
@click.option("--unresolved", default="error", show_default=True, help="Modes lost in rounding: error or freeze.")
@click.option("--posterior", "bayesian", is_flag=True, help="Bayesian posterior instead of training.")
@click.option("--noise", type=float, default=0.0, show_default=True, help="Variance of the labels' noise (posterior).")
@click.option("--order", type=int, default=0, show_default=True, help="Power of 1/width, 0 or 1 (posterior).")
@click.option("--covariance", default="variance", show_default=True, help="variance, full (only as JSON) or none.")
@figure_option("Draw to a file")
@output_options(".json, .csv")
def command(
    test_inputs: Path | None,
    test_labels: Path | None,
    bayesian: bool,
    noise: float,
    order: int,
    covariance: str,
    figure: Path | None,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Fit data at infinite width: gradient training of the NTK ensemble, or the Bayesian posterior.

    The posterior also of networks of finite width, to order 1/width. For training at finite width: pdlt train.
    """
    check_output(output, (".json", ".csv"))
    check_output(figure, FIGURES, "figure")
    _check_purpose(bayesian)
    if covariance == "full" and not as_json and (output is None or output.suffix != ".json"):
        raise PdltError("Option --covariance full goes with --json or -o FILE.json: nothing else has room for it.")
    times = parse_numbers("times", options.pop("times"), float)
    training = {name: options.pop(name) for name in TRAINING if name != "times"}
    net, x = build_network(options), read_inputs(options)
    from pdlt.learning.data import check_labels, check_points

    labels = read_labels(options)
    if labels is None:
        raise PdltError("Give the labels by exactly one of --labels FILE and --y '[1,-1]'.")
    targets = check_labels(labels, len(x), "labels")
    points = x if test_inputs is None else read_array(test_inputs, "test-inputs")
    points = check_points(points, x.shape[1], "test_inputs")
    truth = None
    if test_labels is not None:
        truth = check_labels(read_array(test_labels, "test-labels"), len(points), "test_labels", targets.shape[1])
    if figure is not None and truth is None and x.shape[1] > 1:
        raise PdltError("Option --figure needs inputs of one dimension, or --test-labels.")

    def fit(places: Any, moments: str) -> Any:
        if bayesian:
            from pdlt.learning.posterior import posterior

            return posterior(net, x, targets, places, noise, moments, order)
        from pdlt.learning.training import predict_training

        return predict_training(net, x, targets, places, times, order=0, covariance=moments, **training)

    from pdlt.report.regression import at_width, regression_csv, regression_table

    found = fit(points, covariance)
    if truth is not None:
        from pdlt.learning.scores import scores

        scored = scores(at_width(found), truth)
        found = found.assign({name: scored[name] for name in scored if name not in found})
    if figure is not None:
        from pdlt.report.regression_figure import regression_figure, span

        drawn, places = found, points
        if x.shape[1] == 1 and test_inputs is None and truth is None:
            # Between training points there is more to see than straight lines.
            places = span(x)
            drawn = fit(places, "none" if covariance == "none" else "variance")
        regression_figure(at_width(drawn), x, targets, places, truth, figure)
        click.echo(f"Wrote {figure}.", err=True)
    from pdlt.export.dataset import to_json

    # Fitting may take minutes: the scores are printed beside any file.
    summed = at_width(found)
    emit(lambda: to_json(found), lambda: regression_csv(summed), regression_table(summed), as_json, output, always=True)


def _check_purpose(bayesian: bool) -> None:
    """Refuse options of training beside --posterior, and --noise and --order without it.

    Raises:
        PdltError: for such an option.
    """
    for name in TRAINING if bayesian else ("noise", "order"):
        if given(name):
            wanted = "must be left out beside" if bayesian else "goes with"
            raise PdltError(f"Option --{name.replace('_', '-')} {wanted} --posterior.")
