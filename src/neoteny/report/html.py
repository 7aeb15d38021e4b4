"""The report as one HTML file: offline, self-contained, and safe whatever a name holds."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import duckdb
import numpy as np

from neoteny import store
from neoteny.report import data, figures
from neoteny.report.data import Section
from neoteny.report.palette import inks
from neoteny.report.static import slug
from neoteny.report.strip import strips
from neoteny.report.table import BASELINE, methods_table
from neoteny.report.templates import template

_DASH = '<span class="none">–</span>'


def write(
    connection: duckdb.DuckDBPyConnection,
    path: Path | str,
    *,
    title: str,
    verdict: list[dict] | None,
    reproduce: str,
    episodes: Sequence[Any] = (),
) -> Path:
    """Write the report on everything in the store's tables to `path`, one HTML file.

    The file makes no request: plotly, data, style and code are inside (about 5 MB, nearly
    all of it plotly). Names and configurations are escaped wherever they appear.

    **Arguments:**

    - `connection`: has the tables `tasks`, `runs` and `spectra`; any may be incomplete.
    - `path`: the file to write; its folder is made if need be.
    - `title`: of the page.
    - `verdict`: of the study, as dicts of `claim`, `outcome` ("holds", "fails" or
      "undecided"), `evidence` and `stream`; None where no claim was judged.
    - `reproduce`: the commands that made the runs, shown as they stand.
    - `episodes`: of agents, to be drawn; see `neoteny.episodes`.
    """
    from plotly.offline import get_plotlyjs

    parts = _parts(connection)
    page = Template(template("page.html")).substitute(
        title=escape(title),
        style=template("page.css"),
        contents=_contents(parts),
        summary=_summary(connection),
        methods=_method_buttons(connection),
        verdict=_verdict(verdict),
        sections="".join(_section(connection, part, episodes) for part in parts)
        or "<p>There are no runs yet.</p>",
        reproduce=f"<pre><code>{escape(reproduce)}</code></pre>",
        provenance=_provenance(connection),
        data=_script_json(_page_data(connection, parts)),
        plotly=get_plotlyjs(),
        code=template("page.js"),
    )
    path = Path(path)
    store.write_text(path, page)
    return path


class _Part(NamedTuple):
    """What the page shows of one stream; `anchor` is the address of its section."""

    section: Section
    heading: str
    anchor: str
    drawn: list[figures.Figure]

    def address(self, figure: figures.Figure) -> str:
        """A slug has no double hyphen, so that no two figures share an address."""
        return f"{self.anchor}--{figure.name}"


def _parts(connection: duckdb.DuckDBPyConnection) -> list[_Part]:
    sections, parts, taken = data.sections(connection), [], set()
    several = len({section.study for section in sections}) > 1
    for section in sections:
        heading = section.stream or "unnamed stream"
        if several and section.study:
            heading = f"{section.study}: {heading}"
        anchor = f"stream-{slug(heading)}"
        while anchor in taken:
            anchor += "_"
        taken.add(anchor)
        found = figures.of_section(connection, section)
        parts.append(_Part(section, heading, anchor, found))
    return parts


def _script_json(value: Any) -> str:
    """JSON that no HTML parser can mistake for the end of its script element."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _page_data(connection: duckdb.DuckDBPyConnection, parts: list[_Part]) -> dict[str, Any]:
    return {
        "inks": {
            name: {"light": ink.light, "dark": ink.dark, "symbol": ink.symbol}
            for name, ink in inks(data.methods(connection)).items()
        },
        "figures": {
            part.address(figure): _plain(figure.views) for part in parts for figure in part.drawn
        },
    }


