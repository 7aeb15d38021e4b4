"""Measuring the parts of a claim: each seed once, in processes of their own, and stored as runs."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from neoteny import store, sweep
from neoteny.claims.base import SCALES, Claim, Part
from neoteny.claims.rows import Rows
from neoteny.claims.verdicts import Finding, within
from neoteny.errors import UserError, unknown


class Piece(NamedTuple):
    """One seed of one part of a claim at one scale: what is measured at once, and stored as a run.

    It is named as runs are: the claim is its study, the part its stream, the scale its method.
    """

    study: str
    stream: str
    method: str
    seed: int
    tasks: int = 1


Told = Callable[[Any, int, float | None], Any]


def pieces(
    claim: Claim, scale: str, seeds: int | None = None, *, without: Sequence[str] = ()
) -> list[Piece]:
    """All that there is to measure, longest parts first where the claim lists them so.

    A part of no seeds at this scale is none of it, nor are those in `without`.
    """
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    if seeds is not None and not 1 <= seeds <= sweep.MOST_RUNS:
        raise UserError(f"`seeds` is {seeds}, but from 1 to {sweep.MOST_RUNS:,} can be measured.")
    return [
        Piece(claim.name, part.name, scale, seed)
        for part in claim.parts
        if part.name not in without
        for seed in range(_seeds(part.size(scale).seeds, seeds))
    ]


def _seeds(own: int, asked: int | None) -> int:
    """A part without chance has one seed, and one left out has none, whatever is asked."""
    return own if asked is None or own <= 1 else asked


def lacking(claim: Claim, scale: str, data: Path | None) -> list[str]:
    """The parts that this scale measures on real images, where no folder of these is named."""
    sizes = {part.name: part.size(scale) for part in claim.parts}
    return [
        name
        for name, size in sizes.items()
        if size.seeds and size.options.get("data") and data is None
    ]


def run(
    claim: Claim,
    out: Path,
    *,
    scale: str,
    seeds: int | None = None,
    jobs: int = 1,
    data: Path | None = None,
    on_start: Callable[[list[Any]], None] = lambda pieces: None,
    on_task: Told = lambda piece, done, value: None,
) -> list[sweep.Outcome]:
    """Measure what has not been measured yet, and say how each piece ended.

    What `out` holds of this claim, scale and seed stays if it was measured with the same options. A
    piece is stored when it is whole; killed before, it is measured again from its start and comes
    to the same numbers. With `jobs=1` all is measured here. Parts that read real images are left
    out without `data`; see `lacking`.

    **Raises:** `UserError` for an unknown scale, or where `out` holds other measurements of these
    names.
    """
    from neoteny.claims import check

    check(claim, scale, data)
    asked = pieces(claim, scale, seeds, without=lacking(claim, scale, data))
    _require_writable(out)
    on_start(asked)
    outcomes: dict[Piece, sweep.Outcome] = {}

    def end(piece: Piece, reason: str | None) -> None:
        status = "finished" if reason is None else "failed"
        outcomes[piece] = sweep.Outcome(piece, status, reason)  # pyright: ignore[reportArgumentType]
        on_task(piece, 1, None)

    todo = []
    for piece in asked:
        if _is_measured(claim, piece, out):
            end(piece, None)
        else:
            todo.append(piece)
    if jobs > 1 and len(todo) > 1:
        _in_processes(todo, out, data, min(jobs, len(todo)), end)
    else:
        for piece in todo:
            end(piece, measure(piece, out, data))
    return [outcomes[piece] for piece in asked]


def _require_writable(out: Path) -> None:
    """Say at the door that nothing could be stored."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        writable = os.access(out, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise UserError(f"`out` is {out}, where no folder can be written. Name another.")


def _in_processes(todo: Sequence[Piece], out: Path, data: Path | None, jobs: int, end) -> None:
    shares = get_context("spawn").SimpleQueue()
    for cores in sweep.shares(jobs):
        shares.put(cores)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_settle, initargs=(shares,))
    try:
        running: dict[Future, Piece] = {pool.submit(measure, p, out, data): p for p in todo}
        for future in as_completed(running):
            try:
                end(running[future], future.result())
            except BrokenProcessPool:
                end(running[future], "its process ended without a word (killed, or no memory left)")
    finally:
        for process in list((pool._processes or {}).values()):  # or Ctrl-C would wait for them
            if process.is_alive() and not all(future.done() for future in running):
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def _settle(shares: Any) -> None:
    sweep.settle(shares.get(), ())


