"""`neoteny probe`: the whole diagnosis of one stored run, or what it would cost."""

from pathlib import Path
from typing import Annotated, Any

import typer

from neoteny.cli.app import app
from neoteny.cli.common import (
    DataOption,
    Format,
    FormatOption,
    PluginOption,
    load_plugins,
    own_process_settings,
    print_table,
    say,
)


@app.command()
def probe(
    folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="Folder of one run, as .../seed-0.")
    ] = None,
    task: Annotated[
        int | None,
        typer.Option(
            help="Before which task, counted from 0; by default the next to learn. An earlier one "
            "is reached by training the run anew up to it, which takes as long as it did."
        ),
    ] = None,
    rows: Annotated[
        int | None, typer.Option(help="How many of that task's training rows; by default 50.")
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where figures go; by default RUN/probe.")
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Instead: what it would cost here, for the folder of a run, for layer widths such "
            "as 784,1000,1000,10, or for so many parameters, such as 7e9.",
        ),
    ] = None,
    data: DataOption = None,
    plugin: PluginOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Diagnose a stored run before one of its tasks, beside a fresh network; save its figures."""
    from neoteny import diagnosis, explanation, planning
    from neoteny.errors import UserError
    from neoteny.progress import Progress

    own_process_settings()
    load_plugins(plugin)
    if plan is not None:
        if folder is not None:
            raise UserError(
                f"`--plan` measures nothing, so RUN is one too many. Type `neoteny probe --plan "
                f"{folder}` for what a diagnosis of that run costs, or leave `--plan` out."
            )
        if _is_run(plan):
            costs = planning.of_run(plan, task=task, rows=rows, data=data)
        else:
            costs = planning.rows(plan, diagnosis.ROWS if rows is None else rows)
        said = "What measuring costs (seconds: as fast as large products and sums are here now)"
        print_table(costs, output, title=said)
        return
    if folder is None:
        raise UserError("Pass the folder of one run, or `--plan SIZE` for what probes cost.")
    if warning := planning.warning(folder, task=task, rows=rows, data=data):
        say(warning)
    with Progress() as progress:
        found = diagnosis.diagnose(
            folder,
            task=task,
            rows=rows,
            data=data,
            on_task=lambda done: progress.retrained(done, task or 0),
        )
    paths = diagnosis.save_figures(found, figures or folder / "probe")
    _print_diagnosis(found, explanation.read(found), paths, output)


def _is_run(place: str) -> bool:
    return (Path(place) / "run.json").exists()


def _print_diagnosis(found: Any, reading: Any, paths: list[Path], output: Format) -> None:
    """The verdict in words, then every number below the heading that explains it."""
    from neoteny import explanation, tables

    if output is Format.json:
        about = {"task": found.task, "finished": found.finished, "rows": found.rows}
        figures = {"figures": list(map(str, paths))}
        tables.write_json(about | reading._asdict() | {"table": found.table} | figures)
        return
    if output is Format.csv:
        print_table(found.table, output)
        return
    typer.echo(f"{explanation.title(found)}.\n\n{reading.headline}")
    for sentence in reading.signs:
        typer.echo(f"- {sentence}")
    for note in reading.notes:
        typer.echo(f"\nNote: {note}")
    typer.echo()
    for heading, rows in explanation.sections(found):
        typer.echo(heading)
        print_table(rows, output, columns=list(rows[0]))
    for path in paths:
        typer.echo(path)
