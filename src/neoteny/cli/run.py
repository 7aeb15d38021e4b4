"""`neoteny run` and `neoteny sweep`: train what a study names, print what it says."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from neoteny.cli.app import app
from neoteny.cli.claims import is_claim, run_claims
from neoteny.cli.common import (
    ChangesOption,
    DataOption,
    Format,
    FormatOption,
    MethodsOption,
    PluginOption,
    ProtocolOption,
    ScaleOption,
    StudyArgument,
    assignments,
    complain,
    load_plugins,
    own_process_settings,
    print_table,
    refuse_no_process,
    say,
    stoppable,
)


@app.command("sweep", help="Run a study at every combination of `--grid`; else the same as `run`.")
@app.command()
def run(
    study: StudyArgument,
    scale: ScaleOption = None,
    protocol: ProtocolOption = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say how long it would take, and stop.")
    ] = False,
    changes: ChangesOption = None,
    methods: MethodsOption = None,
    seeds: Annotated[int | None, typer.Option(help="Number of seeds.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes; by default one per core, here or of the cluster.")
    ] = None,
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
        str,
        typer.Option(
            metavar="PLACE",
            help="`ray`, `ray://HOST:PORT` or `HOST:PORT`: the cores of a cluster. `slurm` starts "
            "nothing and prints a job array of --part's.",
        ),
    ] = "local",
    parts: Annotated[
        int | None, typer.Option(help="Jobs of that array, one a run at most; by default 10.")
    ] = None,
    data: DataOption = None,
    plugin: PluginOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Run a study or a claim, or continue it; print the verdict; write report.html."""
    from neoteny import api, cluster, studies, sweep
    from neoteny.errors import UserError
    from neoteny.progress import Progress

    own_process_settings()
    refuse_no_process(jobs)
    if is_claim(study):
        given = {"protocol": protocol, "estimate": estimate, "set": changes, "methods": methods,
                 "together": together, "grid": grid, "part": part, "on": on != "local",
                 "parts": parts, "plugin": plugin}  # fmt: skip
        run_claims(
            study, scale=scale, seeds=seeds, jobs=jobs or sweep.cores(), out=out, data=data,
            output=output, refused=[name for name, value in given.items() if value],
        )  # fmt: skip
        return
    if abroad := on not in ("local", "slurm"):
        cluster.check(on)
        if estimate and jobs is None:
            raise UserError(
                f"`--estimate` times a run here, and does not ask how many cores {on} has; pass "
                "their number as `--jobs`, too."
            )
    axes, share = _axes(grid or []), _part(part)
    if parts is not None and on != "slurm":
        raise UserError(
            f"`--parts` is {parts}, but goes with `--on slurm`; here pass `--part I/N`."
        )
    if part is not None and on == "slurm":
        raise UserError("`--part` is one job's, and `--on slurm` makes them all; leave it out.")
    asked: dict[str, Any] = {
        "scale": scale,
        "protocol": protocol,
        "methods": methods,
        "seeds": seeds,
        "changes": assignments(changes or []),
        "jobs": jobs if abroad else jobs or sweep.cores(),
        "data": data,
        "plugins": plugin or [],
    }
    if estimate:
        from neoteny.estimate import sentence

        typer.echo(sentence(api.estimate(study, **asked, grid=axes, part=share)))
        return
    if on == "slurm":
        load_plugins(plugin)
        typer.echo(_job_array(study, asked, axes, 10 if parts is None else parts))
        return

    def start(runs: list[Any]) -> None:
        for sentence in studies.advise(runs):
            say(sentence)
        if scale == "paper" and asked["jobs"]:
            from neoteny.estimate import sentence

            spare = {name: asked[name] for name in ("jobs", "data", "plugins")}
            say(sentence(sweep.estimate(runs, **spare)))
        progress.start(runs)

    with stoppable(), Progress() as progress:
        results = api.run(
            study,
            out=out,
            **asked,
            on=on,
            together=together,
            grid=axes,
            part=share,
            on_task=progress.task_done,
            on_start=start,
            download=progress.downloading,
        )
    conclude(results, output)


def _job_array(study: str, asked: dict[str, Any], axes: dict[str, list[str]], parts: int) -> str:
    from neoteny import api
    from neoteny.slurm import job_array

    choice = ("scale", "protocol", "methods", "seeds", "changes")
    planned = api.plan(study, **{name: asked[name] for name in choice})
    runs = api.runs_of(planned, axes)[0]
    program = str(Path(sys.argv[0]).absolute())
    return job_array(program, sys.argv[1:], min(parts, len(runs)))


def conclude(results: Any, output: Format) -> None:
    """Print what the runs say and exit with 1 if one of them failed."""
    from neoteny import tables

    failed = [outcome for outcome in results.outcomes if outcome.status == "failed"]
    for outcome in failed:
        config = outcome.config
        complain(f"{config.stream}/{config.method}/seed-{config.seed} failed: {outcome.reason}", 1)
    if len(failed) < len(results.outcomes):
        verdict = [verdict._asdict() for verdict in results.verdict()]
        table = results.table()
        if output is Format.table:
            said = (
                "Methods (accuracies are shares, returns are sums of rewards; `gap`: to a fresh "
                "network, in the last third; `difference`: `last` minus bp's, 95 %; `relative "
                "time`: of a step, over bp's)"
            )
            print_table(table, output, title=said)
            print_table(verdict, output, title="Verdict")
            if settings := results.settings():
                print_table(settings, output, title="Settings, the best of each method first")
        elif output is Format.csv:
            print_table(table, output)
        path = results.report()  # last: what is printed is not lost if the disk is full
        if output is Format.json:
            found = {"methods": table, "verdict": verdict, "settings": results.settings()}
            tables.write_json(found | {"report": str(path)})
        elif output is Format.table:
            typer.echo(f"Report: {path}")
    if failed:
        raise typer.Exit(1)


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
