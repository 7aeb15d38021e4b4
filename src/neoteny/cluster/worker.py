"""What runs on a node of a cluster: one process on one core, one run after the other."""

import errno
import itertools
import os
import socket
import threading
import time
import traceback
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from neoteny import store, sweep
from neoteny.cluster.ground import Ground, unlike
from neoteny.config import RunConfig
from neoteny.errors import UserError

News = list[tuple[str, Any]]
"""What has happened, in order: `ready`, `refused` with a sentence, `task` with its number and
value, or the status with which a run ended and the reason."""


class Worker:
    """An actor that computes in a thread of its own, and says what comes of it when asked.

    The thread starts after the process is bound to its core, so that all that compute in it are.
    """

    def __init__(self, ground: Ground):
        self._jobs: SimpleQueue = SimpleQueue()
        self._news: SimpleQueue = SimpleQueue()
        self._core = claim_core()
        threading.Thread(target=self._work, args=(ground,), daemon=True).start()

    def carry_out(self, config: str, patience: float) -> None:
        """Take a run up, as JSON; wait so many seconds if another process still holds it."""
        self._jobs.put((RunConfig.model_validate_json(config), patience))

    def hear(self) -> News:
        """All that has happened since the last call, or what happens next."""
        news = [self._news.get()]
        while not self._news.empty():
            news.append(self._news.get())
        return news

    def _work(self, ground: Ground) -> None:
        try:
            if refusal := self._settle(ground):
                return self._news.put(("refused", refusal))
            self._news.put(("ready", None))
            while True:
                config, patience = self._jobs.get()
                released(sweep.folder_of(ground.out, config), patience)
                sweep.suit(config)
                told = lambda *task: self._news.put(("task", task))
                outcome = sweep.run_here(config, ground.out, ground.data, told)
                self._news.put((outcome.status, outcome.reason))
        except BaseException:  # into the worker's log; without this thread nobody would be heard
            traceback.print_exc()
            os._exit(1)

    def _settle(self, ground: Ground) -> str | None:
        from neoteny.plugins import load

        if refusal := unlike(ground):
            return refusal
        try:
            for plugin in ground.plugins:
                load(plugin)
        except UserError as error:
            return f"On node {socket.gethostname()}: {error}"
        return None


CLAIM = "\0neoteny-core-{core}-{turn}"


def claim_core() -> socket.socket | None:
    """Bind this thread, and those it starts, to a core that no other worker here has claimed.

    It has claimed it for as long as the returned socket is open, at most until the process dies:
    a name in Linux's abstract namespace is one process's. Where more workers than cores are put,
    cores are shared evenly. Elsewhere nothing can be bound, and nothing is.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    for turn, core in ((turn, core) for turn in itertools.count() for core in cores):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(CLAIM.format(core=core, turn=turn))
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            os.sched_setaffinity(0, {core})
            return claim


def released(folder: Path, seconds: float) -> bool:
    """Wait so long for the process that holds a run's folder to let go of it."""
    end = time.monotonic() + seconds
    while held := store.is_locked(folder):
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    return not held
