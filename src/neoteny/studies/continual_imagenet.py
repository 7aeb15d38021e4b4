"""Continual ImageNet: two classes of small images to tell apart, and two others at the next task.

The main paper's second benchmark. Its images are 1000 classes of ImageNet at 32 x 32, 700 of
each; here they are the 200 classes of Tiny ImageNet at that size, 350 of each, so pairs are met
anew after 100 tasks. At desk size images are 16 x 16, there are 120 to train on of each class, and
the network is half as wide.
"""

from typing import Any

from neoteny.config import (
    NetworkConfig,
    ProbesConfig,
    Setting,
    StreamConfig,
    Study,
    TrainingConfig,
)
from neoteny.studies.published import Published
from neoteny.studies.scales import (
    FIRST_SEED,
    Protocol,
    Scale,
    methods,
    named,
)

NAME = "continual-imagenet"

PUBLISHED = Published(
    metric="heldout_accuracy",
    tasks=2000,
    rule="class-pairs",
    dataset="imagenet-32",
    ends={
        "l2_er": (0.81, 0.76),
        "cbp": (0.79, 0.74),
        "er": (0.80, 0.63),
        "l2": (0.85, 0.59),
        "bp": (0.85, 0.51),
    },
)
"""First task and task 2000, read off the paper's figure."""

_PUBLISHED_SETTINGS: dict[str, dict[str, Any]] = {
    "l2": {"weight_decay": 1e-3},
    "er": {"strength": 1e-5, "layers": 2},
    "l2_er": {"weight_decay": 1e-3, "strength": 1e-4, "layers": 2},
    "published_cbp": {"replacement_rate": 1e-5},
    "layernorm_l2": {"weight_decay": 1e-5},
    "spectral": {"strength": 1e-2, "target": 2.0},
}
_PUBLISHED_RATES = {  # 1e-4 otherwise
    "l2_er": {"learning_rate": 1e-3},
    "layernorm_l2": {"learning_rate": 1e-3},
    "spectral": {"learning_rate": 1e-2},
}


def continual_imagenet(scale: Scale = "desk", protocol: Protocol = "corrected") -> Study:
    """The study at one size; see `studies.load`."""
    published = protocol == "published"
    size = _SIZES[scale]
    every = {"every": size["every"]}
    ranked = {name: every for name in ("er", "l2_er")}
    settings = _PUBLISHED_SETTINGS if published else _SETTINGS[scale]
    return Study(
        name=named(NAME, scale, protocol),
        title="Continual ImageNet: pairs of classes",
        methods=methods(scale, protocol),
        seeds={"smoke": 2, "desk": 3, "paper": 10}[scale],
        first_seed=FIRST_SEED,
        streams={
            NAME: Setting(
                stream=StreamConfig(
                    rule="class-pairs",
                    dataset=size["dataset"],
                    rows=size["rows"],
                    shrink=size["shrink"],
                    options={"scaled": False} if published else {},
                ),
                tasks=size["tasks"],
                metric="heldout_accuracy",
                network=NetworkConfig(
                    kind="convnet", widths=size["widths"], options=size["options"]
                ),
                training=TrainingConfig(
                    optimiser="momentum",
                    learning_rate=1e-4 if published else size["rate"],
                    batch=size["batch"],
                    epochs=size["epochs"],
                ),
                probes=size["probes"],
                hyperparameters={
                    method: settings.get(method, {}) | ranked.get(method, {})
                    for method in settings | ranked
                },
                training_of=_PUBLISHED_RATES if published else {},
            )
        },
    )


_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {
        "dataset": "digits",
        "rows": 300,
        "shrink": 1,
        "tasks": 6,
        "widths": (16,),
        "options": {"channels": (8,), "kernels": (3,)},
        "rate": 1e-2,
        "batch": 10,
        "epochs": 2,
        "every": 5,
        "probes": ProbesConfig(
            rows=50, fresh_every=2, spectrum_every=2,
            spectrum_steps=16, spectrum_probes=1, spectrum_rows=50,
        ),
    },
    "desk": {
        "dataset": "tiny-imagenet-32",
        "rows": 24_000,
        "shrink": 2,
        "tasks": 200,
        "widths": (64, 64),
        "options": {"channels": (16, 32, 64), "kernels": (3, 3, 3)},
        "rate": 2e-2,
        "batch": 20,
        "epochs": 10,
        "every": 12,  # an epoch
        "probes": ProbesConfig(
            rows=200, every=5, fresh_every=20, spectrum_every=50,
            spectrum_steps=48, spectrum_probes=2, spectrum_rows=100,
        ),
    },
    "paper": {
        "dataset": "tiny-imagenet-32",
        "rows": None,
        "shrink": 1,
        "tasks": 2000,
        "widths": (128, 128),
        "options": {"channels": (32, 64, 128)},
        "rate": 1e-2,
        "batch": 100,
        "epochs": 40,  # as many steps as 20 epochs of twice the rows
        "every": 6,  # an epoch
        "probes": ProbesConfig(
            rows=600, every=10, fresh_every=100, spectrum_every=10,
            spectrum_steps=100, spectrum_probes=1, spectrum_rows=600,
        ),
    },
}  # fmt: skip

# At desk size each method has the best of three on seed 0 (`l2_er` with the decay of `l2`). At
# paper size they are guesses: the paper's rates are for other inputs.
_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {},
    "desk": {
        "l2": {"weight_decay": 3e-4},
        "er": {"strength": 1e-4, "layers": 2},
        "l2_er": {"weight_decay": 3e-4, "strength": 1e-3, "layers": 2},
        "cbp": {"replacement_rate": 1e-3},
        "layernorm_l2": {"weight_decay": 3e-4},
        "spectral": {"strength": 1e-3},
    },
    "paper": {
        "l2": {"weight_decay": 1e-3},
        "er": {"strength": 1e-3, "layers": 2},
        "l2_er": {"weight_decay": 1e-3, "strength": 1e-3, "layers": 2},
        "cbp": {"replacement_rate": 1e-4},
        "layernorm_l2": {"weight_decay": 1e-4},
        "spectral": {"strength": 1e-2},
    },
}
