"""Slowly changing regression learnt by plain backprop, all seeds in one program.

    python benchmarks/slowly_changing_regression.py [--seeds 100] [--tasks 100] [--cores 1]

Five hidden units, one row at a time, as Dohare et al. (2021). The error is exact, over the 32
inputs that a task can show; `while learning` is its mean over `--looks` instants of the task, its
first included, and stands for the mean online error that they plot.
"""

import argparse
import time

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--seeds", type=int, default=100)
parser.add_argument("--tasks", type=int, default=100)
parser.add_argument("--rows", type=int, default=10_000, help="of a task")
parser.add_argument("--looks", type=int, default=20, help="in each task; they divide its rows")
parser.add_argument("--learning-rates", type=float, nargs="+", default=[0.01, 0.003, 0.001])
parser.add_argument("--cores", type=int, default=1)
arguments = parser.parse_args()
timing.pin(arguments.cores)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402

from neoteny import streams  # noqa: E402
from neoteny.losses import squared_error, task_loss  # noqa: E402
from neoteny.networks import mlp  # noqa: E402
from neoteny.training import trainer  # noqa: E402

STREAM = streams.slowly_changing_regression(rows=arguments.rows)
NETWORK = mlp((20, 5, 1))


def life(learning_rate: float):
    """Errors of one network's life: (tasks, 2), while learning and at a task's end."""
    parts = trainer(NETWORK, squared_error, optax.sgd(learning_rate), batch=1)

    def section(task, key):
        error = lambda learner: task_loss(NETWORK, squared_error, task.heldout)(learner.params)

        def learn(learner, rows):
            number, batch = rows
            learnt, _ = parts.learn(learner, batch, jax.random.fold_in(key, number))
            return learnt, error(learner)

        return learn, error

    def live(seed):
        stream_key, first_key, training_key = jax.random.split(jax.random.key(seed), 3)

        def task(learner, index):
            drawn = STREAM(stream_key, index)
            learn, error = section(drawn, jax.random.fold_in(training_key, index))
            fold = lambda array: array.reshape(arguments.looks, -1, *array.shape[1:])
            rows = jnp.arange(arguments.looks), jax.tree.map(fold, drawn.train)
            learner, errors = jax.lax.scan(learn, learner, rows)
            return learner, jnp.stack([errors.mean(), error(learner)])

        learner = parts.initialise(NETWORK.init(first_key))
        return jax.lax.scan(task, learner, jnp.arange(arguments.tasks))[1]

    return live


print(f"{timing.machine()}; {arguments.seeds} seeds, {arguments.tasks} tasks")
parts = min(5, arguments.tasks)
for rate in arguments.learning_rates:
    program = jax.jit(jax.vmap(life(rate))).lower(jnp.arange(arguments.seeds)).compile()
    began = time.perf_counter()
    errors = np.asarray(program(jnp.arange(arguments.seeds)))
    spent = time.perf_counter() - began
    print(f"\nSGD, learning rate {rate}: {spent:.1f} s, mean squared error ± standard error")
    print(f"{'tasks':>12}{'while learning':>20}{'at the end':>20}")
    for some in np.array_split(np.arange(arguments.tasks), parts):
        seeds = errors[:, some].mean(1)
        spread = seeds.std(0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else [np.nan] * 2
        cells = [f"{mean:.3f} ± {se:.3f}" for mean, se in zip(seeds.mean(0), spread, strict=True)]
        print(f"{f'{some[0]}-{some[-1]}':>12}{cells[0]:>20}{cells[1]:>20}")
