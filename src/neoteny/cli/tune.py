"""`neoteny tune`: look for each method's best settings with equal budgets; write them down."""

from pathlib import Path
from typing import Annotated, Any

import typer

from neoteny.cli.app import app
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
    own_process_settings,
    print_table,
    refuse_no_process,
    say,
    stoppable,
)
from neoteny.cli.run import conclude


@app.command()
def tune(
    study: StudyArgument,
    methods: MethodsOption = None,
    trials: Annotated[int, typer.Option(help="Settings each method may try on a stream.")] = 20,
    seeds: Annotated[int, typer.Option(help="Number of seeds that each setting is tried on.")] = 2,
    first_seed: Annotated[
        int, typer.Option(help="The first of them; results are never for these.")
    ] = 1000,
    search: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW:HIGH[:log]",
            help="Where to search, in place of the usual: lr=1e-4:1:log for all methods, "
            "l2.weight_decay=1e-5:1e-2:log for one; or values, as lr=0.1,0.01.",
        ),
    ] = None,
    sampler: Annotated[
        str, typer.Option(help="What draws the settings: tpe, random or grid.")
    ] = "tpe",
    pruner: Annotated[
        str,
        typer.Option(
            help="What gives up a setting that does worse than others early on: none, median, "
            "halving or hyperband."
        ),
    ] = "none",
    warm_up: Annotated[
        int | None, typer.Option(help="Tasks before it may; by default a quarter of them.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the sampler.")] = 0,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="NEOTENY_STORAGE",
            metavar="URL",
            help="Where trials are kept, as postgresql://USER@HOST/DATABASE; by default "
            "DIR/tuning.db. Processes that share it and DIR share the work.",
        ),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Then run what was found, on the study's own seeds.")
    ] = False,
    scale: ScaleOption = None,
    protocol: ProtocolOption = None,
    changes: ChangesOption = None,
    jobs: Annotated[int | None, typer.Option(help="Processes; by default one per core.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="By default runs/STUDY-tuned.")
    ] = None,
    data: DataOption = None,
    plugin: PluginOption = None,
    output: FormatOption = Format.table,
) -> None:
    """Tune each method with as many trials, on seeds apart; write the best as DIR/tuned.toml."""
    from neoteny import sweep, tuning
    from neoteny.progress import Progress

    own_process_settings()
    refuse_no_process(jobs)
    work: dict[str, Any] = {"jobs": jobs or sweep.cores(), "data": data, "plugins": plugin or []}
    with stoppable(), Progress() as progress:
        found = tuning.tune(
            study,
            methods=methods,
            trials=trials,
            seeds=seeds,
            first_seed=first_seed,
            search=_ranges(search or []),
            sampler=sampler,
            pruner=pruner,
            warm_up=warm_up,
            seed=seed,
            storage=storage,
            scale=scale,
            protocol=protocol,
            changes=assignments(changes or []),
            out=out,
            **work,
            on_start=progress.start,
            on_task=progress.task_done,
            download=progress.downloading,
        )
    _conclude(found, output, quiet=report)
    if report and found.path is not None:
        _report(found, work, output)


def _ranges(search: list[str]) -> dict[str, str]:
    from neoteny.errors import UserError

    for one in search:
        if "=" not in one:
            raise UserError(f"`--search` is {one!r}, but takes NAME=LOW:HIGH, as `lr=1e-4:1:log`.")
    found = {name.strip(): asked for name, asked in (one.split("=", 1) for one in search)}
    if len(found) < len(search):
        raise UserError("`--search` names a field twice; give it once.")
    return found


def _conclude(found: Any, output: Format, quiet: bool) -> None:
    """Print what each method was given and what it made of it; exit with 1 if there is no more."""
    from neoteny import tables

    for outcome in found.failed:
        config = outcome.config
        say(f"{config.stream}/{config.method}/seed-{config.seed} failed: {outcome.reason}")
    if output is Format.json and not quiet:
        path = None if found.path is None else str(found.path)
        tables.write_json({"budgets": found.budgets, "study": path, "left": found.left})
    elif output is Format.csv and not quiet:
        print_table(found.budgets, output)
    elif output is Format.table:
        said = (
            "Budgets (`trials` of each method on each stream, the `tasks` that they learnt and the "
            "`seconds` of it; `score`: of the best, on the seeds that chose it)"
        )
        print_table(found.budgets, output, title=said)
    if found.path is None:
        raise typer.Exit(complain(_why_not(found), 1 if found.failed or not found.left else 0))
    if output is Format.table:
        typer.echo(f"Tuned study: {found.path}")
        if not quiet:
            typer.echo(f"Run it on other seeds:        neoteny run {found.path}")
            typer.echo(f"Score against each setting:   neoteny report {found.folder}")


def _why_not(found: Any) -> str:
    """Why there are no best settings yet."""
    if found.failed:
        return f"{found.left} trials have not come to their end. The same command tries them again."
    if found.left:
        return (
            f"{found.left} trials are being run by other processes; whichever ends last writes the "
            "best settings."
        )
    names = [f"{row['method']} on {row['stream']}" for row in found.budgets if row["score"] is None]
    return (
        f"No setting of {', '.join(names)} came through: all diverged. Search elsewhere, as "
        "`--search lr=1e-6:1e-3:log`, with another `--out`."
    )


def _report(found: Any, work: dict[str, Any], output: Format) -> None:
    from neoteny import api
    from neoteny.progress import Progress

    with stoppable(), Progress() as progress:
        results = api.run(
            found.study,
            out=found.path.parent,
            **work,
            on_start=progress.start,
            on_task=progress.task_done,
        )
    conclude(results, output)
