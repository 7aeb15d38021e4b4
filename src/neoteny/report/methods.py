"""The table of methods as the page shows it."""

import math
from html import escape
from typing import Any

from neoteny.report import data
from neoteny.report.facts import DASH
from neoteny.report.recorded import Recorded
from neoteny.report.table import BASELINE, methods_of


def methods_markup(recorded: Recorded) -> str:
    """The table of methods of one stream, with what its columns mean."""
    rows = methods_of(recorded)
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
    interval = DASH if DASH in (low, high) else f"{low} to {high}"
    cells = (
        str(row["seeds"]),
        _number(row["first"], scale, ".2f"),
        _last(row, best, scale),
        _number(row["gap"], scale, "+.2f"),
        _number(row["difference"], scale, "+.2f"),
        interval,
        _time(row),
        escape(statuses) or DASH,
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
        return DASH
    return format(scale * value, form).replace("-", "−")
