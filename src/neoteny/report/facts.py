"""What the page says of runs besides figures: how many, which failed, how they were configured."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

import duckdb
import numpy as np

from neoteny.report import data
from neoteny.report.recorded import Recorded

DASH = '<span class="none">–</span>'


def summary(streams: list[Recorded], methods: list[str]) -> str:
    """The facts below the title: how many runs, how they ended, how long they took."""
    runs = [run for one in streams for run in one.runs]
    statuses = Counter(run.status or "unknown" for run in runs)
    seconds = math.fsum(run.seconds for run in runs if run.seconds and math.isfinite(run.seconds))
    shown = {
        "runs": str(len(runs)),
        **{status: str(count) for status, count in statuses.most_common()},
        "streams": str(len(streams)),
        "methods": str(len(methods)),
        "computing time": _duration(seconds),
    }
    return "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in shown.items()
    )


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def stopped(recorded: Recorded) -> str:
    """Runs that diverged, failed or were pruned: the task and step where known, and the reason."""
    steps = {run: (task[0], step[0]) for run, (task, step) in _steps(recorded).items()}
    rows = [
        (run.method, run.seed, run.status, *steps.get((run.method, run.seed), (None, None)),
         run.reason)
        for run in recorded.runs
        if run.status in ("diverged", "failed", "pruned") or (run.method, run.seed) in steps
    ]  # fmt: skip
    if not rows:
        return ""
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("method", "seed", "status", "task", "step", "reason")
    )
    body = "".join(
        f"<tr>{''.join(f'<td>{DASH if v is None else escape(str(v))}</td>' for v in row)}</tr>"
        for row in rows
    )
    return (
        "<h3>Runs that did not finish</h3><div class='scroll'><table class='stopped'>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _steps(recorded: Recorded) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """The tasks on which each run diverged, and the steps at which it did."""
    found = recorded.by_run("diverged_step")
    return {run: (task, step.astype(int)) for run, (task, step) in found.items()}


def configurations(recorded: Recorded) -> str:
    """Each distinct configuration of each method, with the seeds that ran under it."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for run in recorded.runs:
        shown = {name: value for name, value in run.configuration.items() if name != "seed"}
        text = json.dumps(shown, indent=2, ensure_ascii=False, sort_keys=True)
        grouped.setdefault((run.method, text), []).append(run.seed)
    entries = "".join(
        f"<details><summary>{escape(method)} <small>seeds {_seeds(seeds)}</small></summary>"
        f"<pre><code>{escape(text)}</code></pre></details>"
        for (method, text), seeds in grouped.items()
    )
    return f'<div class="configurations"><h3>Configurations</h3>{entries}</div>' if entries else ""


def _seeds(seeds: list[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(set(seeds)))


def provenance(connection: duckdb.DuckDBPyConnection) -> str:
    """Every entry of the runs' provenance, with each value that occurs."""
    values: dict[str, Counter[str]] = {}
    for document, runs in data.provenances(connection):
        for name, value in _flat(document):
            values.setdefault(name, Counter())[value] += runs
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


def _values(counts: Counter[str]) -> str:
    shown = [value for value, _ in counts.most_common(4)]
    more = f" and {len(counts) - 4} more" if len(counts) > 4 else ""
    many = len(counts) > 1
    runs = lambda value: f" <small>({counts[value]} runs)</small>" if many else ""
    return ", ".join(f"{escape(value)}{runs(value)}" for value in shown) + more
