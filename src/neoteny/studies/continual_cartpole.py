"""Continual CartPole: at every task a fixed random vector is added to what the agent sees.

After Tang et al. (2025), with their offsets of standard deviation 2, at which plain PPO may come
to a standstill; the network and the tasks are smaller, so that all is over in minutes. No setting
was searched for: methods have their usual ones, but for a smaller step of `l2_er`, as the main
paper has with agents.
"""

from neoteny.config import (
    AgentConfig,
    NetworkConfig,
    ProbesConfig,
    Setting,
    StreamConfig,
    Study,
    TrainingConfig,
)

CONTINUAL_CARTPOLE = Study(
    name="continual-cartpole",
    title="Continual CartPole: PPO with offset observations",
    methods=("bp", "l2", "l2_er", "cbp", "layernorm_l2", "l2_init"),
    seeds=5,
    first_seed=1,
    streams={
        "offset-cartpole": Setting(
            stream=StreamConfig(
                rule="offset-observations", environment="cartpole", options={"scale": 2.0}
            ),
            tasks=12,
            metric="online_return",
            network=NetworkConfig(widths=(64, 64)),
            training=TrainingConfig(optimiser="adam", learning_rate=1e-3, batch=200, epochs=5),
            agent=AgentConfig(seats=8, rollout=100, iterations=50, reward_scale=0.05),
            hyperparameters={"l2_er": {"strength": 1e-4}},
            probes=ProbesConfig(
                rows=200, fresh_every=1, spectrum_every=1,
                spectrum_steps=32, spectrum_probes=1, spectrum_rows=200,
            ),
        )
    },
)  # fmt: skip