def measure(piece: Piece, out: Path, data: Path | None) -> str | None:
    """Measure a piece and store it; why it failed, if it did."""
    from neoteny import loop, programs
    from neoteny.claims import CLAIMS

    part, options = _part_of(CLAIMS[piece.study], piece)
    programs.make_room()
    try:
        began = time.perf_counter()
        rows = part.measure(piece.seed, **_placed(options, data))
        seconds = time.perf_counter() - began
        if not rows:
            raise UserError(f"`{piece.stream}` of {piece.study} measured nothing.")
        config = _config(piece, options, len(rows))
        with store.Run.open(folder_of(out, piece), config, loop.provenance()) as run:
            if not run.finished:  # or another process was faster
                for row in rows[run.tasks_done :]:  # all, but for a kill just before the end
                    run.append(dict(row))
                run.commit({}, seconds=seconds, microseconds_per_step=None)
                run.finish("finished")
    except UserError as error:
        return str(error)
    except Exception as error:
        return sweep.in_one_line(error)
    return None


def _placed(options: dict[str, Any], data: Path | None) -> dict[str, Any]:
    """Options with the folder of data sets, where a part asks for it by `data=True`."""
    return options | ({"data": data} if options.get("data") else {})


def folder_of(out: Path, piece: Piece) -> Path:
    return out / piece.stream / piece.method / f"seed-{piece.seed}"


def _config(piece: Piece, options: dict[str, Any], rows: int) -> dict[str, Any]:
    identity = {name: getattr(piece, name) for name in ("study", "stream", "method", "seed")}
    return identity | {"tasks": rows, "options": options}


def _part_of(claim: Claim, piece: Piece) -> tuple[Part, dict[str, Any]]:
    """The part that a piece is of, and its options at that scale."""
    part = next(part for part in claim.parts if part.name == piece.stream)
    return part, dict(part.size(piece.method).options)


def _is_measured(claim: Claim, piece: Piece, out: Path) -> bool:
    folder = folder_of(out, piece)
    if not (folder / "run.json").exists():
        return False
    tasks = store.read_record(folder)["config"]["tasks"]
    _, options = _part_of(claim, piece)
    return store.ended(folder, _config(piece, options, tasks)) is not None


def missing(claim: Claim, scale: str, rows: Mapping[str, Rows]) -> list[str]:
    """The parts that are still to be measured at this scale, but for those on real images."""
    sizes = {part.name: part.size(scale) for part in claim.parts}
    return [
        name
        for name, size in sizes.items()
        if size.seeds and not size.options.get("data") and not len(rows[name])
    ]


def judged(claim: Claim, scale: str, rows: Mapping[str, Rows]) -> list[Finding]:
    """What the rows come to; where a part is still to be measured, that alone."""
    lacks = missing(claim, scale, rows)
    if not lacks:
        return claim.judge(rows)
    unknown = within("", "", "", [])
    said = f"type `neoteny run {claim.name} --scale {scale}`"
    return [
        unknown._replace(part=name, claim="this part is measured", statistic="rows", evidence=said)
        for name in lacks
    ]


def found(connection: Any, claim: Claim, scale: str | None = None) -> tuple[str, dict[str, Rows]]:
    """A scale, if none is given the largest of which something is stored, and its rows by part.

    `connection` is that of `neoteny.store.connect`.
    """
    if scale is not None:
        return scale, {p.name: _rows(connection, claim, p.name, scale) for p in claim.parts}
    stored = connection.execute("SELECT DISTINCT method FROM runs WHERE study = ?", [claim.name])
    scales = {scale for (scale,) in stored.fetchall()}
    scale = next((scale for scale in reversed(SCALES) if scale in scales), "smoke")
    return scale, {part.name: _rows(connection, claim, part.name, scale) for part in claim.parts}


def _rows(connection: Any, claim: Claim, part: str, scale: str) -> Rows:
    answer = connection.execute(
        "SELECT * FROM tasks WHERE study = ? AND stream = ? AND method = ? ORDER BY seed, task",
        [claim.name, part, scale],
    )
    names = [column[0] for column in answer.description]
    found = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    for name in names:
        _restore_numbers(found, name)
    return Rows(found)


def _restore_numbers(rows: Sequence[dict[str, Any]], name: str) -> None:
    """Where another claim's column of this name has words, numbers come as their text."""
    texts = [row[name] for row in rows if isinstance(row[name], str)]
    try:
        list(map(float, texts))
    except ValueError:
        return
    for row in rows if texts else ():
        row[name] = None if row[name] is None else float(row[name])
