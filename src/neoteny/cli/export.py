"""The command that hands stored runs to other programs: files of tables, and trackers."""

from pathlib import Path
from typing import Annotated

import typer

from neoteny.cli.app import app
from neoteny.cli.common import Folder, PluginOption, load_plugins


@app.command()
def export(
    folder: Folder,
    out: Annotated[
        Path, typer.Option(help="The file, whose ending says the format; with --to, a folder.")
    ],
    table: Annotated[
        str | None, typer.Option(help="tasks (if not given), methods, runs or spectra.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Of the table: comma-separated.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="csv, parquet or latex, if the ending does not.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Whole runs, to tensorboard, wandb or mlflow.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="With --to: its name there; by default that of the study.")
    ] = None,
    online: Annotated[
        bool, typer.Option("--online", help="With --to wandb: send at once, to its server.")
    ] = False,
    plugin: PluginOption = None,
) -> None:
    """Write a table of all runs below DIR as CSV, Parquet or LaTeX; or send the runs to a tracker.

    Whatever is written twice is written once: files are replaced, and trackers get what is new.
    """
    from neoteny.export import export as write

    of_files = {"table": table, "columns": columns, "format": form}
    _refuse_what_does_not_go(to, of_files, {"project": project, "online": online})
    load_plugins(plugin)
    if to:
        _send(folder, to, out, project, online)
    else:
        names = None if columns is None else [name.strip() for name in columns.split(",")]
        chosen = None if names is None else [name for name in names if name]
        typer.echo(write(folder, out, table=table or "tasks", form=form, columns=chosen))


def _refuse_what_does_not_go(to: str | None, of_files: dict, of_trackers: dict) -> None:
    from neoteny.errors import UserError
    from neoteny.export import FORMATS

    if to in FORMATS:
        raise UserError(f"`--to` is {to}, the format of a file. Type `--format {to}` instead.")
    wrong = [name for name, value in (of_files if to else of_trackers).items() if value]
    if wrong and to:
        raise UserError(
            f"`--{wrong[0]}` is for files, but `--to {to}` sends runs whole. Leave it out."
        )
    if wrong:
        raise UserError(
            f"`--{wrong[0]}` is for trackers. Add one, as `--to wandb`, or leave it out."
        )


def _send(folder: Path, to: str, out: Path, project: str | None, online: bool) -> None:
    from neoteny.progress import Progress
    from neoteny.trackers import send

    with Progress() as progress:
        sent = send(folder, to, out, project=project, online=online, on_run=progress.exported)
    runs = "1 run" if sent == 1 else f"{sent} runs"
    typer.echo(f"{out}: {runs} written" if sent else f"{out}: nothing is new")
