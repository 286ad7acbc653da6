"""pdlt train."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pdlt.cli._options import (
    FIGURES,
    build_network,
    check_output,
    emit,
    exit_if_any,
    figure_option,
    given,
    label_options,
    network_options,
    output_options,
    parse_numbers,
    parse_observables,
    read_array,
    read_inputs,
    read_labels,
    z_max_option,
)
from pdlt.cli._sampling import naming
from pdlt.errors import PdltError

if TYPE_CHECKING:
    import numpy as np

    from pdlt.report.training_figure import Layout

#: Networks from which on standard errors are good enough for a verdict.
ENOUGH = 1000

#: Options that say what is trained on what, which --demo says itself.
PROBLEM = ["activation", "depth", "width", "C_b", "C_W", "critical", "lambda_b", "lambda_W", "inputs", "x", "labels"]
PROBLEM += ["y", "test_inputs", "times", "rule", "learning_rate"]

#: How errors name arguments of the library.
NAMES = {"times": "Option --times", "learning_rate": "Option --learning-rate", "rule": "Option --rule"}

#: What can be asked for by --observables, and what `predict_training` is then asked to say about kernels.
KERNELS = {"mean": "none", "variance": "none", "kernel_change": "tangent", "alignment": "tangent"}
KERNELS |= {"hidden_kernel_change": "all"}


@click.command(
    epilog="""\b
Examples:
  pdlt train --demo
  pdlt train --activation gelu --depth 3 --width 32 --C-W 1.5 --lambda-b 1 --x '[[-1],[0.2],[0.9]]' --y '[1,0,-1]'
  pdlt train --inputs x.csv --labels y.csv --test-inputs u.csv --times 1,3,10,inf --samples 0 -o prediction.json
  pdlt train --inputs x.npy --labels y.npy --rule gd --learning-rate 0.1 --times 10,100 --store run.db --samples 20000

Without --test-inputs, results are on the training inputs. Exit code 1 if an ensemble is further from the prediction
of order 1 than --z-max standard errors plus the estimated size of the next order.
""",
)
@network_options
@label_options
@click.option("--test-inputs", type=click.Path(path_type=Path), help="Points to look at: a .npy or .csv file.")
@click.option("--times", default="1,10", show_default=True, help="Times, or numbers of steps; inf is predicted only.")
@click.option("--rule", default="flow", show_default=True, help="flow (gradient flow) or gd (gradient descent).")
@click.option("--learning-rate", type=float, help="Learning rate of gd.")
@click.option("--order", type=int, default=1, show_default=True, help="Power of 1/n of the prediction, 0 or 1.")
@click.option("--observables", default="mean,variance", show_default=True, help=f"Of {', '.join(KERNELS)}.")
@click.option("--samples", type=int, default=2000, show_default=True, help="Networks to train; 0 to predict only.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--store", type=click.Path(path_type=Path), help="SQLite file that makes the ensemble resumable.")
@click.option("--workers", type=int, help="Train in this many local processes (each takes 5-10 s to start).")
@click.option("--demo", is_flag=True, help="A problem that is ready to run, drawn to training.png.")
@z_max_option
@figure_option("Draw outputs and learning curves to a file")
@output_options(".json, .csv")
def command(
    test_inputs: Path | None,
    times: str,
    rule: str,
    learning_rate: float | None,
    order: int,
    observables: str,
    samples: int,
    seed: int,
    store: Path | None,
    workers: int | None,
    demo: bool,
    z_max: float,
    figure: Path | None,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Predict what finite networks learn, train an ensemble of them, and compare."""
    import numpy as np

    figure = Path("training.png") if demo and figure is None else figure
    check_output(output, (".json", ".csv"))
    check_output(figure, FIGURES, "figure")
    names, kernels = _names(observables, order)
    if samples < 100 and samples != 0:  # known before a prediction is waited for
        raise PdltError(f"Option --samples must be 0 or a number of networks from 100, but got {samples}.")
    if demo:
        _refuse_problem()
        net, x, y, points, when, axis = _demo()
    else:
        net, x, y, points = _read(options, test_inputs)
        when, axis = parse_numbers("times", times, float), None
    when = np.atleast_1d(when)
    if samples and not np.isfinite(when).any():
        raise PdltError("Option --times must hold a finite time for networks to be trained to, or --samples be 0.")
    # Training inputs are looked at too: that is where the loss is.
    places = points if test_inputs is None and not demo else np.concatenate([points, x])
    training = len(places) - len(x) + np.arange(len(x))

    from pdlt.compare import disagreements
    from pdlt.compare_training import compare_training
    from pdlt.learning.training import predict_training
    from pdlt.report.training import training_json, training_table

    # Tensors of hidden layers are only ever sampled.
    method = "sampled" if kernels == "all" else "auto"
    with naming(**NAMES):
        prediction = predict_training(
            net, x, y, places, when.tolist(), order, rule, learning_rate,
            covariance="variance", kernels=kernels, method=method,
        )  # fmt: skip
    run = None
    if samples:
        from pdlt.trained import simulate_training

        wanted = ["covariance" if name == "variance" else name for name in names]
        with naming(**NAMES):
            run = simulate_training(
                net, x, y, places, when[np.isfinite(when)], rule, learning_rate,
                observables=wanted, samples=samples, seed=seed, store=store, executor=workers,
            )  # fmt: skip
    table = compare_training(prediction, run)
    table = table[table.observable.isin(names)]
    if figure is not None:
        from pdlt.report.training_figure import training_figure

        training_figure(prediction, run, _layout(places, training, y, len(points), axis), figure)
        click.echo(f"Wrote {figure}.", err=True)
    text = training_table(table, prediction, run, len(points))
    emit(
        lambda: training_json(table, prediction, run), lambda: table.to_csv(index=False), text, as_json, output,
        always=True,
    )  # fmt: skip
    measured = table[table.measured.notna()]
    judged = order == 1 and samples >= ENOUGH
    if samples and order and not judged:
        click.echo(f"No verdict: standard errors from fewer than {ENOUGH} networks are rough.", err=True)
    bad = disagreements(measured, z_max) if judged else measured[:0]
    exit_if_any(
        [f"{row.observable}{list(row.entry)} at time {row.time:g}" for row in bad.itertuples()],
        f"{len(bad)} of {len(measured)} entries differ by more than {z_max:g} standard errors plus the truncation",
    )


