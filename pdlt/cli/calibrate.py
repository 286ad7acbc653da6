"""pdlt calibrate."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from pdlt.cli._options import FIGURES, check_output, emit, figure_option, output_options
from pdlt.errors import PdltError


@click.command(
    epilog="""\b
Examples:
  pdlt calibrate --cases 40 --samplers jets,conditioned
  pdlt calibrate --cases 400 --seed 1 --workers 2 --journal calibration.jsonl -o report.md
  pdlt calibrate --seed 1 --case 137               one case in full, with Python that repeats it
  pdlt calibrate --cases 100 --plant factor        an error planted on purpose: must fail

Exit code 1 if a test fails.
""",
)
@click.option("--cases", type=int, default=400, show_default=True, help="Random cases.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the cases and of the samplers.")
@click.option("--samplers", help="Which ones meet, separated by commas. Default: all.")
@click.option("--samples", type=int, help="Networks on each side of a replicate.")
@click.option("--replicates", type=int, help="Independent comparisons in a case.")
@click.option("--workers", type=int, help="Local processes; results are the same.")
@click.option("--journal", type=click.Path(path_type=Path), help="File that makes the suite resumable.")
@click.option("--plant", help="An error to plant: factor, index, lambda_W, lambda_b or errors.")
@click.option("--case", type=int, help="Run and print this case only.")
@figure_option("Histogram and quantiles")
@output_options(".md, .json")
def command(
    cases: int,
    seed: int,
    samplers: str | None,
    samples: int | None,
    replicates: int | None,
    workers: int | None,
    journal: Path | None,
    plant: str | None,
    case: int | None,
    figure: Path | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Compare the samplers with each other and with exact solutions in random cases: are z-scores normal?"""
    check_output(output, (".md", ".json"))
    check_output(figure, FIGURES, "figure")
    if workers is not None and not 1 <= workers <= 1000:
        raise PdltError(f"Option --workers must be an integer from 1 to 1000, but got {workers}.")
    if case is not None and not 0 <= case < 10**9:
        raise PdltError(f"Option --case must be a non-negative integer, but got {case}.")
    from pdlt.calibration import Settings, calibrate
    from pdlt.calibration.normality import scores
    from pdlt.calibration.report import case_text, document, markdown
    from pdlt.calibration.suite import one

    chosen = {"samples": samples, "replicates": replicates}
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    if samplers is not None:
        given["samplers"] = tuple(name.strip() for name in samplers.split(","))
    settings = Settings(cases=cases, seed=seed, plant=plant, **given)
    if case is not None:
        record = one(settings, case)
        click.echo(json.dumps(record, indent=1) if as_json else case_text(settings, case, record))
        return
    outcome = calibrate(settings, journal, workers)
    address = None
    if figure is not None:
        from pdlt.report.calibration_figure import normality

        normality(scores(outcome.records), figure)
        address = Path(os.path.relpath(figure, output.parent if output is not None else ".")).as_posix()
    as_data, report = json.dumps(document(outcome), indent=1), markdown(outcome, address)
    emit(lambda: as_data, lambda: report, report, as_json, output)
    if not outcome.passed:
        click.echo("The z-scores are not standard normal: see the tests that failed.", err=True)
        sys.exit(1)
