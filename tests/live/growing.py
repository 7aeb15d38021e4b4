"""Runs that a test writes while the page follows them, and the server that shows them."""

import http.client
import threading
from contextlib import contextmanager

import numpy as np

from neoteny import live, store


def open_run(
    out, *, study="s", stream="labels", method="bp", seed=0, tasks=4, metric="final_accuracy"
):
    """A run that is going on: its lock is held until it is closed."""
    config = {"study": study, "stream": stream, "method": method, "seed": seed, "tasks": tasks}
    folder = out / stream / method / f"seed-{seed}"
    return store.Run.open(folder, config | {"setting": {"metric": metric}})


def add_tasks(run, *values, seconds=1.0, column="final_accuracy"):
    """One task for each value, and a commit."""
    for value in values:
        run.append({column: value})
    arrays = {"weights": np.zeros(1)}
    run.commit(arrays, seconds=run.seconds + seconds * len(values), microseconds_per_step=None)


def whole(
    out, *values, status="finished", reason=None, column="final_accuracy", seconds=1.0, **identity
):
    """A run that has ended, with these values."""
    with open_run(out, **identity) as run:
        add_tasks(run, *values, column=column, seconds=seconds)
        run.finish(status, reason)


@contextmanager
def serving(folder, **options):
    """A server that answers in a thread of its own."""
    with live.serve(folder, port=0, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path="/", method="GET", host=None, body=None, **headers):
    """The status, headers and body of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host=True)
        if host != "":
            connection.putheader("Host", host or f"127.0.0.1:{server.server_port}")
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()
