"""Slippery Ant: PPO on a walking ant whose ground has another friction at every task.

The main paper's benchmark with agents, which has Brax's ant; here it is MuJoCo's, by the same
reward and with the same observation. At desk size the ant is stepped by Euler's method, four times
as fast and another dynamics; the networks have a quarter of the units; friction changes after a
twelfth of the steps, and learning is faster by as much: Adam steps ten times as far, actions spread
less at first, and there is no bonus for entropy. These were chosen on seed 0 of plain backprop, so
that an ant learns to walk in the time there is; no method's own setting was searched for.
"""

from typing import Any

from neoteny.config import (
    AgentConfig,
    NetworkConfig,
    ProbesConfig,
    Setting,
    StreamConfig,
    Study,
    TrainingConfig,
)
from neoteny.studies.scales import FIRST_SEED, Protocol, Scale, methods, named

NAME = "slippery-ant"

_PUBLISHED_SETTINGS: dict[str, dict[str, Any]] = {
    "l2": {"weight_decay": 1e-3},
    "er": {"strength": 1e-7},
    "l2_er": {"weight_decay": 1e-3, "strength": 1e-6},
    "published_cbp": {"replacement_rate": 1e-7},
    "layernorm_l2": {"weight_decay": 1e-3},
    "spectral": {"strength": 1e-3, "target": 2.0},
}
"""Those that its figure is of, at a learning rate of 1e-4; the last two are of its search."""

_USUAL_BETAS = {"beta1": 0.9, "beta2": 0.999}


def slippery_ant(scale: Scale = "desk", protocol: Protocol = "corrected") -> Study:
    """The study at one size; see `studies.load`.

    All methods have the same Adam. As published, plain backprop and spectral regularisation have
    another one than the rest.
    """
    published = protocol == "published"
    size = _SIZES[scale]
    ranked = {name: {"every": size["every"]} for name in ("er", "l2_er")}
    settings = _PUBLISHED_SETTINGS if published else _SETTINGS[scale]
    return Study(
        name=named(NAME, scale, protocol),
        title="Slippery Ant: PPO on a ground of changing friction",
        methods=methods(scale, protocol),
        seeds={"smoke": 2, "desk": 3, "paper": 5}[scale],
        first_seed=FIRST_SEED,
        streams={
            NAME: Setting(
                stream=StreamConfig(
                    rule="slippery",
                    environment=size["environment"],
                    options={"schedule": size["schedule"]},
                ),
                tasks=size["tasks"],
                metric=size["metric"],
                network=NetworkConfig(widths=size["widths"], initialiser="lecun-uniform"),
                training=TrainingConfig(
                    optimiser="adam",
                    learning_rate=size["rate"],
                    beta1=0.99,
                    beta2=0.99,
                    batch=size["batch"],
                    epochs=size["epochs"],
                ),
                agent=AgentConfig(value_coefficient=1.0, **size["agent"]),
                probes=size["probes"],
                hyperparameters={
                    method: settings.get(method, {}) | ranked.get(method, {})
                    for method in settings | ranked
                },
                training_of={"bp": _USUAL_BETAS, "spectral": _USUAL_BETAS} if published else {},
            )
        },
    )


_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {
        "metric": "online_return",
        "environment": "slippery-ant-euler",
        "schedule": "published",
        "tasks": 3,
        "widths": (16,),
        "rate": 1e-3,
        "batch": 64,
        "epochs": 2,
        "every": 4,  # an epoch
        "agent": {"seats": 4, "rollout": 64, "iterations": 8, "reward_scale": 0.1},
        "probes": ProbesConfig(
            rows=100, fresh_every=1, spectrum_every=1,
            spectrum_steps=12, spectrum_probes=1, spectrum_rows=100,
        ),
    },
    "desk": {
        "metric": "final_return",  # a fresh ant's tasks are over before it has walked for long
        "environment": "slippery-ant-euler",
        "schedule": "drawn",
        "tasks": 6,
        "widths": (64,),
        "rate": 1e-3,
        "batch": 64,
        "epochs": 10,
        "every": 32,  # an epoch
        "agent": {
            "seats": 4, "rollout": 512, "iterations": 80, "reward_scale": 0.1,
            "deviation": 0.4, "entropy_coefficient": 0.0,
        },
        "probes": ProbesConfig(
            rows=500, fresh_every=5, spectrum_every=1,
            spectrum_steps=48, spectrum_probes=1, spectrum_rows=500,
        ),
    },
    "paper": {
        "metric": "online_return",
        "environment": "slippery-ant",
        "schedule": "published",
        "tasks": 5,
        "widths": (256,),
        "rate": 1e-4,
        "batch": 16,
        "epochs": 10,
        "every": 128,  # an epoch
        "agent": {"seats": 1, "rollout": 2048, "iterations": 976},
        "probes": ProbesConfig(
            rows=1000, fresh_every=1, spectrum_every=1,
            spectrum_steps=100, spectrum_probes=1, spectrum_rows=1000,
        ),
    },
}  # fmt: skip

_SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "smoke": {},
    "desk": {
        "l2": {"weight_decay": 1e-3},
        "er": {"strength": 1e-4},
        "l2_er": {"weight_decay": 1e-3, "strength": 1e-4},
        "layernorm_l2": {"weight_decay": 1e-3},
        "spectral": {"strength": 1e-3},
    },
    "paper": {
        "l2": {"weight_decay": 1e-3},
        "er": {"strength": 1e-7},
        "l2_er": {"weight_decay": 1e-3, "strength": 1e-6},
        "layernorm_l2": {"weight_decay": 1e-3},
        "spectral": {"strength": 1e-3},
    },
}
