"""Write what the runs of a study say as a page, a table and a figure.

python docs/results/write.py runs/permuted-mnist docs/results
"""

import csv
import json
import sys
from pathlib import Path

import neoteny as nt
from neoteny import report
from neoteny.api import Results

COLUMNS = ("stream", "method", "seeds", "first", "last", "gap", "difference", "low", "high")


def page(folder: Path, target: Path) -> None:
    """`NAME.md`, `NAME.csv` and `NAME.png` in `target`, of the study whose runs `folder` holds."""
    results, study = Results(folder), json.loads((folder / "study.json").read_text())["study"]
    name, table = study["name"], results.table()
    with (target / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    report.save_overview(nt.store.connect(folder), target / f"{name}.png")
    acts = any(setting["metric"].endswith("_return") for setting in study["streams"].values())
    what, unit = ("Return", "sums of rewards") if acts else ("Accuracy", "per cent")
    text = [
        f"# {study['title']}: `{name}`",
        f"{_made(results)} Written by `python docs/results/write.py`; judged again by "
        f"`neoteny judge DIR`. The command that made the runs:",
        f"```sh\n{_command(folder)}{'' if acts else ' --data DIR'}\n```",
        f"![{what} and curvature directions over tasks]({name}.png)",
        "## Methods",
        f"{what} in {unit}: `first` and `last` over a tenth of the tasks, `gap` to a fresh "
        "network in the last third, `difference` of `last` to `bp` with its 95 % interval.",
        _table(table, 1 if acts else 100),
        "## Verdict",
        _verdicts(results),
    ]
    (target / f"{name}.md").write_text("\n\n".join(text) + "\n")


def _command(folder: Path) -> str:
    words = json.loads((folder / "study.json").read_text())["command"]
    kept, skip = [], False
    for word in words:  # where data lie and runs went is a matter of the machine
        if word in ("--data", "--out"):
            skip = True
        elif skip:
            skip = False
        else:
            kept.append(word)
    return f"neoteny {' '.join(kept)}"


def _made(results: Results) -> str:
    row = results.query(
        """SELECT count(*), any_value(provenance ->> '$.device'),
        any_value(provenance ->> '$.versions.neoteny'),
        any_value(provenance ->> '$.versions.jax'), sum(seconds) / 60 FROM runs"""
    ).rows[0]
    count, device, version, jax, minutes = row
    made = f"{count} runs on {device} with neoteny {version} and JAX {jax}"
    return f"{made}: {minutes:.0f} minutes of training, added up."


def _table(rows: list[dict], scale: int) -> str:
    shown = COLUMNS if len({row["stream"] for row in rows}) > 1 else COLUMNS[1:]
    lines = [f"| {' | '.join(column.replace('_', ' ') for column in shown)} |"]
    texts = len(shown) - len(COLUMNS) + 2
    lines.append("|" + "---|" * texts + "--:|" * (len(shown) - texts))
    order = list(dict.fromkeys(row["stream"] for row in rows))
    for row in sorted(rows, key=lambda row: (order.index(row["stream"]), -(row["last"] or 0))):
        lines.append(f"| {' | '.join(_cell(column, row[column], scale) for column in shown)} |")
    return "\n".join(lines)


def _cell(column: str, value, scale: int) -> str:
    if value is None:
        return ""
    if column in ("stream", "method"):
        return f"`{value}`"
    if column in ("seeds",):
        return str(value)
    signed = column in ("gap", "difference", "low", "high")
    return f"{scale * value:+.1f}" if signed else f"{scale * value:.1f}"


def _verdicts(results: Results) -> str:
    verdicts = results.verdict()
    several = len({verdict.stream for verdict in verdicts}) > 1
    lines = ["| claim | verdict | evidence |", "|---|---|---|"]
    for verdict in verdicts:
        evidence = verdict.evidence.replace("|", "\\|")
        claim = f"`{verdict.stream}`: {verdict.claim}" if several else verdict.claim
        lines.append(f"| {claim} | **{verdict.outcome}** | {evidence} |")
    return "\n".join(lines)


if __name__ == "__main__":
    page(Path(sys.argv[1]), Path(sys.argv[2]))
