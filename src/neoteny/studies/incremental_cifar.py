"""Incremental CIFAR-100: five new classes at every stage, beside all those seen before.

The main paper's third benchmark, on its ResNet-18. At desk size images are 16 x 16, 100 of the 500
of each class; the network has three stages of one block, 8, 16 and 32 channels wide; and two new
classes come at a stage until there are 20, when another 20 begin anew: two cycles of ten stages.
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

NAME = "incremental-cifar"

PUBLISHED = Published(
    metric="heldout_accuracy",
    tasks=19,
    rule="incremental-classes",
    dataset="cifar100",
    ends={
        "l2_er": (0.695, 0.548),
        "l2": (0.775, 0.523),
        "reset": (0.775, 0.477),
        "cbp": (0.775, 0.373),
        "bp": (0.775, 0.353),
        "er": (0.74, 0.322),
    },
)
"""Stage 0 and stage 18, on held-out images of all classes seen, read off the paper's figure."""

_PUBLISHED_SETTINGS: dict[str, dict[str, Any]] = {
    "l2": {"weight_decay": 1e-4},
    "er": {"strength": 1e-4, "layers": 2},
    "l2_er": {"weight_decay": 1e-3, "strength": 1e-3, "layers": 2},
    "published_cbp": {"replacement_rate": 1e-6},
    "layernorm_l2": {"weight_decay": 1e-4},
    "spectral": {"strength": 1e-2, "target": 2.0},
}


def incremental_cifar(scale: Scale = "desk", protocol: Protocol = "corrected") -> Study:
    """The study at one size; see `studies.load`."""
    published = protocol == "published"
    size = _SIZES[scale]
    ranked = {name: {"every": 5} for name in ("er", "l2_er")}
    settings = _PUBLISHED_SETTINGS if published else _SETTINGS[scale]
    return Study(
        name=named(NAME, scale, protocol),
        title="Incremental CIFAR-100",
        methods=(*methods(scale, protocol), "reset"),
        seeds={"smoke": 2, "desk": 3, "paper": 5}[scale],
        first_seed=FIRST_SEED,
        streams={
            NAME: Setting(
                stream=StreamConfig(
                    rule="incremental-classes",
                    dataset=size["dataset"],
                    rows=size["rows"],
                    shrink=size["shrink"],
                    options=size["stages"],
                ),
                tasks=size["tasks"],
                metric="heldout_accuracy",
                network=NetworkConfig(
                    kind="resnet", widths=size["widths"], options=size["options"]
                ),
                training=TrainingConfig(
                    optimiser="momentum",
                    learning_rate=1e-2,
                    batch=size["batch"],
                    epochs=size["epochs"],
                    order="fixed" if published else "shuffled",
                    head="masked",
                ),
                probes=size["probes"],
                hyperparameters={
                    method: settings.get(method, {}) | ranked.get(method, {})
                    for method in settings | ranked
                },
            )
        },
    )


_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {
        "dataset": "digits",
        "rows": 300,
        "shrink": 1,
        "stages": {"start": 2, "step": 2},
        "tasks": 5,
        "widths": (16, 16),
        "options": {"channels": (4, 8), "blocks": 1},
        "batch": 10,
        "epochs": 2,
        "probes": ProbesConfig(
            rows=50, fresh_every=2, spectrum_every=2,
            spectrum_steps=12, spectrum_probes=1, spectrum_rows=50,
        ),
    },
    "desk": {
        "dataset": "cifar100",
        "rows": 10_000,
        "shrink": 2,
        "stages": {"start": 2, "step": 2, "stop": 20},
        "tasks": 20,
        "widths": (64, 64),
        "options": {"channels": (8, 16, 32), "blocks": 1},
        "batch": 50,
        "epochs": 20,
        "probes": ProbesConfig(
            rows=200, every=2, fresh_every=3, spectrum_every=4,
            spectrum_steps=32, spectrum_probes=2, spectrum_rows=100,
        ),
    },
    "paper": {
        "dataset": "cifar100",
        "rows": None,
        "shrink": 1,
        "stages": {},
        "tasks": 20,
        "widths": (512, 512),
        "options": {},
        "batch": 100,
        "epochs": 200,
        "probes": ProbesConfig(
            rows=500, fresh_every=0, spectrum_every=1,
            spectrum_steps=16, spectrum_probes=1, spectrum_rows=500,
        ),
    },
}  # fmt: skip

# those that the paper chose, at its learning rate
_PAPERS: dict[str, dict[str, Any]] = {
    "l2": {"weight_decay": 1e-4},
    "er": {"strength": 1e-4, "layers": 2},
    "l2_er": {"weight_decay": 1e-3, "strength": 1e-3, "layers": 2},
    "cbp": {"replacement_rate": 1e-6},
    "layernorm_l2": {"weight_decay": 1e-4},
    "spectral": {"strength": 1e-2},
}
_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {"er": {"layers": 2}, "l2_er": {"layers": 2}},
    # the best of three for each on seed 0, by the mean of the last five stages
    "desk": {
        "l2": {"weight_decay": 1e-4},
        "er": {"strength": 1e-2, "layers": 2},
        "l2_er": {"weight_decay": 1e-3, "strength": 1e-2, "layers": 2},
        "cbp": {"replacement_rate": 1e-4},
        "layernorm_l2": {"weight_decay": 3e-3},
        "spectral": {"strength": 1e-2},
    },
    "paper": _PAPERS,
}
