"""What `neoteny run` does for claims of the literature: measure, judge, print, write the page."""

from pathlib import Path
from typing import Any

import typer

from neoteny.cli.common import Format, complain, print_table, say, stoppable


def is_claim(name: str) -> bool:
    from neoteny import claims

    return name == claims.ALL or name in claims.NAMES


def run_claims(
    name: str,
    *,
    scale: str | None,
    seeds: int | None,
    jobs: int,
    out: Path | None,
    data: Path | None,
    output: Format,
    refused: list[str],
) -> None:
    """One claim, by default at its desk size; or all, by default at their smallest."""
    from neoteny import claims

    claims.refuse(name, refused)
    every = name == claims.ALL
    names = list(claims.NAMES) if every else [name]
    place = out or Path("runs") / name
    size = scale or ("smoke" if every else "desk")
    for one in names:
        claims.check(claims.load(one), size, data)
    from neoteny.claims import page

    failed = False
    told = []
    for one in names:
        outcomes, measured = _measured(
            one, size, seeds, jobs, place / one if every else place, data
        )
        for outcome in outcomes:
            if outcome.status == "failed":
                piece = outcome.config
                failed = True
                say(f"{one}/{piece.stream}/seed-{piece.seed} failed: {outcome.reason}")
        if measured is not None:
            told.append(measured)
            if every:
                say(f"{one}: {page.summary(measured)['verdict']}")
            else:
                _print(measured, output)
    if told and every:
        print_table([page.summary(one) for one in told], output, title="Claims")
    if told:
        path = page.write_html(told, place / "report.html")
        if output is Format.table:
            typer.echo(f"Report: {path}")
    if failed:
        raise typer.Exit(complain("The same command measures again what failed.", 1))


def _measured(
    name: str, scale: str, seeds: int | None, jobs: int, place: Path, data: Path | None
) -> tuple[list[Any], Any]:
    """How each piece ended, and what is stored; nothing of a claim of which a piece failed."""
    from neoteny import api, store
    from neoteny.claims import lacking, load, page
    from neoteny.progress import Progress

    for part in lacking(load(name), scale, data):
        say(f"`{part}` of {name} reads real images and is left out: name a folder by `--data DIR`.")
    with stoppable(), Progress() as progress:
        outcomes = api.run(
            name,
            scale=scale,
            seeds=seeds,
            jobs=jobs,
            out=place,
            data=data,
            on_start=progress.start,
            on_task=progress.task_done,
        ).outcomes
    if any(outcome.status == "failed" for outcome in outcomes):
        return list(outcomes), None
    with store.asking():
        connection = store.connect(place, spectra=False)
        return list(outcomes), page.measured(connection, load(name), scale)


def _print(measured: Any, output: Format) -> None:
    from neoteny.claims import page, shown

    rows = [
        {
            "part": one.part,
            "claim": one.claim,
            "verdict": one.outcome,
            "statistic": f"{one.statistic} {shown(one.value)}",
            "tolerance": one.tolerance,
            "evidence": one.evidence,
        }
        for one in measured.findings
    ]
    what = f"{measured.claim.title}, {measured.scale}"
    print_table(rows, output, title=f"{what} ({measured.claim.source})")
    if output is Format.table:
        told = page.summary(measured)
        typer.echo(f"The claim: {told['verdict']}; {told['holds']} hold.")
