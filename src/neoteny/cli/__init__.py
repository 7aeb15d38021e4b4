"""The command line: parses, calls, prints. What it calls is imported only when called."""

import os
import sys
from typing import Annotated

import typer

# Each adds its commands, which `--help` shows in this order.
from neoteny.cli import run, stored, probe, about  # noqa: F401  # isort: skip
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

    try:
        app()
    except UserError as error:
        sys.exit(complain(_in_options(str(error)), 2))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a figure or report that cannot be put where it was asked
        if error.filename is None:
            raise
        sys.exit(complain(f"`{error.filename}`: {error.strerror}. Name another place.", 2))


_OPTIONS = {"folder": "data", "part": "part", "gram_rows": "rows", "rows": "rows", "task": "task"}
"""What an argument of Python is called on the command line."""


def _in_options(sentence: str) -> str:
    """A sentence about Python's arguments as one about what a person typed."""
    for argument, option in _OPTIONS.items():
        sentence = sentence.replace(f"`{argument}`", f"`--{option}`")
    return sentence
