"""The command line: parses, calls, prints. What it calls is imported only when called."""

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="neoteny",
    help="Measure, explain, predict and prevent loss of plasticity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


KINDS = ("streams", "datasets", "environments", "networks", "methods", "probes", "studies")
"""What `neoteny list` knows of."""


class Format(StrEnum):
    """How a table is printed."""

    table = "table"
    csv = "csv"
    json = "json"


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


@app.command("list")
def list_members(
    kind: Annotated[
        str | None, typer.Argument(metavar="|".join(KINDS), help="One noun; all if left out.")
    ] = None,
    output: FormatOption = Format.table,
    plugin: PluginOption = None,
) -> None:
    """List streams, data sets, networks, methods, probes and studies."""
    from neoteny import catalogue
    from neoteny.errors import unknown

    if kind is not None and kind not in KINDS:
        raise unknown("list of", kind, KINDS)
    _load_plugins(plugin)
    _print_table(catalogue.members(kind), output, title=kind)


class Place(StrEnum):
    """Where runs are carried out."""

    local = "local"
    slurm = "slurm"


@app.command("sweep", help="Run a study at every combination of `--grid`; else the same as `run`.")
@app.command()
def run(
    study: Annotated[str, typer.Argument(help="A study's name, or a TOML file.")],
    scale: Annotated[
        str | None,
        typer.Option(help="smoke, desk or paper, of a study that has sizes; by default desk."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="corrected or published: with the flaws of the paper's code, to compare."
        ),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say how long it would take, and stop.")
    ] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any field of the study.")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Comma-separated, as bp,l2_er.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds.")] = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default one per core.")] = None,
    together: Annotated[
        bool | None,
        typer.Option(
            "--together/--apart",
            help="All seeds of a method in one vectorised program, in one process; by default on "
            "an accelerator.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the runs; by default runs/STUDY.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE,VALUE",
            help="Values to try of a field or of a method's hyperparameter, as lr=0.01,0.001 or "
            "l2.weight_decay=1e-4,1e-3; several of them in every combination.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only every N-th run from the I-th, counted from 0."),
    ] = None,
    on: Annotated[
        Place, typer.Option(help="`slurm` starts nothing and prints a job array of --part's.")
    ] = Place.local,
    parts: Annotated[
        int | None, typer.Option(help="Jobs of that array, one a run at most; by default 10.")
    ] = None,
    data: DataOption = None,
    plugin: PluginOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Run a study, or continue it; print the methods and the verdict; write report.html."""
    from neoteny import api, studies, sweep
    from neoteny.errors import UserError
    from neoteny.progress import Progress

    _own_process_settings()
    if jobs is not None and jobs < 1:
        raise UserError(f"`--jobs` is {jobs}, but at least one process must run.")

    axes, share = _axes(grid or []), _part(part)
    if parts is not None and on is not Place.slurm:
        raise UserError(
            f"`--parts` is {parts}, but goes with `--on slurm`; here pass `--part I/N`."
        )
    if part is not None and on is Place.slurm:
        raise UserError("`--part` is one job's, and `--on slurm` makes them all; leave it out.")
    asked: dict[str, Any] = {
        "scale": scale,
        "protocol": protocol,
        "methods": methods,
        "seeds": seeds,
        "changes": _assignments(changes or []),
        "jobs": jobs or _cores(),
        "data": data,
        "plugins": plugin or [],
    }
    if estimate:
        from neoteny.estimate import sentence

        typer.echo(sentence(api.estimate(study, **asked, grid=axes, part=share)))
        return
    if on is Place.slurm:
        from neoteny.slurm import job_array

        _load_plugins(plugin)
        choice = ("scale", "protocol", "methods", "seeds", "changes")
        planned = api.plan(study, **{name: asked[name] for name in choice})
        runs = api.runs_of(planned, axes)[0]
        program = str(Path(sys.argv[0]).absolute())
        asked_for = 10 if parts is None else parts
        typer.echo(job_array(program, sys.argv[1:], min(asked_for, len(runs))))
        return

    def start(runs: list[Any]) -> None:
        for sentence in studies.advise(runs):
            _say(sentence)
        if scale == "paper":
            from neoteny.estimate import sentence

            spare = {name: asked[name] for name in ("jobs", "data", "plugins")}
            _say(sentence(sweep.estimate(runs, **spare)))
        progress.start(runs)

    try:
        with Progress() as progress:
            results = api.run(
                study,
                out=out,
                **asked,
                together=together,
                grid=axes,
                part=share,
                on_task=progress.task_done,
                on_start=start,
                download=progress.downloading,
            )
    except KeyboardInterrupt:
        sentence = "Stopped. The same command continues where this one stood."
        raise typer.Exit(_complain(sentence, 130)) from None
    _conclude(results, output)


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
        _own_process_settings()
        _load_plugins(plugin)
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
    _print_table(verdicts, output, title="Verdict")


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
    _print_table(found.rows, output, title=said)
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
        _print_table(progress.together(rows), output)
    elif output is Format.table:
        _print_table(progress.telling(rows), output)
    else:
        _print_table(rows, output)


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
    _print_table(rows, output, columns=names)


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The file; its ending says the format.")],
    table: Annotated[str, typer.Option(help="methods, tasks, runs or spectra.")] = "tasks",
    form: Annotated[
        str | None, typer.Option("--format", help="csv, parquet or latex, if the ending does not.")
    ] = None,
) -> None:
    """Write a table of all runs below DIR as CSV, Parquet or LaTeX."""
    from neoteny.export import export as write

    typer.echo(write(folder, out, table=table, form=form))


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

    _own_process_settings()
    _load_plugins(plugin)
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
        _print_table(costs, output, title=said)
        return
    if folder is None:
        raise UserError("Pass the folder of one run, or `--plan SIZE` for what probes cost.")
    if warning := planning.warning(folder, task=task, rows=rows, data=data):
        _say(warning)
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


@app.command()
def doctor(data: DataOption = None, output: FormatOption = Format.table) -> None:
    """Check this machine: versions, devices, cores, data sets, folders."""
    from neoteny import catalogue

    _own_process_settings()
    rows = catalogue.health(data)
    _print_table(rows, output)
    if any(row["state"] == "broken" for row in rows):
        raise typer.Exit(1)


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
        sys.exit(_complain(_in_options(str(error)), 2))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # a figure or report that cannot be put where it was asked
        if error.filename is None:
            raise
        sys.exit(_complain(f"`{error.filename}`: {error.strerror}. Name another place.", 2))


_OPTIONS = {"folder": "data", "part": "part", "gram_rows": "rows", "rows": "rows", "task": "task"}
"""What an argument of Python is called on the command line."""


def _in_options(sentence: str) -> str:
    """A sentence about Python's arguments as one about what a person typed."""
    for argument, option in _OPTIONS.items():
        sentence = sentence.replace(f"`{argument}`", f"`--{option}`")
    return sentence


