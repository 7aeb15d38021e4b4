"""The table of `docs/extending.md` names what is there, and the rows are right."""

import inspect
import re
from pathlib import Path

import neoteny

PAGE = (Path(__file__).parent.parent / "docs" / "extending.md").read_text(encoding="utf-8")
TABLE = PAGE.split("## Trainability")[0]


def test_every_function_the_table_names_is_there_and_in_its_row():
    rows = [line for line in TABLE.splitlines() if line.startswith("| ")]
    named = {}
    for row in rows:
        for part, name in re.findall(r"`(probes|curvature)\.(\w+)`", row):
            named[part, name] = row
    for (part, name), row in named.items():
        function = getattr(getattr(neoteny, part), name)
        takes = list(inspect.signature(function).parameters) if callable(function) else []
        assert ("network" in takes) == row.startswith("| a `Network`"), name
        assert ("spectrum" in takes) == row.startswith("| a spectrum"), name


def test_the_table_names_every_function_that_needs_a_network():
    for part in (neoteny.probes, neoteny.curvature):
        for name in part.__all__:
            member = getattr(part, name)
            if inspect.isfunction(member) and "network" in inspect.signature(member).parameters:
                assert f"{part.__name__.removeprefix('neoteny.')}.{name}" in TABLE
