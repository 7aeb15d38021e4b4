"""`neoteny list` and `neoteny doctor`: what there is, and whether this machine can use it."""

from typing import Annotated

import typer

from neoteny.cli.app import app
from neoteny.cli.common import (
    DataOption,
    Format,
    FormatOption,
    PluginOption,
    load_plugins,
    own_process_settings,
    print_table,
)

KINDS = (
    "streams",
    "datasets",
    "environments",
    "networks",
    "methods",
    "probes",
    "studies",
    "claims",
)
"""What `neoteny list` knows of."""


@app.command("list")
def list_members(
    kind: Annotated[
        str | None, typer.Argument(metavar="|".join(KINDS), help="One noun; all if left out.")
    ] = None,
    output: FormatOption = Format.table,
    plugin: PluginOption = None,
) -> None:
    """List streams, data sets, networks, methods, probes, studies and claims."""
    from neoteny import catalogue
    from neoteny.errors import unknown

    if kind is not None and kind not in KINDS:
        raise unknown("list of", kind, KINDS)
    load_plugins(plugin)
    print_table(catalogue.members(kind), output, title=kind)


@app.command()
def doctor(data: DataOption = None, output: FormatOption = Format.table) -> None:
    """Check this machine: versions, devices, cores, data sets, folders."""
    from neoteny import catalogue

    own_process_settings()
    rows = catalogue.health(data)
    print_table(rows, output)
    if any(row["state"] == "broken" for row in rows):
        raise typer.Exit(1)
