"""Tables of stored runs as files for other programs: CSV, Parquet, or a table for a paper."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neoteny import claims, store, tables
from neoteny.errors import UserError, unknown

FORMATS = ("csv", "parquet", "latex")
TABLES = ("methods", "tasks", "runs", "spectra")
"""What can be written: the report's table of methods, and what `neoteny query` knows."""

_ENDINGS = {".csv": "csv", ".parquet": "parquet", ".tex": "latex"}


def export(
    folder: Path | str,
    path: Path | str,
    *,
    table: str = "tasks",
    form: str | None = None,
    columns: Sequence[str] | None = None,
) -> Path:
    """Write a table of all runs at or below `folder` to `path`, whole or not at all.

    Numbers are as stored. LaTeX has four significant digits and wants the package `booktabs`.

    **Arguments:**

    - `table`: one of `TABLES`.
    - `form`: one of `FORMATS`; by default what the ending of `path` says.
    - `columns`: of the table, in this order; all if not given.

    **Raises:** `UserError` if there are no runs, the table, format or column is none that there is,
    the ending says nothing, or the file cannot be written.
    """
    path = Path(path)
    if form is None and path.suffix.lower() not in _ENDINGS:
        raise UserError(
            f"`{path}` ends in none of {', '.join(_ENDINGS)}, so name its format, as "
            "`--format csv`."
        )
    form = form or _ENDINGS[path.suffix.lower()]
    if form not in FORMATS:
        raise unknown("format", form, FORMATS)
    if table not in TABLES:
        raise unknown("table", table, TABLES)
    connection = store.connect(folder, spectra=table == "spectra", writable=path.parent)
    with store.asking():
        if table == "methods":
            _put_methods(connection, Path(folder))
        rows = _selection(connection, table, columns)
        if form == "latex":
            store.write_text(path, _latex(connection, rows))
        else:
            _copy(connection, rows, form, path)
    return path


def _selection(connection: Any, table: str, columns: Sequence[str] | None) -> str:
    """SQL for the rows of `table` with these columns."""
    known = [name for name, *_ in connection.execute(f"DESCRIBE {table}").fetchall()]
    chosen = known if columns is None else list(dict.fromkeys(columns))
    if not chosen:
        raise UserError(f"`columns` has none. Name some of {', '.join(known)}.")
    for name in chosen:
        if name not in known:
            raise unknown(f"column of `{table}`", name, known)
    return f"SELECT {', '.join(map(store.quote, chosen))} FROM {table}"


def _put_methods(connection: Any, folder: Path) -> None:
    """The report's table as one of the connection's own."""
    from neoteny import report

    claims.refuse_alone(connection, folder)
    claims.leave_out(connection)
    rows = report.methods_summary(connection)
    texts = ("stream", "method")
    counts = {name for name in rows[0] if all(isinstance(row[name], int) for row in rows)}
    kind = lambda name: "VARCHAR" if name in texts else "BIGINT" if name in counts else "DOUBLE"
    columns = {name: kind(name) for name in rows[0]}
    connection.execute(
        f"CREATE TABLE methods ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
    )
    marks = ", ".join("?" * len(columns))
    for row in rows:
        connection.execute(f"INSERT INTO methods VALUES ({marks})", [*row.values()])


def _copy(connection: Any, rows: str, form: str, path: Path) -> None:
    import duckdb

    options = {"csv": "FORMAT csv, HEADER", "parquet": "FORMAT parquet"}[form]

    def write(place: Path) -> None:
        literal = str(place).replace("'", "''")
        try:
            connection.execute(f"COPY ({rows}) TO '{literal}' ({options})")
        except duckdb.IOException as error:
            raise UserError(f"`{path}` cannot be written. {error}".split("\n")[0]) from error

    store.write_file(path, write)


def _latex(connection: Any, selection: str) -> str:
    answer = connection.execute(selection)
    names = [column[0] for column in answer.description]
    rows = answer.fetchall()
    columns = [[row[place] for row in rows] for place in range(len(names))]
    number = lambda column: any(isinstance(value, int | float) for value in column)
    alignment = "".join("r" if number(column) else "l" for column in columns)
    return "\n".join(
        [
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            _line([name.replace("_", " ") for name in names]),
            r"\midrule",
            *(_line([tables.text(value) for value in row]) for row in rows),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


_SPECIAL = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\n": " ",
}


def _line(cells: Sequence[str]) -> str:
    escaped = (re.sub(r"[&%$#_{}\\~^\n]", lambda sign: _SPECIAL[sign[0]], cell) for cell in cells)
    minus = (re.sub(r"^-(?=[\d.])", "$-$", cell) for cell in escaped)
    return " & ".join(minus) + r" \\"
