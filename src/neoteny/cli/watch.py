"""The command that shows runs in a browser while they go on."""

from contextlib import suppress
from typing import Annotated

import typer

from neoteny.cli.app import app
from neoteny.cli.common import Folder, say


@app.command()
def watch(
    folder: Folder,
    port: Annotated[
        int | None, typer.Option(help="Of the page; by default a free one from 8765 on.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; 0.0.0.0 lets other machines in, by a token.")
    ] = "127.0.0.1",
    token: Annotated[
        bool, typer.Option("--token", help="Ask for a token here, too, as other users may look.")
    ] = False,
) -> None:
    """Show the runs below DIR as they go, on a page for the browser; change nothing."""
    from neoteny import live

    with (
        live.serve(folder, host=host, port=port, token=token) as server,
        suppress(KeyboardInterrupt),
    ):
        if not live.loopback(host):
            say("Other machines can reach this page, unencrypted; only its address lets them in.")
        typer.echo(f"Watching {folder} at {server.url} until Ctrl-C.")
        server.serve_forever()
