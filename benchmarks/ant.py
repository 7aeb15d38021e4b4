"""What PPO on Slippery Ant costs over stepping MuJoCo alone; needs `pip install "neoteny[rl]"`.

    python benchmarks/ant.py [--cores 1] [--rounds 3] [--euler]

Where PyTorch and imageio, which Gymnasium's ant imports, are installed, also beside the usual loop
of Gymnasium and PyTorch (`torch_ppo.py`).

All take turns in one process. An iteration is 2,048 steps and what is learnt of them in 10 epochs,
two networks of one hidden layer of 256 each, as in the main paper. The bare side is `mj_step` with
the actions of a newborn policy, on as many threads as there are cores, a reset where the ant falls,
and nothing else. On one core, as each of many runs has it, the clock is that of the processor, so
that what else runs there counts little; on several it is that of the wall.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--cores", type=int, default=1)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--euler", action="store_true", help="another dynamics, four times as fast")
arguments = parser.parse_args()
timing.pin(arguments.cores)

import jax  # noqa: E402
import numpy as np  # noqa: E402

from neoteny import rl  # noqa: E402
from neoteny.config import RunConfig, Setting  # noqa: E402

KEY = jax.random.key(0)
NAME = "slippery-ant-euler" if arguments.euler else "slippery-ant"
ROWS = 2048


def bare(seats: int):
    """MuJoCo's steps alone, on all cores."""
    import mujoco

    environment = rl.make_environment(NAME)
    world = rl.slippery(environment)(KEY, 0)
    physics = {name: float(value) for name, value in world.physics.items()}
    ants = [environment.make(physics, seed) for seed in range(seats)]
    drawn = np.random.default_rng(0).standard_normal((ROWS // seats, seats, 8))
    actions = np.clip(drawn, -1, 1)
    workers = min(arguments.cores, seats)
    pool = ThreadPoolExecutor(workers)

    def share(first: int) -> None:
        for moment in actions:
            for place in range(first, seats, workers):
                ant = ants[place]
                ant.data.ctrl[:] = moment[place]
                mujoco.mj_step(ant.model, ant.data, 5)
                if not 0.2 <= ant.data.qpos[2] <= 1:
                    mujoco.mj_resetData(ant.model, ant.data)

    return lambda: list(pool.map(share, range(workers)))


def agent(seats: int, batch: int):
    """An agent's programs, ready to be called: acting alone, and an iteration of PPO."""
    setting = Setting.model_validate(
        {
            "stream": {"rule": "slippery", "environment": NAME},
            "metric": "online_return",
            "network": {"widths": [256]},
            "training": {
                "optimiser": "adam", "learning_rate": 1e-4, "batch": batch, "epochs": 10
            },
            "agent": {"seats": seats, "rollout": ROWS // seats, "iterations": 1},
        }
    )  # fmt: skip
    config = RunConfig(
        study="benchmark", stream="ant", method="bp", seed=0, tasks=1,
        hyperparameters={}, setting=setting,
    )  # fmt: skip
    worlds, machine = rl.prepare(config)
    learner, world = machine.trainer.initialise(machine.network.init(KEY)), worlds(KEY, 0)
    rows = machine.opening(learner, world, KEY)
    act = lambda: jax.block_until_ready(machine.opening(learner, world, KEY))
    return act, lambda: jax.block_until_ready(machine.live(learner, world, rows, KEY))


def usual_loop():
    """An iteration of Gymnasium and PyTorch, with 8 seats; or None without them."""
    try:
        from torch_ppo import ANT, Loop
    except ImportError as error:
        print(f"  the usual loop is left out: {error}")
        return None
    return Loop(arguments.cores, ANT).iteration


def main() -> None:
    rl.compute_at_once()
    print(timing.machine())
    print(f"\n{NAME}: {ROWS} steps over bare stepping (aim: PPO at 0.70 of its rate or more)")
    for seats in (32, 8, 1):
        jobs = {"bare": bare(seats)}
        jobs["acting"], jobs["PPO, batch 64"] = agent(seats, 64)
        jobs["PPO, batch 16"] = agent(seats, 16)[1]
        if seats == 8 and not arguments.euler and (usual := usual_loop()):
            jobs["Gymnasium and PyTorch, batch 64"] = usual
        clock = time.process_time if arguments.cores == 1 else time.perf_counter
        taken = timing.interleaved(jobs, arguments.rounds, clock)
        rates = "  ".join(f"{name} {taken['bare'] / taken[name]:.2f}" for name in list(jobs)[1:])
        print(f"  {seats} seat(s): bare {ROWS / taken['bare']:,.0f} steps/s;  {rates}")


if __name__ == "__main__":
    main()
