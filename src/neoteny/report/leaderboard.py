"""All methods over all streams below a folder: who ranks where, and how sure that is.

A run's score is the mean over all its tasks of what its stream is judged by, so that only runs
that came through have one. Streams are worth the same, whatever they measure: what is compared
are ranks, pairs of runs won, and differences in units of a stream's own spread.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import duckdb
import numpy as np

from neoteny import store
from neoteny.comparison import Ranks, holm, mean_ranks, probability_of_improvement, sign_flip
from neoteny.errors import unknown
from neoteny.report import data
from neoteny.report.palette import inks
from neoteny.report.table import BASELINE
from neoteny.report.templates import template

Scores = dict[str, dict[str, dict[int, float]]]
"""By method, stream and seed."""


class Standing(NamedTuple):
    """How methods stand, best first.

    - `rows`: of each `method` its mean `rank` over the streams that have all methods (None where
      there is none); on how many `streams` it has a score; `runs` that have one, and that are
      `unfinished`; `beats_bp`: the probability that a run of it does better than one of `bp` on
      the same stream, with the interval `low` to `high`; and `p`, of its differences to `bp`
      seed by seed, adjusted for there being so many methods (Holm).
    - `ranks`: see `neoteny.comparison.Ranks`; None where there is nothing to rank.
    """

    rows: list[dict[str, Any]]
    ranks: Ranks | None


def standing(
    connection: duckdb.DuckDBPyConnection, methods: Sequence[str] | None = None
) -> Standing:
    """How the methods of the store's tables stand, or those named in `methods`.

    **Raises:** `UserError` if a method that is named has no run, or a run is there twice.
    """
    data.refuse_twice(connection)
    known = data.methods(connection)
    chosen = known if methods is None else list(dict.fromkeys(methods))
    for name in chosen:
        if name not in known:
            raise unknown("method with runs here", name, known)
    scores = _scores(connection, {*chosen, BASELINE})
    unfinished = _unfinished(connection)
    ranks = _ranks({name: scores[name] for name in chosen})
    against = {name: _against(scores, name) for name in chosen if name != BASELINE}
    p_values = holm({name: found["p"] for name, found in against.items() if found})
    rows = [
        {
            "method": name,
            "rank": ranks.mean[name] if ranks else None,
            "streams": len(scores[name]),
            "runs": sum(map(len, scores[name].values())),
            "unfinished": unfinished.get(name, 0),
            "beats_bp": None, "low": None, "high": None,
            **(against.get(name) or {}),
            "p": p_values.get(name),
        }
        for name in chosen
    ]  # fmt: skip
    chance = lambda row: 0.5 if row["beats_bp"] is None else row["beats_bp"]
    best_first = lambda row: (_or_last(row["rank"]), -chance(row))
    return Standing(sorted(rows, key=best_first), ranks)


def _or_last(value: float | None) -> float:
    return math.inf if value is None else value


def _scores(connection: duckdb.DuckDBPyConnection, methods: Iterable[str]) -> Scores:
    found: Scores = {name: {} for name in methods}
    for run in data.scores(connection):
        if run.score is not None and run.method in found:
            found[run.method].setdefault(": ".join(run.section), {})[run.seed] = run.score
    return found


def _unfinished(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    runs = data.source(connection, "runs", status="VARCHAR")
    return dict(
        connection.execute(
            f"SELECT method, count(*) FROM {runs} WHERE status IS DISTINCT FROM 'finished' "
            "GROUP BY method"
        ).fetchall()
    )


def _ranks(scores: Scores) -> Ranks | None:
    """On means over seeds; None where no stream has a score of every method."""
    by_stream: dict[str, dict[str, float]] = {}
    for method, streams in scores.items():
        for stream, seeds in streams.items():
            by_stream.setdefault(stream, {})[method] = float(np.mean(list(seeds.values())))
    complete = {name: row for name, row in by_stream.items() if len(row) == len(scores)}
    return mean_ranks(complete) if complete and len(scores) > 1 else None


def _against(scores: Scores, method: str) -> dict[str, Any] | None:
    """What there is to say of a method beside the baseline, if they ever met."""
    ours, theirs = scores[method], scores[BASELINE]
    common = sorted(ours.keys() & theirs.keys())
    if not common:
        return None
    lists = [
        {stream: list(found[stream].values()) for stream in common} for found in (ours, theirs)
    ]
    chance = probability_of_improvement(*lists)
    spread = {stream: _spread(ours[stream], theirs[stream]) for stream in common}
    differences = [
        (ours[stream][seed] - theirs[stream][seed]) / spread[stream]
        for stream in common
        for seed in sorted(ours[stream].keys() & theirs[stream].keys())
    ]
    p = sign_flip(differences) if differences else 1.0
    low, high = (None if math.isnan(end) else end for end in (chance.low, chance.high))
    return {"beats_bp": chance.mean, "low": low, "high": high, "p": p}


def _spread(ours: Mapping[int, float], theirs: Mapping[int, float]) -> float:
    """Of the two methods alone, so that what else is shown changes no p-value before Holm."""
    return float(np.std([*ours.values(), *theirs.values()])) or 1.0


# ---- in words, and as a page


def summary(found: Standing) -> str:
    """What the ranks mean, in a sentence or two."""
    ranks = found.ranks
    if ranks is None and len(found.rows) < 2:
        return "One method alone has no rank."
    if ranks is None:
        return (
            "No stream has a finished run of every one of these methods, so there are no ranks. "
            "Name those that share one with `--methods`. (After a sweep each setting is a stream "
            "of its own; the same sweep, typed again, says which was best.)"
        )
    many = len(ranks.streams)
    said = f"Ranks are over {many} stream{'s' * (many > 1)} with all methods, 1 the best."
    if not math.isfinite(ranks.critical):
        return said + " One stream says nothing of others."
    return (
        f"{said} Two that differ by more than {ranks.critical:.2f} differ at a level of 5 %; that "
        f"all rank alike has p = {ranks.p:.2g}."
    )


def write(connection: duckdb.DuckDBPyConnection, path: Path | str, found: Standing) -> Path:
    """Write the standing to `path` as one HTML page, which makes no request and has no script."""
    colours = inks([row["method"] for row in found.rows])
    page = Template(template("leaderboard.html")).substitute(
        style=template("page.css"),
        summary=escape(summary(found)),
        diagram=_diagram(found, colours),
        table=_table(found),
        streams="".join(f"<li>{escape(name)}</li>" for name in _streams(connection)),
    )
    path = Path(path)
    store.write_text(path, page)
    return path


def _streams(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [": ".join(section) for section in data.sections(connection)]


_HEADS = {
    "method": "method",
    "rank": "mean rank",
    "streams": "streams",
    "runs": "runs",
    "unfinished": "unfinished",
    "beats_bp": f"beats {BASELINE} in",
    "interval": "95 % interval",
    "p": "p, adjusted",
}


def _table(found: Standing) -> str:
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in _HEADS.values())
    body = "".join(_row(row) for row in found.rows)
    return f'<table class="methods"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _row(row: Mapping[str, Any]) -> str:
    shown = lambda value, form: "–" if value is None else format(value, form)
    interval = "–" if row["low"] is None else f"{row['low']:.0%} to {row['high']:.0%}"
    cells = (
        shown(row["rank"], ".2f"),
        *(str(row[name]) for name in ("streams", "runs", "unfinished")),
        shown(row["beats_bp"], ".0%"),
        interval,
        shown(row["p"], ".2g"),
    )
    return (
        f'<tr><th scope="row">{escape(row["method"])}</th>'
        f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
    )


def _diagram(found: Standing, colours: Mapping[str, Any]) -> str:
    """Mean ranks along a line, and beside the best a bar as long as the critical difference."""
    if found.ranks is None or not math.isfinite(found.ranks.critical):
        return ""
    ranked = sorted(found.ranks.mean.items(), key=lambda item: item[1])
    count, line = len(ranked), 18
    place = lambda rank: 20 + 560 * (min(rank, count) - 1) / (count - 1)
    height = 58 + line * count
    ticks = "".join(
        f'<line x1="{place(n):.1f}" y1="26" x2="{place(n):.1f}" y2="32"/>'
        f'<text x="{place(n):.1f}" y="20" text-anchor="middle">{n}</text>'
        for n in range(1, count + 1)
    )
    best = ranked[0][1]
    end = place(best + found.ranks.critical)
    bar = (
        f'<line class="critical" x1="{place(best):.1f}" y1="38" x2="{end:.1f}" y2="38">'
        f"<title>not told apart from the best at 5 %</title></line>"
    )
    marks = ""
    for row, (name, rank) in enumerate(ranked):
        x, y, right = place(rank), 56 + line * row, rank > (count + 1) / 2
        anchor, dx = ("end", -9) if right else ("start", 9)
        colour = colours[name]
        marks += (
            f'<line class="drop" x1="{x:.1f}" y1="29" x2="{x:.1f}" y2="{y}"/>'
            f'<circle cx="{x:.1f}" cy="{y}" r="4.5" '
            f'style="fill:light-dark({colour.light},{colour.dark})"/>'
            f'<text x="{x + dx:.1f}" y="{y + 4}" text-anchor="{anchor}">'
            f"{escape(name)} {rank:.2f}</text>"
        )
    return (
        f'<svg class="ranks" viewBox="0 0 600 {height}" role="img" '
        f'aria-label="Mean ranks of the methods">'
        f'<line x1="20" y1="29" x2="580" y2="29"/>{ticks}{bar}{marks}</svg>'
    )
