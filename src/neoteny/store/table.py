"""The table of a run's tasks: typed columns in memory, a Parquet file at each commit."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neoteny.store.files import StoreError, damaged
from neoteny.store.sql import TASKS, first_line, parquet, quote

_TYPES = {bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "VARCHAR"}
_NULL = {"BOOLEAN": False, "BIGINT": 0, "DOUBLE": math.nan, "VARCHAR": None}
_DTYPES = {"BOOLEAN": np.bool_, "BIGINT": np.int64, "DOUBLE": np.float64, "VARCHAR": np.object_}


class Table:
    """The rows of a run; they are buffered one by one, and gathered into columns when written.

    A column's type follows from the values that are not NULL alone (a column without any is
    DOUBLE), and the file is written from all rows at once. So it depends neither on where a
    run was resumed nor on which rows were committed together.
    """

    def __init__(self, path: Path, rows: int):
        """The first `rows` rows of the file at `path`, or no rows if there is no file."""
        import duckdb

        self._error = duckdb.Error
        self._db = duckdb.connect(":memory:", config={"threads": 1})
        self._buffer: list[dict[str, Any]] = []
        self._types: dict[str, str | None] = dict(TASKS)
        self._columns = {name: _empty(kind) for name, kind in TASKS.items()}
        self._gathered = rows
        if path.exists():
            self._load(path, rows)
        elif rows:
            raise StoreError(damaged(path, f"the checkpoint is at task {rows}, no table"))

    def _load(self, path: Path, rows: int) -> None:
        source = f"SELECT * FROM {parquet([path])} WHERE task < {rows} ORDER BY task"
        try:
            answer = self._db.execute(source)
            types = {name: str(kind) for name, kind, *_ in answer.description or ()}
            arrays = answer.fetchnumpy()
        except (self._error, ValueError) as error:  # a name in it may be no text
            raise StoreError(damaged(path, first_line(error))) from error
        if arrays.keys() != types.keys():  # names that DuckDB tells in two ways
            raise StoreError(damaged(path, "the names of its columns are no text"))
        if foreign := [name for name, kind in types.items() if kind not in _DTYPES]:
            reason = f"column `{foreign[0]}` has type {types[foreign[0]]}"
            raise StoreError(damaged(path, reason))
        if arrays["task"].tolist() != list(range(rows)):
            found = len(arrays["task"])
            reason = f"the checkpoint is at task {rows}, of which the table has {found} rows"
            raise StoreError(damaged(path, reason))
        self._columns = columns = {
            name: _column(
                np.ma.getdata(array), np.ma.getmaskarray(np.ma.asarray(array)), types[name]
            )
            for name, array in arrays.items()
        }
        self._types = {
            name: types[name] if name in TASKS or not column.missing.all() else None
            for name, column in columns.items()
        }

    def append(self, row: dict[str, Any]) -> None:
        """Buffer a row of values that `scalar` gave; a refused row leaves no trace."""
        if row.keys() - self._types.keys():
            self._check_names(row)
        self._types |= {name: self._fit(name, value) for name, value in row.items()}
        self._buffer.append(row)

    def _check_names(self, row: dict[str, Any]) -> None:
        """Refuse new columns that SQL could not tell from another: it is blind to ASCII case."""
        known: dict[bytes, str] = {}
        for name in [*self._types, *row]:
            try:
                folded = name.encode().lower()
            except (AttributeError, UnicodeEncodeError) as error:
                raise _cannot(f"column {name!r} has a name that is no text") from error
            if (other := known.setdefault(folded, name)) != name:
                raise _cannot(f"columns `{other}` and `{name}` differ in nothing but case")
            if not name:
                raise _cannot("a column has the empty name")

    def _fit(self, name: str, value: Any) -> str | None:
        """The type of column `name` with `value` in it; `None` while all is NULL."""
        kind, known = _TYPES.get(type(value)), self._types.get(name)
        if kind == "VARCHAR":
            _require_text(name, value)
        if kind == "BIGINT":
            _require_range(name, value, float if known == "DOUBLE" else np.int64)
        if kind is None or (known, kind) == ("DOUBLE", "BIGINT"):
            return known
        if known not in (None, kind) and (known, kind) != ("BIGINT", "DOUBLE"):
            raise StoreError(f"Column `{name}` is {known} so far, but this row has {kind} for it.")
        return kind

    def write(self, path: Path) -> None:
        """Write all rows as a Parquet file; costs some 15 ms for 60 columns.

        **Raises:** `OSError` if DuckDB cannot.
        """
        self._gather()
        arrays, shown = {}, []
        for place, (name, column) in enumerate(self._columns.items()):
            arrays[value := f"value_{place}"] = column.values
            if column.values.dtype in (np.int64, np.bool_) and column.missing.any():
                arrays[missing := f"missing_{place}"] = column.missing
                value = f"CASE WHEN {missing} THEN NULL ELSE {value} END"
            elif column.values.dtype == np.object_:  # DuckDB would guess from some of them
                value = f"CAST({value} AS VARCHAR)"
            shown.append(f"{value} AS {quote(name)}")
        target = str(path).replace("'", "''")
        try:
            self._db.register("gathered", arrays)
            # By way of a table, of which DuckDB knows the columns that have no NULL.
            self._db.execute(
                f"CREATE OR REPLACE TABLE tasks AS SELECT {', '.join(shown)} FROM gathered"
            )
            self._db.execute(f"COPY tasks TO '{target}' (FORMAT parquet, USE_TMP_FILE false)")
        except self._error as error:
            raise OSError(first_line(error)) from error
        finally:
            self._db.execute("DROP TABLE IF EXISTS tasks")
            self._db.unregister("gathered")

    def _gather(self) -> None:
        gathered = {}
        for name, known in self._types.items():
            kind = known or "DOUBLE"
            before = self._columns.get(name) or _empty(kind, self._gathered)
            gathered[name] = _extended(before, [row.get(name) for row in self._buffer], kind)
        self._columns, self._gathered = gathered, self._gathered + len(self._buffer)
        self._buffer = []

    def close(self) -> None:
        self._db.close()


class _Column(NamedTuple):
    """Values of one dtype, and where one is missing; there `values` has what is NULL for it."""

    values: np.ndarray
    missing: np.ndarray


def _empty(kind: str, rows: int = 0) -> _Column:
    return _Column(np.full(rows, _NULL[kind], _DTYPES[kind]), np.ones(rows, np.bool_))


def _column(values: np.ndarray, missing: np.ndarray, kind: str) -> _Column:
    column = _empty(kind, len(values))
    column.values[~missing] = values[~missing]
    return column._replace(missing=missing)


def _extended(column: _Column, values: list, kind: str) -> _Column:
    """`column` as one of type `kind`, with `values` at its end."""
    if column.values.dtype != _DTYPES[kind]:
        column = _column(*column, kind)
    filled = [_NULL[kind] if value is None else value for value in values]
    missing = np.array([value is None for value in values], np.bool_)
    return _Column(
        np.concatenate([column.values, np.array(filled, _DTYPES[kind])]),
        np.concatenate([column.missing, missing]),
    )


def scalar(name: str, value: Any) -> bool | int | float | str | None:
    """`value` as a table holds it: one of Python's own, finite, or `None`."""
    plain = value.item() if isinstance(value, np.generic) else value
    for kind in _TYPES:  # bool first: a bool is an int
        if isinstance(plain, kind):
            return finite(kind(plain)) if kind is float else kind(plain)
    if plain is not None:
        raise StoreError(
            f"Column `{name}` got a value of type {type(value).__name__}; a table's values are "
            "int, float, str, bool or None."
        )
    return None


def finite(value: float | None) -> float | None:
    """`value`, or `None` if it is no finite number."""
    return None if value is None or not math.isfinite(value) else value


def _require_text(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _cannot(f"the text of column `{name}` is no Unicode: {error.reason}") from error


def _require_range(name: str, value: int, holder: type) -> None:
    try:
        holder(value)
    except OverflowError as error:
        bits = value.bit_length()
        raise _cannot(f"column `{name}` got an integer of {bits} bits; pass a float") from error


def _cannot(reason: str) -> StoreError:
    return StoreError(f"The row cannot be stored: {reason}.")
