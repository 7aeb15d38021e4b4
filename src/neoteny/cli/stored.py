"""Commands that read runs which are stored: reports, tables, verdicts; they train nothing."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from neoteny.cli.app import app
from neoteny.cli.common import (
    Folder,
    Format,
    FormatOption,
    PluginOption,
    load_plugins,
    own_process_settings,
    print_table,
)


@app.command()
def report(
    folder: Folder,
    figures: Annotated[
        str | None, typer.Option(help="Also write each figure: png, pdf or png,pdf.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; by default DIR/report.html.")
    ] = None,
    episodes: Annotated[
        bool, typer.Option("--episodes", help="Also draw an episode of each method of agents.")
    ] = False,
    plugin: PluginOption = None,
) -> None:
    """Write the report of all runs below DIR as one HTML file that works offline."""
    from neoteny.api import Results
    from neoteny.errors import UserError

    formats = [name.strip() for name in figures.split(",")] if figures else []
    if not set(formats) <= {"png", "pdf"}:
        raise UserError(
            f"`--figures` is {figures}, but figures are written as png, pdf or png,pdf."
        )
    if episodes:
        own_process_settings()
        load_plugins(plugin)
    typer.echo(Results(folder).report(out, episodes=episodes))
    for path in Results(folder).figures(formats) if formats else []:
        typer.echo(path)


@app.command()
def judge(
    folder: Folder,
    study: Annotated[
        str | None,
        typer.Option(help="By the claim of which study; by default of the one they were run for."),
    ] = None,
    output: FormatOption = Format.table,
) -> None:
    """Say what the runs below DIR bear out, once more or for another study; train nothing."""
    from neoteny.api import Results

    verdicts = [verdict._asdict() for verdict in Results(folder).verdict(study)]
    print_table(verdicts, output, title="Verdict")


@app.command()
def leaderboard(
    folder: Folder,
    methods: Annotated[str | None, typer.Option(help="Only these: comma-separated.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The HTML page; by default DIR/leaderboard.html.")
    ] = None,
    output: FormatOption = Format.table,
) -> None:
    """Rank the methods over all streams below DIR, and say how sure that is; write a page."""
    from neoteny.api import Results
    from neoteny.report.leaderboard import summary

    path = out or folder / "leaderboard.html"
    found = Results(folder).leaderboard(path, methods)
    said = (
        "Leaderboard (`beats bp`: the share of pairs of runs on one stream that it wins, with a "
        "95 % interval; `p`: of its differences to bp, adjusted for the number of methods)"
    )
    print_table(found.rows, output, title=said)
    if output is Format.table:
        typer.echo(f"{summary(found)}\nPage: {path}")


@app.command()
def status(
    folder: Folder,
    summary: Annotated[
        bool, typer.Option("--summary", help="One row for each method on a stream.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="The summary again and again, until all runs end.")
    ] = False,
    output: FormatOption = Format.table,
) -> None:
    """Say how far each run below DIR has come."""
    from neoteny import progress, store, tables

    if live and sys.stdout.isatty():
        tables.show(progress.follow(folder))
        return
    rows = store.status(folder)
    if summary or live:
        print_table(progress.together(rows), output)
    elif output is Format.table:
        print_table(progress.telling(rows), output)
    else:
        print_table(rows, output)


@app.command()
def query(
    folder: Folder,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="Over runs, tasks and spectra.")],
    output: FormatOption = Format.table,
) -> None:
    """Answer SQL over all runs below DIR."""
    from neoteny import store

    result = store.query(folder, sql)
    names = _distinct(result.columns)
    rows = [dict(zip(names, row, strict=True)) for row in result.rows]
    print_table(rows, output, columns=names)


def _distinct(names: list[str]) -> list[str]:
    """Column names made different: a join may answer with two called `seed`."""
    return [
        f"{name}_{names[:place].count(name) + 1}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]
