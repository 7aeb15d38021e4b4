"""A plugin with which tasks take no time: what one comes to follows from the settings.

Everything else of a run is as ever: its folder, table, checkpoint, and how it ends.
"""

import math
import os
import time
from pathlib import Path

from neoteny import loop


def value(config, index):
    """Best at a learning rate of 0.01, and falling with decay; a little luck for each seed."""
    rate = config.setting.training.learning_rate
    decay = config.hyperparameters.get("weight_decay", 0.0)
    return 0.9 - 0.1 * math.log10(rate / 0.01) ** 2 - 10 * decay - 0.01 * (config.seed % 7)


def live_through(config, machine, learner, stream, index, draw):
    yield from ()
    if log := os.environ.get("QUICK_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()} {config.stream} {config.seed} {index}\n")
    time.sleep(float(os.environ.get("QUICK_SECONDS", "0")))
    diverged = config.setting.training.learning_rate > float(os.environ.get("QUICK_LIMIT", "inf"))
    row = {
        "online_accuracy": None,
        "final_accuracy": None if diverged else value(config, index),
        "heldout_accuracy": None,
        **dict.fromkeys(("fresh_accuracy", "fresh_online_accuracy", "fresh_heldout_accuracy")),
        "chance_accuracy": 0.1,
        "diverged_step": 3 if diverged else None,
    }
    return learner, row, {}, 0.5


if __name__.startswith("neoteny_plugin"):
    loop._live_through = live_through
