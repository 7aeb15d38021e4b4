"""The one Typer application that the files beside this one add their commands to."""

import typer

app = typer.Typer(
    name="neoteny",
    help="Measure, explain, predict and prevent loss of plasticity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
