"""Agents: steps per second beside the usual loop, over seeds, and whether they solve their tasks.

    python benchmarks/agents.py [--only speed|seeds|solved] [--cores 1] [--rounds 5]

- `speed`: PPO on CartPole as one compiled program, beside the same settings in a loop of Gymnasium
  and PyTorch (`torch_ppo.py`; `pip install torch gymnasium`), both taking turns in one process.
- `seeds`: the same for 1, 2, 4 and more seeds learnt together.
- `solved`: each agent on its standard task, five seeds, against the return from which it counts as
  solved; takes minutes.
"""

import argparse

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--only", choices=("speed", "seeds", "solved"))
parser.add_argument("--cores", type=int, default=1)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--most-seeds", type=int, default=4, help="of `seeds`: up to so many")
arguments = parser.parse_args()
timing.pin(arguments.cores)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from neoteny import rl  # noqa: E402
from neoteny.config import RunConfig, Setting  # noqa: E402

ITERATIONS = 20
PPO = {"kind": "ppo", "seats": 4, "rollout": 128, "iterations": ITERATIONS}
LEARNS = {
    "optimiser": "adam", "learning_rate": 2.5e-4, "batch": 128, "epochs": 4, "gradient_clip": 0.5,
}  # fmt: skip
STEPS = PPO["seats"] * PPO["rollout"] * ITERATIONS

SOLVED = {
    "PPO on CartPole": (
        "cartpole",
        475.0,
        {"seats": 8, "rollout": 128, "iterations": 150, "reward_scale": 0.05},
        {"learning_rate": 1e-3, "batch": 256, "epochs": 10},
    ),
    "PPO on Acrobot": (
        "acrobot",
        -100.0,
        {"seats": 8, "rollout": 128, "iterations": 150, "reward_scale": 0.05},
        {"learning_rate": 1e-3, "batch": 256, "epochs": 10},
    ),
    "PPO on Pendulum": (
        "pendulum",
        -200.0,  # none is agreed; a random agent has about -1 200
        {"seats": 8, "rollout": 256, "iterations": 150, "reward_scale": 0.05, "discount": 0.95},
        {"learning_rate": 1e-3, "batch": 256, "epochs": 10},
    ),
    "DQN on CartPole": (
        "cartpole",
        475.0,
        {
            "kind": "dqn", "seats": 8, "rollout": 32, "iterations": 300, "reuse": 32,
            "target_every": 1, "epsilon_end": 0.02, "epsilon_share": 0.3,
        },
        {"learning_rate": 5e-4, "batch": 64},
    ),
}  # fmt: skip
"""By name: environment, return from which it counts as solved, and what the agent is."""


def machine_of(environment: str, agent: dict, training: dict, widths=(64, 64)):
    """An agent's world and machine; plain backprop."""
    setting = Setting.model_validate(
        {
            "stream": {"rule": "stationary", "environment": environment},
            "metric": "final_return",
            "network": {"widths": list(widths), "activation": "tanh"},
            "training": {"optimiser": "adam", **training},
            "agent": agent,
        }
    )
    config = RunConfig(
        study="benchmark", stream="agents", method="bp", seed=0, tasks=1,
        hyperparameters={}, setting=setting,
    )  # fmt: skip
    worlds, machine = rl.prepare(config)
    return worlds(jax.random.key(0), 0), machine


def life(world, machine, seeds: int):
    """A task of so many agents together, ready to be called: each one's record."""

    def one(key):
        learner = machine.trainer.initialise(machine.network.init(key))
        rows = machine.opening(learner, world, jax.random.fold_in(key, 1))
        return machine.live(learner, world, rows, jax.random.fold_in(key, 2))[1]

    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    together = jax.jit(jax.vmap(one))
    return lambda: jax.block_until_ready(together(keys))


def speed() -> None:
    world, machine = machine_of("cartpole", PPO, LEARNS)
    jobs = {"one program": life(world, machine, 1)}
    try:
        from torch_ppo import Loop
    except ImportError as error:
        print(f"  the usual loop is left out: {error}")
    else:
        loop = Loop(arguments.cores)
        jobs["Gymnasium and PyTorch"] = lambda: [loop.iteration() for _ in range(ITERATIONS)]
    taken = timing.interleaved(jobs, arguments.rounds)
    print(f"\nPPO on CartPole, {STEPS:,} steps (aim: 10 times the usual loop)")
    for name, seconds in taken.items():
        ratio = max(taken.values()) / seconds
        print(f"  {name:<24} {STEPS / seconds:>10,.0f} steps/s  {ratio:5.1f}")


def seeds() -> None:
    world, machine = machine_of("cartpole", PPO, LEARNS)
    counts = [2**power for power in range(10) if 2**power <= arguments.most_seeds]
    jobs = {str(count): life(world, machine, count) for count in counts}
    taken = timing.interleaved(jobs, arguments.rounds)
    print(f"\nPPO on CartPole, seeds together, {STEPS:,} steps each")
    for name, seconds in taken.items():
        rate, alone = int(name) * STEPS / seconds, STEPS / taken["1"]
        print(f"  {name:>4} seeds {rate:>12,.0f} steps/s in all  {rate / alone:5.2f} of one seed's")


def solved() -> None:
    print("\nEach agent on its standard task: mean return of the last tenth, five seeds")
    for name, (environment, threshold, agent, training) in SOLVED.items():
        record = life(*machine_of(environment, agent, training), 5)()
        late = slice(-agent["iterations"] // 10, None)
        returns = np.asarray(record.returns)[:, late].sum(1)
        ends = returns / np.maximum(np.asarray(record.episodes)[:, late].sum(1), 1)
        done = f"{(ends >= threshold).sum()} of 5 at {threshold:g} or more"
        print(f"  {name:<16} {done}; {', '.join(f'{end:.0f}' for end in np.sort(ends))}")


def main() -> None:
    print(timing.machine())
    for name, part in (("speed", speed), ("seeds", seeds), ("solved", solved)):
        if arguments.only in (None, name):
            part()


if __name__ == "__main__":
    main()