def _complain(sentence: str, code: int) -> int:
    _say(sentence)
    return code


def _say(sentence: str) -> None:
    """To the person, beside what is printed for a program."""
    print(f"neoteny: {sentence}", file=sys.stderr)


def _conclude(results: Any, output: Format) -> None:
    """Print what the runs say and exit with 1 if one of them failed."""
    from neoteny import tables

    failed = [outcome for outcome in results.outcomes if outcome.status == "failed"]
    for outcome in failed:
        config = outcome.config
        _complain(f"{config.stream}/{config.method}/seed-{config.seed} failed: {outcome.reason}", 1)
    if len(failed) < len(results.outcomes):
        verdict = [verdict._asdict() for verdict in results.verdict()]
        table = results.table()
        if output is Format.table:
            said = (
                "Methods (accuracies are shares, returns are sums of rewards; `gap`: to a fresh "
                "network, in the last third; `difference`: `last` minus bp's, 95 %; `relative "
                "time`: of a step, over bp's)"
            )
            _print_table(table, output, title=said)
            _print_table(verdict, output, title="Verdict")
            if settings := results.settings():
                _print_table(settings, output, title="Settings, the best of each method first")
        elif output is Format.csv:
            _print_table(table, output)
        path = results.report()  # last: what is printed is not lost if the disk is full
        if output is Format.json:
            found = {"methods": table, "verdict": verdict, "settings": results.settings()}
            tables.write_json(found | {"report": str(path)})
        elif output is Format.table:
            typer.echo(f"Report: {path}")
    if failed:
        raise typer.Exit(1)


