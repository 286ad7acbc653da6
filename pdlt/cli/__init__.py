"""The command line: one file per command, each imported only when it is run, so that help is instant."""

import importlib
import sys
import warnings
from typing import TextIO

import click

from pdlt._version import __version__
from pdlt.errors import PdltError

#: name -> what `pdlt --help` says about it.
COMMANDS = {
    "demo": "Derive, export, predict, simulate and compare: the main job, in one command.",
    "derive": "Derive the recursions of observables and export them.",
    "predict": "Evaluate the theory for a network and inputs.",
    "kernel": "Gram matrices of the NNGP kernel and the tangent kernel at infinite width.",
    "regress": "Fit data at infinite width: training of the NTK ensemble, or the Bayesian posterior.",
    "train": "What trained networks have learned: kernel machine, order 1/n, and ensembles of trained networks.",
    "modes": "Eigenmodes of the kernel on data, or on the circle, sphere and cube.",
    "simulate": "Measure the same quantities on an ensemble of finite networks.",
    "runs": "List, show and export the stored runs of simulate.",
    "compare": "Put theory beside measurement, with z-scores.",
    "sweep": "Measure several widths and depths; fit the series in 1/n, compare it with the derived one.",
    "criticality": "Find the critical initialisation of an activation.",
    "scaling": "Sizes of 1/n effects against depth and width at criticality.",
    "advise": "Advise on initialisation, learning rates and shape; say what to expect.",
    "calibrate": "Test the samplers and their error bars against each other and exact solutions.",
    "check": "Run the claims of derivations.",
}


class _LazyGroup(click.Group):
    """Lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"pdlt.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Try `pdlt demo`, then `pdlt COMMAND --help`, which teaches by example.",
)
@click.version_option(__version__, prog_name="pdlt")
def cli() -> None:
    """The 1/width expansion of neural networks: derived, exported, evaluated, compared with real networks."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. Exit codes: 0 fine, 1 a check or comparison failed, 2 bad input."""
    warnings.showwarning = _show_warning
    try:
        code = cli.main(args=arguments, prog_name="pdlt", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except PdltError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone (`pdlt predict | head`); there is nobody to tell.
        sys.stderr.close()
        sys.exit(0)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, UserWarning):
        click.echo(f"Warning: {message}", err=True)
