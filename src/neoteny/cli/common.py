"""What commands share: options, how a process is set up, how things are printed."""

import contextlib
import os
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"


StudyArgument = Annotated[str, typer.Argument(help="A study's name, a claim's, or a TOML file.")]
ScaleOption = Annotated[
    str | None,
    typer.Option(help="smoke, desk or paper, of a study that has sizes; by default desk."),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(help="corrected or published: with the flaws of the paper's code, to compare."),
]
MethodsOption = Annotated[str | None, typer.Option(help="Comma-separated, as bp,l2_er.")]
ChangesOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any field of the study.")
]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", envvar="NEOTENY_DATA", help="Folder of data sets (mnist/, ...)."),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="Python file with methods, streams or probes of your own."),
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of runs.")]


def complain(sentence: str, code: int) -> int:
    say(sentence)
    return code


def say(sentence: str) -> None:
    """To the person, beside what is printed for a program."""
    print(f"neoteny: {sentence}", file=sys.stderr)


def print_table(
    rows: list[dict[str, Any]],
    output: Format,
    *,
    title: str | None = None,
    columns: list[str] | None = None,
) -> None:
    from neoteny import tables

    tables.write(rows, output.value, title=title, columns=columns)


def load_plugins(paths: list[Path] | None) -> None:
    from neoteny import plugins

    for path in paths or []:
        plugins.load(path)


def assignments(changes: list[str]) -> dict[str, str]:
    from neoteny.errors import UserError

    for change in changes:
        if "=" not in change:
            raise UserError(f"`--set` is {change!r}, but takes KEY=VALUE, as `--set tasks=5`.")
    return dict(change.split("=", 1) for change in changes)


def refuse_no_process(jobs: int | None) -> None:
    from neoteny.errors import UserError

    if jobs is not None and jobs < 1:
        raise UserError(f"`--jobs` is {jobs}, but at least one process must run.")


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """What is in here may be stopped by Ctrl-C, and is then gone on with by the same command."""
    try:
        yield
    except KeyboardInterrupt:
        sentence = "Stopped. The same command continues where this one stood."
        raise typer.Exit(complain(sentence, 130)) from None


def own_process_settings() -> None:
    """Keep compiled code between processes, and LAPACK off the cores JAX uses; children inherit."""
    from neoteny import cache

    for name, value in cache.settings().items():
        os.environ.setdefault(name, value)
