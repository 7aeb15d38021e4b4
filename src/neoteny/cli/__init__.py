"""The command line: parses, calls, prints. What it calls is imported only when called."""

import errno
import io
import os
import sys
from typing import Annotated

import typer

# Each adds its commands, which `--help` shows in this order.
from neoteny.cli import run, tune, stored, watch, export, probe, about  # noqa: F401  # isort: skip
from neoteny.cli.app import app
from neoteny.cli.common import complain


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Measure, explain, predict and prevent loss of plasticity in continual learning."""
    if version:
        import neoteny

        typer.echo(neoteny.__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line: 0 for success, 1 for a failed run, 2 for input that cannot work."""
    from neoteny.errors import UserError

    for stream in (sys.stdout, sys.stderr):  # names of files need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a full disk or a closed pipe can still be told
    except UserError as error:
        sys.exit(complain(_in_options(str(error)), 2))
    except BrokenPipeError:
        _print_no_more()
        sys.exit(1)
    except OSError as error:  # a file that cannot be put where it was asked, or what is printed
        if error.filename is None and error.errno != errno.ENOSPC:
            raise
        if error.filename is None:
            _print_no_more()
        place = error.filename or "standard output"
        sys.exit(complain(f"`{place}`: {error.strerror}. Name another place.", 2))


def _print_no_more() -> None:
    """Or Python, which ends, would try again to write what it has not."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_SAME = (
    "columns", "data", "jobs", "on", "online", "out", "part", "plugin", "rows", "search", "storage",
    "task", "together", "trials",
)  # fmt: skip
_OPTIONS = {
    **{name: name for name in _SAME},
    "folder": "data",
    "gram_rows": "rows",
    "warm_up": "warm-up",
}
"""What an argument of Python is called on the command line."""


def _in_options(sentence: str) -> str:
    """A sentence about Python's arguments as one about what a person typed."""
    for argument, option in _OPTIONS.items():
        sentence = sentence.replace(f"`{argument}`", f"`--{option}`")
    return sentence
