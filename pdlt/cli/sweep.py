"""pdlt sweep."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pdlt.cli._options import (
    FIGURES,
    build_network,
    check_output,
    exit_if_any,
    network_options,
    observables_option,
    output_options,
    parse_numbers,
    parse_observables,
    read_inputs,
    write_text,
    z_max_option,
)
from pdlt.cli._sampling import naming, sampling_arguments, sampling_options
from pdlt.errors import PdltError


@click.command(
    epilog="""\b
Examples:
  pdlt sweep --activation tanh --C-W 2 --x '[[0.9,-0.4,1.1]]' --widths 8,12,16,24,32 --observables K,V --order 2
  pdlt sweep --critical --depths 2,4,8 --widths 8,16,32,64 --observables V,B --x '[[1,0]]' -o sweep.png
  pdlt sweep --widths 8,16,32 --x '[[1,0]]' --observables K,V --until-time 10m --stores runs --workers 4

Exit code 1 if a derived coefficient is further than --z-max standard errors from the measured one.
""",
)
@network_options
@click.option("--widths", help="Widths n before the last layer; other hidden widths keep the ratios of --width.")
@click.option("--depths", help="Depths to measure, e.g. 2,4,8. Default: --depth.")
@observables_option
@click.option("--order", type=int, default=1, show_default=True, help="Power of 1/n of the derived series.")
@click.option("--degree", type=int, help="Highest power of 1/n in the fits. Default: one more than suffices.")
@click.option("--samples", help="Networks per run (10000), or one number per width; with --until-... the most.")
@sampling_options
@click.option("--stores", type=click.Path(path_type=Path), help="Folder with a file per run: resumable, extendable.")
@z_max_option
@click.option("--all-entries", is_flag=True, help="Print all entries, not only that of the first input.")
@output_options(".json, .csv, .png, .svg, .pdf")
def command(
    widths: str | None,
    depths: str | None,
    observables: str | None,
    order: int,
    degree: int | None,
    samples: str | None,
    stores: Path | None,
    z_max: float,
    all_entries: bool,
    as_json: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Measure several widths (and depths), fit the series in 1/n, and put it beside the derived one."""
    check_output(output, (".json", ".csv", *FIGURES))
    if widths is None:
        raise PdltError("Option --widths must be given, e.g. --widths 8,12,16,24,32.")
    sampling = sampling_arguments(options)
    ns, ls = _list("widths", widths), None if depths is None else _list("depths", depths)
    if ls is not None and click.get_current_context().get_parameter_source("depth") is ParameterSource.COMMANDLINE:
        raise PdltError("Option --depths replaces --depth: leave out one of them.")
    net, x = build_network(options), read_inputs(options)
    from pdlt.report.sweep import sweep_table
    from pdlt.sweep import sweep

    counts = None if samples is None else parse_numbers("samples", samples, int)
    names = parse_observables(observables)
    with naming():
        result = sweep(net, x, names, ns, ls, samples=counts, order=order, degree=degree, stores=stores, **sampling)
    if output is not None:
        if output.suffix in FIGURES:
            result.plot(output)
        else:
            json_or_csv = result.to_json() if output.suffix == ".json" else result.coefficients.to_csv(index=False)
            write_text(output, json_or_csv)
        click.echo(f"Wrote {output}.", err=True)
    # A sweep takes minutes: its table is printed beside any file.
    click.echo(result.to_json() if as_json else sweep_table(result, all_entries))
    bad = result.disagreements(z_max)
    exit_if_any(
        [f"{row.coefficient}{list(row.entry)} at depth {row.depth}" for row in bad.itertuples()],
        f"{len(bad)} derived coefficients differ by more than {z_max:g} standard errors",
    )


def _list(option: str, text: str) -> list[int]:
    values = parse_numbers(option, text, int)
    return values if isinstance(values, list) else [values]
