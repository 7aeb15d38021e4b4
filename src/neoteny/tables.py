"""Rows as a person or a program wants them: an aligned table, CSV or JSON."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]


def write(
    rows: Sequence[Row],
    form: str,
    *,
    title: str | None = None,
    columns: Sequence[str] | None = None,
) -> None:
    """Print `rows` to standard output as `table`, `csv` or `json`.

    A table fits the terminal, and where there is none it is as wide as it needs to be. Its
    headers are words, unless `columns` asks for some by name: those can be typed again.
    """
    names = list(columns) if columns else list(dict.fromkeys(name for row in rows for name in row))
    if form == "json":
        write_json([{name: row.get(name) for name in names} for row in rows])
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([[row.get(name) for name in names] for row in rows])
    else:
        _draw(rows, names, title, columns_are_names=columns is not None)


def write_json(document: Any) -> None:
    """Print `document` to standard output as JSON, with null for numbers that JSON lacks."""
    print(json.dumps(_plain(document), indent=2))


def show(looks: Iterable[Sequence[Row]]) -> None:
    """Draw one table after another in the same place of a terminal; Ctrl-C ends it."""
    from contextlib import suppress

    from rich.console import Console
    from rich.live import Live

    with Live(console=Console()) as live, suppress(KeyboardInterrupt):
        for rows in looks:
            live.update(_table(rows, list(rows[0]), None, False), refresh=True)


def _draw(
    rows: Sequence[Row], names: list[str], title: str | None, columns_are_names: bool
) -> None:
    from rich.console import Console

    table = _table(rows, names, title, columns_are_names)
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    with console.capture() as capture:
        console.print(table)
    print("\n".join(line.rstrip() for line in capture.get().splitlines()))


def _table(
    rows: Sequence[Row], names: list[str], title: str | None, columns_are_names: bool
) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in names:
        numeric = any(_number(row.get(name)) for row in rows)
        header = name if columns_are_names else name.replace("_", " ")
        longest = max((len(text(row.get(name))) for row in rows), default=0)
        table.add_column(
            header,
            justify="right" if numeric else "left",
            min_width=min(longest, _LEAST),
            overflow="ellipsis" if numeric else "fold",  # names that begin alike end otherwise
        )
    for row in rows:
        table.add_row(*(Text(text(row.get(name))) for name in names))
    return table


_LEAST = 8
"""Signs of a column that a narrow terminal leaves it."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def text(value: Any) -> str:
    """A value as a cell of a table: nothing for what is not there, four digits for a fraction."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _plain(value: Any) -> Any:
    """What JSON can hold; a number that is none is null."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | type(None)) else str(value)
