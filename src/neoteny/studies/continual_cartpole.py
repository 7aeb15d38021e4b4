"""Continual CartPole: at every task a fixed random vector is added to what the agent sees.

After Tang et al. (2025), whose offsets have a standard deviation of 2, at which plain PPO comes to
a standstill at the first change; here they are smaller, so that methods can be told apart, and the
network and the tasks too, so that all is over in minutes.
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
                rule="offset-observations", environment="cartpole", options={"scale": 1.0}
            ),
            tasks=12,
            metric="online_return",
            network=NetworkConfig(widths=(64, 64)),
            training=TrainingConfig(optimiser="adam", learning_rate=1e-3, batch=200, epochs=5),
            agent=AgentConfig(seats=8, rollout=100, iterations=50, reward_scale=0.05),
            probes=ProbesConfig(
                rows=200, fresh_every=1, spectrum_every=1,
                spectrum_steps=32, spectrum_probes=1, spectrum_rows=200,
            ),
        )
    },
)  # fmt: skip
