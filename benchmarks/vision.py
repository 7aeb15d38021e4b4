"""Training and curvature of image networks, beside PyTorch's eager loop and hand-written JAX.

    python benchmarks/vision.py [--rounds 3] [--only convnet] [--steps 10]
    python benchmarks/vision.py --device-report [--seeds 16] [--steps 10]

Images are 32 x 32 x 3 and random. All sides of a ratio take turns in one process on one core, and
are timed by its processor time. Ours is `trainer(...).learn`, jitted: the whole scan, with its
online accuracy and loss. PyTorch's modules get the same weights, and before anything is timed
their logits, and their loss over all steps, are compared with ours. They run in both layouts of
memory, and the better counts. PyTorch is no dependency: `pip install torch` beside neoteny.

The report is of the speed of a GPU, or whatever device JAX finds, and takes a minute or so there.
"""

import argparse
import time
from collections.abc import Callable
from itertools import count

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument(
    "--only", choices=("convnet", "resnet", "transformer", "loop", "spectrum", "data")
)
parser.add_argument("--steps", type=int, help="of every measurement, instead of its own number")
parser.add_argument("--device-report", action="store_true")
parser.add_argument("--seeds", type=int, default=16, help="of the report, side by side")
arguments = parser.parse_args()
if not arguments.device_report:
    timing.pin(1)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import optax  # noqa: E402
from jax import lax  # noqa: E402

from neoteny import curvature, loop, networks, streams  # noqa: E402
from neoteny.config import RunConfig, Setting  # noqa: E402
from neoteny.losses import cross_entropy, task_loss  # noqa: E402
from neoteny.training import minibatches, trainer  # noqa: E402
from neoteny.types import Batch, Dataset, forward  # noqa: E402

KEY, SHAPE, CLASSES = jax.random.key(0), (32, 32, 3), 10
RATE, MOMENTUM = 0.01, 0.9
SAME_LOGITS, SAME_LOSS = 1e-4, 1e-3  # float32, each library's sums in its own order


def noise(rows: int, shape=SHAPE) -> Batch:
    keys = jax.random.split(KEY)
    labels = jax.random.randint(keys[1], (rows,), 0, CLASSES, dtype=jnp.int32)
    return Batch(jax.random.uniform(keys[0], (rows, *shape)), labels)


def training(kind: str, batch: int, steps: int, shape=SHAPE, **options):
    """A network, its trainer, initial parameters and rows for so many steps."""
    network = networks.make(kind, shape, CLASSES, options)
    optimiser = optax.sgd(RATE, momentum=MOMENTUM)
    parts = trainer(network, cross_entropy, optimiser, batch=batch)
    return network, parts, jax.jit(network.init)(KEY), noise(batch * steps, shape)