def _print_diagnosis(found: Any, reading: Any, paths: list[Path], output: Format) -> None:
    """The verdict in words, then every number below the heading that explains it."""
    from neoteny import explanation, tables

    if output is Format.json:
        about = {"task": found.task, "finished": found.finished, "rows": found.rows}
        figures = {"figures": list(map(str, paths))}
        tables.write_json(about | reading._asdict() | {"table": found.table} | figures)
        return
    if output is Format.csv:
        _print_table(found.table, output)
        return
    typer.echo(f"{explanation.title(found)}.\n\n{reading.headline}")
    for sentence in reading.signs:
        typer.echo(f"- {sentence}")
    for note in reading.notes:
        typer.echo(f"\nNote: {note}")
    typer.echo()
    for heading, rows in explanation.sections(found):
        typer.echo(heading)
        _print_table(rows, output, columns=list(rows[0]))
    for path in paths:
        typer.echo(path)


def _distinct(names: list[str]) -> list[str]:
    """Column names made different: a join may answer with two called `seed`."""
    return [
        f"{name}_{names[:place].count(name) + 1}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]


def _assignments(changes: list[str]) -> dict[str, str]:
    from neoteny.errors import UserError

    for change in changes:
        if "=" not in change:
            raise UserError(f"`--set` is {change!r}, but takes KEY=VALUE, as `--set tasks=5`.")
    return dict(change.split("=", 1) for change in changes)


def _axes(grid: list[str]) -> dict[str, list[str]]:
    """Values by name, cut at commas that stand in no list."""
    import re

    from neoteny.errors import UserError

    for axis in grid:
        if "=" not in axis:
            raise UserError(f"`--grid` is {axis!r}, but takes NAME=VALUE,VALUE, as `lr=0.1,0.01`.")
    pairs = dict(axis.split("=", 1) for axis in grid)
    if len(pairs) < len(grid):
        raise UserError("`--grid` names a field twice; put its values together, as `lr=0.1,0.01`.")
    return {name: re.split(r",(?![^\[]*\])", values) for name, values in pairs.items()}


def _part(text: str | None) -> tuple[int, int]:
    import re

    from neoteny.errors import UserError

    if text is None:
        return 0, 1
    if not (found := re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)):
        raise UserError(f"`--part` is {text!r}, but takes I/N, as `--part 0/4`.")
    return int(found[1]), int(found[2])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _own_process_settings() -> None:
    """Keep compiled code between processes, and LAPACK off the cores JAX uses; children inherit.

    The threads of OpenBLAS, which serves small eigenproblems within compiled steps, spin on the
    cores of XLA's own, and both then wait for each other.
    """
    from neoteny import cache

    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache.folder() / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def _load_plugins(paths: list[Path] | None) -> None:
    from neoteny import plugins

    for path in paths or []:
        plugins.load(path)


def _print_table(
    rows: list[dict[str, Any]],
    output: Format,
    *,
    title: str | None = None,
    columns: list[str] | None = None,
) -> None:
    from neoteny import tables

    tables.write(rows, output.value, title=title, columns=columns)