def _names(observables: str, order: int) -> tuple[list[str], str]:
    """Return the observables asked for, and what is to be said about kernels."""
    names = parse_observables(observables) or []
    wrong = [name for name in names if name not in KERNELS]
    if wrong:
        raise PdltError(f"Option --observables must be among {', '.join(KERNELS)}, but got {wrong[0]!r:.60}.")
    kernels = max((KERNELS[name] for name in names), key=["none", "tangent", "all"].index)
    if kernels != "none" and order == 0:
        raise PdltError("Option --order must be 1 for what kernels do in training: at order 0 they do not move.")
    return ["mean", *(name for name in dict.fromkeys(names) if name != "mean")], kernels


def _read(options: dict[str, Any], test_inputs: Path | None) -> tuple[Any, "np.ndarray", "np.ndarray", "np.ndarray"]:
    from pdlt.learning.data import check_labels, check_points

    net, x, labels = build_network(options), read_inputs(options), read_labels(options)
    if labels is None:
        raise PdltError("Give the labels by exactly one of --labels FILE and --y '[1,-1]'.")
    y = check_labels(labels, len(x), "labels")
    points = x if test_inputs is None else read_array(test_inputs, "test-inputs")
    return net, x, y, check_points(points, x.shape[1], "test_inputs")


def _refuse_problem() -> None:
    typed = [f"--{name.replace('_', '-')}" for name in PROBLEM if given(name)]
    if typed:
        raise PdltError(f"With --demo the problem is fixed: leave out {', '.join(typed)}.")


def _demo() -> tuple[Any, "np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]:
    """Return network, inputs and labels, points, times, and where the points are on the arc of a circle."""
    import numpy as np

    from pdlt.networks import MLP

    net = MLP(3, 32, "tanh", C_b=0.3, C_W=1.4, lambda_b=0.7, lambda_W=1.1)
    train, test = np.array([-2.1, -0.7, 0.7, 2.1]), np.linspace(-2.8, 2.8, 29)

    def arc(angles: "np.ndarray") -> "np.ndarray":
        return np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)

    times = np.array([0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12.0])
    labels = np.array([[0.5], [-0.5], [1.0], [0.0]])
    return net, arc(train), labels, arc(test), times, np.concatenate([test, train])


def _layout(
    places: "np.ndarray", training: "np.ndarray", y: "np.ndarray", points: int, axis: "np.ndarray | None"
) -> "Layout":
    from pdlt.report.training_figure import Layout

    if axis is not None:
        return Layout(points, training, y, axis, "angle")
    return Layout(points, training, y, places[:, 0] if places.shape[1] == 1 else None)
