"""Rows as a person or a program wants them: an aligned table, CSV or JSON."""

import csv
import json
import math
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from neoteny.errors import printable

Row = dict[str, Any]


def write(
    rows: Sequence[Row],
    form: str,
    *,
    title: str | None = None,
    columns: Sequence[str] | None = None,
) -> None:
    """Print `rows` to standard output as `table`, `csv` or `json`.

    A table fits the terminal, or COLUMNS where that is set; else it is as wide as it needs to be.
    Where even short cells would not fit, each column has a line. Headers are words, unless
    `columns` asks for some by name: those can be typed again.
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
    """One row a line where that fits, else with lines broken, else one column a line."""
    heads = [name if columns_are_names else name.replace("_", " ") for name in names]
    cells = [[text(row.get(name)) for name in names] for row in rows]
    longest = [_width(column) for column in zip(heads, *cells, strict=True)]
    room = _room()
    if sum(longest) + _GAP * len(names) <= room and not any(
        "\n" in one for row in cells for one in row
    ):
        right = [any(_number(row.get(name)) for row in rows) for name in names]
        lines = _aligned([heads, *cells], right)
        rule = " " + "─" * (sum(longest) + _GAP * len(names) - 1)
        lines = ["", lines[0], rule, *lines[1:], ""]
    elif rows and sum(min(width, _LEAST) for width in longest) + _GAP * len(names) > room:
        lines = _transposed(heads, cells, room)
    else:
        return _draw_broken(_table(rows, names, title, columns_are_names), room)
    print("\n".join([title, *lines] if title is not None else lines))


_GAP = 3
"""Spaces between columns."""

_ANY = 10_000
"""Signs of a line where no terminal says how many."""


def _room() -> int:
    """Signs of a line: COLUMNS, else the terminal's; in a pipe as many as are needed."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked):
        return int(asked)
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _ANY


def _width(column: Iterable[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, column), default=0)


def _aligned(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    from rich.cells import cell_len

    widths = [_width(column) for column in zip(*lines, strict=True)]
    pad = lambda cell, width: " " * (width - cell_len(cell))
    put = lambda cell, width, right: pad(cell, width) + cell if right else cell + pad(cell, width)
    gap = " " * _GAP
    return [f"  {gap.join(map(put, line, widths, right))}".rstrip() for line in lines]


def _transposed(heads: list[str], cells: list[list[str]], room: int) -> list[str]:
    """A line for each column, and beside it as many rows as there is room for; then the next."""
    names, lines = _width(heads) + _GAP, [""]
    one_line = [[" ".join(cell.split("\n")) for cell in row] for row in cells]
    while one_line:
        count, used = 0, names
        while count < len(one_line) and (used := used + _width(one_line[count]) + _GAP) <= room:
            count += 1
        block, one_line = one_line[: max(1, count)], one_line[max(1, count) :]
        lines += [*_aligned([*zip(heads, *block, strict=True)], [False] * (len(block) + 1)), ""]
    return lines


def _draw_broken(table: Any, room: int) -> None:
    from rich.console import Console

    console = Console(width=room)
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
    """A value as a cell of a table: nothing for what is not there, four digits for a fraction.

    What would be an order to a terminal is shown as its escape.
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "\n".join(map(printable, words.split("\n")))


def _plain(value: Any) -> Any:
    """What JSON can hold; a number that is none is null."""
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int | str | type(None)) else str(value)
