"""Trackers: other programs' folders of runs, to which stored ones are sent.

Yours joins them with `neoteny.trackers.TRACKERS["mine"] = Mine`, where `Mine(place)` takes a
`Place` and has the methods of a `Tracker`; `neoteny export DIR --to mine --plugin FILE` finds it.
"""

from collections.abc import Callable

from neoteny.trackers.base import Histogram, Place, TrackedRun, Tracker
from neoteny.trackers.mlflow import MlflowTracker
from neoteny.trackers.sending import send
from neoteny.trackers.tensorboard import TensorboardTracker
from neoteny.trackers.wandb import WandbTracker

TRACKERS: dict[str, Callable[[Place], Tracker]] = {
    "tensorboard": TensorboardTracker,
    "wandb": WandbTracker,
    "mlflow": MlflowTracker,
}

__all__ = ["TRACKERS", "Histogram", "Place", "TrackedRun", "Tracker", "send"]