def size(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def ours(parts, params, data) -> Callable[[], float]:
    learner, learn = parts.initialise(params), jax.jit(parts.learn)
    return lambda: float(learn(learner, data, KEY)[1].online_loss)


def shown_to_ours(rows: int, batch: int) -> np.ndarray:
    """The row numbers of each step, as `learn` draws them."""
    return np.array(minibatches(jax.random.fold_in(KEY, 0), rows, batch, 1))


def eager(kind: str, network, params, data, batch: int, loss: float) -> dict[str, Callable]:
    """PyTorch's steps in each layout, once they are seen to be the same as ours."""
    import torch
    import torch_vision

    torch.set_num_threads(1)
    inputs, labels = map(np.array, data)
    logits = forward(network, params, data.inputs[:batch], network.state)[0]
    jobs = {}
    for name, layout in (("NCHW", torch.contiguous_format), ("NHWC", torch.channels_last)):
        model = torch_vision.MODULES[kind](jax.tree.map(np.asarray, params))
        assert torch_vision.size(model) == size(params)
        torch_vision.pad_as_xla(model, True)
        theirs = torch_vision.logits(model, inputs[:batch])
        np.testing.assert_allclose(theirs, logits, rtol=0, atol=SAME_LOGITS)
        order = shown_to_ours(len(labels), batch)
        train = torch_vision.trainer(model, inputs, labels, order, layout, RATE, MOMENTUM)
        np.testing.assert_allclose(train(), loss, rtol=SAME_LOSS)
        torch_vision.pad_as_xla(model, False)
        jobs[name] = train
    return jobs


def medians(jobs: dict[str, Callable]) -> dict[str, float]:
    return timing.interleaved(jobs, arguments.rounds, time.process_time)


def against_pytorch(kind: str, batch: int, steps: int, aim: str) -> None:
    steps = arguments.steps or steps
    network, parts, params, data = training(kind, batch, steps)
    jobs = {"ours": ours(parts, params, data)}
    jobs |= eager(kind, network, params, data, batch, jobs["ours"]())
    taken = {name: 1e3 * seconds / steps for name, seconds in medians(jobs).items()}
    best = min(taken["NCHW"], taken["NHWC"])
    print(
        f"  {kind}, {size(params):,} parameters, batch {batch}: {best / taken['ours']:.2f}x as "
        f"fast (aim: {aim}; ms a step: ours {taken['ours']:.1f}, NCHW {taken['NCHW']:.1f}, "
        f"channels_last {taken['NHWC']:.1f})",
        flush=True,
    )


def plain_logits(params, images, pool: Callable):
    """The ConvNet as a person would write it in JAX."""
    for layer in params[:3]:
        images = lax.conv_general_dilated(
            images, layer["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = pool(jax.nn.relu(images + layer["bias"]))
    hidden = images.reshape(len(images), -1)
    for layer in params[3:-1]:
        hidden = jax.nn.relu(hidden @ layer["kernel"] + layer["bias"])
    return hidden @ params[-1]["kernel"] + params[-1]["bias"]


def window_pool(images):
    return lax.reduce_window(images, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


POOLS = {"reduce_window": window_pool, "our pooling": networks.max_pool}


def plain_loss(params, batch: Batch, pool: Callable):
    outputs = plain_logits(params, batch.inputs, pool)
    chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), batch.labels[:, None], 1)
    return -jnp.mean(chosen)


def dispatched(params, data: Batch, batch: int, pool: Callable) -> Callable[[], float]:
    """Steps of SGD, one call from Python each: convolutions are slow in XLA's loops on CPU."""

    @jax.jit
    def step(params, velocity, data, chosen):
        rows = Batch(data.inputs[chosen], data.labels[chosen])
        loss, slope = jax.value_and_grad(plain_loss)(params, rows, pool)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, slope)
        return jax.tree.map(lambda p, v: p - RATE * v, params, velocity), velocity, loss

    order = shown_to_ours(len(data.labels), batch)

    def train() -> float:
        weights, velocity, losses = params, jax.tree.map(jnp.zeros_like, params), []
        for chosen in order:
            weights, velocity, loss = step(weights, velocity, data, chosen)
            losses.append(loss)
        return float(np.mean(losses))

    return train


def best_of(taken: dict[str, float]) -> tuple[str, float]:
    name = min(POOLS, key=taken.__getitem__)
    return name, taken[name]


def loop_over_dispatch(batch: int, steps: int) -> None:
    steps = arguments.steps or steps
    _, parts, params, data = training("convnet", batch, steps)
    jobs = {"ours": ours(parts, params, data)}
    jobs |= {name: dispatched(params, data, batch, pool) for name, pool in POOLS.items()}
    for job in jobs.values():
        np.testing.assert_allclose(job(), jobs["ours"](), rtol=SAME_LOSS)
    taken = medians(jobs)
    name, best = best_of(taken)
    print(
        f"  convnet, batch {batch}: {taken['ours'] / best:.2f}x "
        f"(aim: at most 1.2; by hand {1e3 * best / steps:.1f} ms a step, pooling by {name})",
        flush=True,
    )


def spectrum(rows: int, steps: int) -> None:
    steps = arguments.steps or steps
    network, _, params, batch = training("convnet", rows, 1)

    @jax.jit
    def coefficients(params, batch):
        loss = task_loss(network, cross_entropy, batch)
        return curvature.lanczos_coefficients(loss, params, KEY, steps, 1)

    def products(pool):
        vector = jax.tree.map(jnp.ones_like, params)

        @jax.jit
        def product(params, batch, vector):
            slope = jax.grad(lambda params: plain_loss(params, batch, pool))
            return jax.jvp(slope, (params,), (vector,))[1]

        return lambda: jax.block_until_ready([product(params, batch, vector) for _ in range(steps)])

    jobs = {"ours": lambda: curvature.quadrature(*coefficients(params, batch))}
    jobs |= {name: products(pool) for name, pool in POOLS.items()}
    taken = medians(jobs)
    name, best = best_of(taken)
    print(
        f"  convnet, {rows} rows, {steps} steps: {taken['ours'] / best:.2f}x "
        f"(aim: at most 1.3; a product {1e3 * best / steps:.0f} ms, pooling by {name})",
        flush=True,
    )


def many_classes(folder=None, progress=None) -> Dataset:
    """The shape of CIFAR-100, as bytes."""
    bits = np.random.default_rng(0)
    halves = []
    for rows in (500, 100):
        inputs = bits.integers(0, 256, (100 * rows, *SHAPE), np.uint8)
        labels = np.tile(np.arange(100, dtype=np.int32), rows)
        halves.append(Batch(jnp.asarray(inputs), jnp.asarray(labels)))
    return Dataset("hundred", *halves, 100, SHAPE)


def taking_a_task(rule: str, index: int) -> None:
    streams.DATASETS["hundred"] = many_classes
    setting = Setting.model_validate(
        {
            "stream": {"rule": rule, "dataset": "hundred"},
            "network": {"kind": "convnet", "widths": (128, 128)},
            "training": {"optimiser": "momentum", "learning_rate": RATE, "batch": 100},
        }
    )
    config = RunConfig(
        study="benchmark", stream="noise", method="bp", seed=0, tasks=index + 1,
        hyperparameters={}, setting=setting,
    )  # fmt: skip
    stream, machine = loop.prepare(config)
    task, numbers = stream(KEY, index), count(index)
    learner = machine.trainer.initialise(machine.network.init(KEY))
    taken = medians(
        {
            "take": lambda: jax.block_until_ready(stream(KEY, next(numbers))),
            "learn": lambda: jax.block_until_ready(loop.learn(machine, learner, task, KEY)),
        }
    )
    steps, share = loop.steps(machine, task, setting.training), taken["take"] / taken["learn"]
    print(
        f"  {rule}, {steps} steps at batch 100: {100 * share:.1f} % "
        f"(aim: at most 5 %; {1e3 * taken['take']:.0f} ms of {1e3 * taken['learn']:.0f})",
        flush=True,
    )


def compare() -> None:
    print(timing.machine())
    wanted = lambda part: arguments.only in (None, part)
    if wanted("convnet") or wanted("resnet") or wanted("transformer"):
        try:
            import torch
        except ImportError:
            print("\nPyTorch is not installed here, so its steps are left out.")
        else:
            print(f"\nSteps of training over PyTorch {torch.__version__}, eager, its better layout")
            for kind, batch, steps, aim in (
                ("convnet", 32, 40, "1.1x"),
                ("convnet", 100, 15, "1.1x"),
                ("resnet", 32, 3, "1x"),
                ("transformer", 32, 40, "1x"),
            ):
                if wanted(kind):
                    against_pytorch(kind, batch, steps, aim)
    if wanted("loop"):
        print("\nThe loop over a step of plain JAX, jitted and called from Python")
        for batch, steps in ((32, 40), (100, 15)):
            loop_over_dispatch(batch, steps)
    if wanted("spectrum"):
        print("\nA Hessian spectrum, one probe, over as many products of plain JAX, called singly")
        spectrum(200, 20)
    if wanted("data"):
        print("\nTaking a task from its stream, of the time to learn it once by the ConvNet")
        taking_a_task("class-pairs", 1)
        taking_a_task("incremental-classes", 1)


def pace(kind: str, batch: int, steps: int, seeds: int, **options) -> float:
    """Steps per second of each seed: whole calls until two seconds are over, after one."""
    steps = arguments.steps or steps
    network, parts, _, data = training(kind, batch, steps, **options)
    keys = jax.random.split(KEY, seeds)
    learner = jax.jit(jax.vmap(lambda key: parts.initialise(network.init(key))))(keys)
    learn = jax.jit(jax.vmap(parts.learn, (0, None, 0)))
    if seeds == 1:
        learner, keys, learn = jax.tree.map(lambda a: a[0], learner), keys[0], jax.jit(parts.learn)
    learner, _ = jax.block_until_ready(learn(learner, data, keys))
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < 2:
        learner, _ = jax.block_until_ready(learn(learner, data, keys))
        calls += 1
    return calls * steps / (time.perf_counter() - began)


def report() -> None:
    device = jax.devices()[0]
    print(f"{device.device_kind} ({device.platform}), JAX {jax.__version__}, float32", flush=True)
    began = time.perf_counter()
    for kind, batch, steps in (("convnet", 100, 200), ("resnet", 100, 20)):
        one = pace(kind, batch, steps, 1)
        print(f"  {kind}, batch {batch}, 1 seed: {batch * one:.0f} images/s", flush=True)
        many = arguments.seeds * pace(kind, batch, steps, arguments.seeds)
        print(
            f"  {kind}, batch {batch}, {arguments.seeds} seeds by vmap: "
            f"{batch * many:.0f} images/s, {many / one:.1f}x",
            flush=True,
        )
    for seeds in (1, arguments.seeds):
        steps = pace("mlp", 100, 500, seeds, shape=(784,), widths=(1000, 1000, 1000))
        print(
            f"  mlp 784-1000-1000-1000-10, batch 100, {seeds} seed(s): {seeds * steps:.0f} steps/s",
            flush=True,
        )
    print(f"  all this, compiling included: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    report() if arguments.device_report else compare()