def _plain(value: Any) -> Any:
    """Descriptions as JSON: tuples with names become objects, what is not finite null.

    Numbers keep six significant digits, more than a screen can show.
    """
    if isinstance(value, np.ndarray):
        return [_plain(float(one)) for one in value]
    if hasattr(value, "_asdict"):
        return {name: _plain(one) for name, one in value._asdict().items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _contents(parts: list[_Part]) -> str:
    entries = []
    for part in parts:
        inner = "".join(
            f'<li><a href="#{part.address(figure)}">{escape(figure.title)}</a></li>'
            for figure in part.drawn
        )
        link = f'<a href="#{part.anchor}">{escape(part.heading)}</a>'
        entries.append(f"<li>{link}<ul>{inner}</ul></li>")
    return "".join(entries)


def _summary(connection: duckdb.DuckDBPyConnection) -> str:
    runs = data.source(connection, "runs", status="VARCHAR", seconds="DOUBLE")
    found = connection.execute(
        f"SELECT coalesce(status, 'unknown'), count(*), sum(seconds) FROM {runs} "
        "GROUP BY 1 ORDER BY 2 DESC"
    ).fetchall()
    seconds = math.fsum(time for _, _, time in found if time and math.isfinite(time))
    facts = {
        "runs": str(sum(count for _, count, _ in found)),
        **{status: str(count) for status, count, _ in found},
        "streams": str(len(data.sections(connection))),
        "methods": str(len(data.methods(connection))),
        "computing time": _duration(seconds),
    }
    return "".join(
        f"<div><dd>{escape(value)}</dd><dt>{escape(name)}</dt></div>"
        for name, value in facts.items()
    )


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _method_buttons(connection: duckdb.DuckDBPyConnection) -> str:
    return "".join(
        f'<button type="button" data-key="{escape(name)}" aria-pressed="true">'
        f"<i></i>{escape(name)}</button>"
        for name in data.methods(connection)
    )


def _verdict(verdict: list[dict] | None) -> str:
    if verdict is None:
        return ""
    cards = []
    for one in verdict:
        outcome = str(one.get("outcome", "undecided"))
        kind = outcome if outcome in ("holds", "fails", "undecided") else "undecided"
        stream = f'<span class="stream">{escape(str(one.get("stream") or ""))}</span>'
        cards.append(
            f'<article class="verdict {kind}"><header><b>{escape(outcome)}</b>{stream}</header>'
            f"<h3>{escape(str(one.get('claim', '')))}</h3>"
            f"<p>{escape(str(one.get('evidence', '')))}</p></article>"
        )
    body = "".join(cards) or "<p>No claim was judged.</p>"
    return f'<section id="verdict"><h2>Verdict</h2><div class="cards">{body}</div></section>'


def _section(connection: duckdb.DuckDBPyConnection, part: _Part, episodes: Sequence[Any]) -> str:
    own = [shown for shown in episodes if (shown.study, shown.stream) == tuple(part.section)]
    drawn = "".join(_figure(figure, part.address(figure)) for figure in part.drawn)
    return (
        f'<section class="stream-section"><h2 id="{part.anchor}">{escape(part.heading)}</h2>'
        f"{_table(connection, part.section)}{_stopped(connection, part.section)}{drawn}"
        f"{strips(own)}"
        f"{_configurations(connection, part.section)}</section>"
    )


def _figure(figure: figures.Figure, anchor: str) -> str:
    title = f"<h3>{escape(figure.title)}</h3>"
    caption = f"<figcaption>{escape(figure.caption)} <span class='note'></span></figcaption>"
    if not figure.views:
        return f'<figure id="{anchor}" class="empty">{title}{caption}</figure>'
    choices = "".join(
        f'<button type="button" data-view="{place}" aria-pressed="{str(place == 0).lower()}">'
        f"{escape(view.label)}</button>"
        for place, view in enumerate(figure.views)
    )
    several = len(figure.views) > 1
    switch = f'<div class="views" role="group" aria-label="View">{choices}</div>' if several else ""
    return (
        f'<figure id="{anchor}" data-figure="{anchor}">{title}{switch}'
        f'<div class="legend" role="group" aria-label="Methods"></div>'
        f'<div class="panels"></div>{caption}</figure>'
    )


def _table(connection: duckdb.DuckDBPyConnection, section: Section) -> str:
    rows = methods_table(connection, section.stream, study=section.study)
    best = max((row["last"] for row in rows if row["last"] is not None), default=None)
    window, metric = rows[0]["window"], rows[0]["metric"].replace("_", " ")
    acts = rows[0]["metric"] in data.RETURNS
    span = "task" if window == 1 else f"{window} tasks"
    heads = (
        "method", "seeds", f"first {span}", f"last {span}", "minus fresh network",
        f"minus {BASELINE}", "95 % interval", "time of a step", "runs",
    )  # fmt: skip
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(_table_row(row, row["last"] == best, 1.0 if acts else 100.0) for row in rows)
    unit = "" if acts else " in per cent"
    differences = "Differences are" + ("" if acts else " in percentage points,")
    return (
        f'<div class="scroll"><table class="methods"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"<p class='table-note'>Mean {escape(metric)}{unit} over the seeds that reached "
        f"the tasks in question. {differences} paired by seed: "
        f"minus fresh network, over the last third of the tasks, a negative one is plasticity "
        f"lost; minus {BASELINE}, the interval is a bootstrap over seeds and needs two. Time is "
        f"the median over runs, without compilation, as a multiple of {BASELINE}'s.</p>"
    )


def _table_row(row: dict[str, Any], best: bool, scale: float) -> str:
    statuses = ", ".join(f"{count} {status}" for status, count in row["statuses"].items())
    low, high = (_number(row[end], scale, "+.2f") for end in ("low", "high"))
    interval = _DASH if _DASH in (low, high) else f"{low} to {high}"
    cells = (
        str(row["seeds"]),
        _number(row["first"], scale, ".2f"),
        _last(row, best, scale),
        _number(row["gap"], scale, "+.2f"),
        _number(row["difference"], scale, "+.2f"),
        interval,
        _time(row),
        escape(statuses) or _DASH,
    )
    name = escape(row["method"])
    head = f'<th scope="row"><i data-ink="{name}"></i>{name}</th>'
    return f"<tr>{head}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _last(row: dict[str, Any], best: bool, scale: float) -> str:
    text = _number(row["last"], scale, ".2f")
    if row["last"] is not None and row["last_seeds"] < row["seeds"]:
        text += f" <small>{row['last_seeds']} of {row['seeds']} seeds</small>"
    return f"<b>{text}</b>" if best else text


def _time(row: dict[str, Any]) -> str:
    absolute = _number(row["microseconds"], 1.0, ",.0f")
    if row["relative_time"] is None:
        return absolute if row["microseconds"] is None else f"{absolute} µs"
    return f"×{row['relative_time']:.2f} <small>{absolute} µs</small>"


def _number(value: float | None, scale: float, form: str) -> str:
    if value is None or not math.isfinite(value):
        return _DASH
    return format(scale * value, form).replace("-", "−")


def _stopped(connection: duckdb.DuckDBPyConnection, section: Section) -> str:
    """Runs that diverged or failed: with the task and step where known, and the reason."""
    runs = data.source(connection, "runs", status="VARCHAR", reason="VARCHAR")
    tasks = data.source(connection, "tasks", task="BIGINT", diverged_step="BIGINT")
    found = connection.execute(
        f"""
        WITH steps AS (
            SELECT study, stream, method, seed, min(task) AS task,
                   arg_min(diverged_step, task) AS step
            FROM {tasks} WHERE diverged_step IS NOT NULL GROUP BY ALL)
        SELECT runs.method, runs.seed, runs.status, steps.task, steps.step, runs.reason
        FROM {runs} AS runs LEFT JOIN steps USING (study, stream, method, seed)
        WHERE runs.study = ? AND runs.stream = ?
          AND (runs.status IN ('diverged', 'failed') OR steps.step IS NOT NULL)
        ORDER BY runs.method, runs.seed
        """,
        list(section),
    ).fetchall()
    if not found:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("method", "seed", "status", "task", "step", "reason")
    )
    body = "".join(
        f"<tr>{''.join(f'<td>{_DASH if v is None else escape(str(v))}</td>' for v in row)}</tr>"
        for row in found
    )
    return (
        "<h3>Runs that did not finish</h3><div class='scroll'><table class='stopped'>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _configurations(connection: duckdb.DuckDBPyConnection, section: Section) -> str:
    """Each distinct configuration of each method, with the seeds that ran under it."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for method, seed, document in data.configurations(connection, section):
        shown = {name: value for name, value in document.items() if name != "seed"}
        text = json.dumps(shown, indent=2, ensure_ascii=False, sort_keys=True)
        grouped.setdefault((method, text), []).append(seed)
    entries = "".join(
        f"<details><summary>{escape(method)} <small>seeds {_seeds(seeds)}</small></summary>"
        f"<pre><code>{escape(text)}</code></pre></details>"
        for (method, text), seeds in grouped.items()
    )
    return f'<div class="configurations"><h3>Configurations</h3>{entries}</div>' if entries else ""


def _seeds(seeds: list[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(set(seeds)))


def _provenance(connection: duckdb.DuckDBPyConnection) -> str:
    """Every entry of the runs' provenance, with each value that occurs."""
    values: dict[str, dict[str, int]] = {}
    for document in data.provenances(connection):
        for name, value in _flat(document):
            counts = values.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    if not values:
        return "<p>No provenance was recorded.</p>"
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{_values(counts)}</td></tr>'
        for name, counts in values.items()
    )
    return f'<div class="scroll"><table class="provenance"><tbody>{rows}</tbody></table></div>'


def _flat(document: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)


def _values(counts: dict[str, int]) -> str:
    shown = sorted(counts, key=lambda value: -counts[value])[:4]
    more = f" and {len(counts) - 4} more" if len(counts) > 4 else ""
    many = len(counts) > 1
    runs = lambda value: f" <small>({counts[value]} runs)</small>" if many else ""
    return ", ".join(f"{escape(value)}{runs(value)}" for value in shown) + more
