"""What the loop costs over a hand-written scan, and what L2-ER costs over plain backprop.

    python benchmarks/loop.py [--cores 1] [--rounds 3]

Both sides of a ratio take turns in one process. The loop's side is all that a run does for a
task: steps with online accuracy and divergence watch, accuracy on the training rows, and the
probes of the default cadence on 500 rows. The other side is the bare SGD steps.
"""

import argparse

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--cores", type=int, default=1)
parser.add_argument("--rounds", type=int, default=3)
arguments = parser.parse_args()
timing.pin(arguments.cores)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from neoteny import loop, streams  # noqa: E402
from neoteny.config import RunConfig, Setting  # noqa: E402
from neoteny.interventions import Intervention, every  # noqa: E402
from neoteny.methods import METHODS, Method  # noqa: E402
from neoteny.training import minibatches  # noqa: E402
from neoteny.types import Batch, Dataset  # noqa: E402

KEY = jax.random.key(0)


def noise(rows: int):
    """MNIST's shape without its files."""
    keys = jax.random.split(KEY)
    inputs = jax.random.uniform(keys[0], (rows, 784))
    labels = jax.random.randint(keys[1], (rows,), 0, 10, dtype=jnp.int32)
    batch = Batch(inputs, labels)
    return lambda folder=None, progress=None: Dataset(f"noise-{rows}", batch, batch, 10)


def machine(method: str, widths: tuple, batch: int, rows: int, **hyperparameters):
    streams.DATASETS[f"noise-{rows}"] = noise(rows)
    setting = Setting.model_validate(
        {
            "stream": {"rule": "random-labels", "dataset": f"noise-{rows}"},
            "network": {"widths": widths},
            "training": {"optimiser": "sgd", "learning_rate": 0.01, "batch": batch},
        }
    )
    config = RunConfig(
        study="benchmark", stream="noise", method=method, seed=0, tasks=1,
        hyperparameters=hyperparameters, setting=setting,
    )  # fmt: skip
    return loop.prepare(config)


def whole_task(method: str, widths: tuple, batch: int, rows: int, **hyperparameters):
    """All that a run does for one task, but writing it down."""
    stream, parts = machine(method, widths, batch, rows, **hyperparameters)
    task = stream(KEY, 0)
    learner = parts.trainer.initialise(parts.network.init(KEY))
    probed = jax.tree.map(lambda array: array[:500], task.train)

    def live():
        after, _ = parts.trainer.learn(learner, task.train, KEY)
        parts.observer.evaluate(after.params, task.train)
        jax.block_until_ready(parts.observer.probe(after.params, learner.params, probed, KEY))

    return live


def steps_only(method: str, widths: tuple, batch: int, rows: int, **hyperparameters):
    """The steps of a method as the loop compiles them."""
    stream, parts = machine(method, widths, batch, rows, **hyperparameters)
    data = stream(KEY, 0).train
    learner = parts.trainer.initialise(parts.network.init(KEY))
    return lambda: jax.block_until_ready(parts.trainer.learn(learner, data, KEY))


def bare_pass() -> Method:
    """Not a method: the forward and backward pass of every effective-rank step, and no rank."""

    def of(network):
        def apply(learner, state, *, key, batch, features):
            del key, features
            size = lambda params: sum(jnp.sum(h**2) for h in network.apply(params, batch.inputs)[1])
            slope = jax.grad(size)(learner.params)
            params = jax.tree.map(lambda p, g: p + 1e-12 * g, learner.params, slope)
            return learner._replace(params=params), state

        return every(100, Intervention(lambda params: (), apply))

    return Method(interventions=lambda network, optimiser: (of(network),))


METHODS["bare_pass"] = bare_pass


def bare_scan(widths: tuple, batch: int, rows: int):
    """The same SGD steps as a person would write them for this one network."""
    stream, parts = machine("bp", widths, batch, rows)
    data = stream(KEY, 0).train
    params = parts.network.init(KEY)

    def loss(params, x, y):
        for layer in params[:-1]:
            x = jax.nn.relu(x @ layer["kernel"] + layer["bias"])
        logits = x @ params[-1]["kernel"] + params[-1]["bias"]
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1))

    @jax.jit
    def train(params, data):
        def step(params, chosen):
            slope = jax.grad(loss)(params, data.inputs[chosen], data.labels[chosen])
            return jax.tree.map(lambda p, g: p - 0.01 * g, params, slope), None

        order = minibatches(KEY, rows, batch, 1)
        return jax.lax.scan(step, params, order, unroll=4 if batch == 1 else 1)[0]

    return lambda: jax.block_until_ready(train(params, data))


def main() -> None:
    print(timing.machine())
    print("\nOne task of the loop, probes on, over a hand-written scan (aim: at most 1.15)")
    for widths, batch, rows in (
        ((100, 100), 16, 48_000),
        ((1000, 1000, 1000), 1, 6_000),
        ((1000, 1000, 1000), 100, 60_000),
    ):
        taken = timing.interleaved(
            {
                "loop": whole_task("bp", widths, batch, rows),
                "loop, l2": whole_task("l2", widths, batch, rows),
                "scan": bare_scan(widths, batch, rows),
            },
            arguments.rounds,
        )
        name = f"784-{'-'.join(map(str, widths))}-10, batch {batch}"
        step = taken["scan"] / (rows // batch) * 1e6
        print(
            f"  {name:<32} bp {taken['loop'] / taken['scan']:.2f}x  "
            f"l2 {taken['loop, l2'] / taken['scan']:.2f}x  (scan {step:.0f} us a step)"
        )

    print("\nL2-ER, a step every 100 rows, over plain backprop at batch 1 (aim: at most 1.10)")
    widths, rows = (1000, 1000, 1000), 2_000
    taken = timing.interleaved(
        {
            "bp": steps_only("bp", widths, 1, rows),
            "l2": steps_only("l2", widths, 1, rows),
            "l2_er": steps_only("l2_er", widths, 1, rows, every=100),
            "pass": steps_only("bare_pass", widths, 1, rows),
        },
        arguments.rounds,
    )
    print(
        f"  784-1000-1000-1000-10            l2_er {taken['l2_er'] / taken['bp']:.2f}x  "
        f"l2 {taken['l2'] / taken['bp']:.2f}x  (bp {taken['bp'] / rows * 1e6:.0f} us a step)"
    )
    print(
        "  of that, the forward and backward pass over the 100 rows alone: "
        f"{taken['pass'] / taken['bp']:.2f}x"
    )


if __name__ == "__main__":
    main()
