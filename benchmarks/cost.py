"""What the cost model predicts, beside what the probes take; and its table for large networks.

    python benchmarks/cost.py [--rows 500] [--width 500] [--steps 32] [--rounds 3]
    python benchmarks/cost.py --table

The first measures every probe beside this machine's speed of matrix products and of memory, on
one core, in rounds that take turns; times are medians of processor time. The second
computes nothing but the model, and prints the table of `docs/cost.md`.
"""

import argparse
import statistics
import time

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--table", action="store_true", help="print the model's table alone")
parser.add_argument("--rows", type=int, default=500)
parser.add_argument("--gram-rows", type=int, default=20)
parser.add_argument("--width", type=int, default=500, help="units of each of two hidden layers")
parser.add_argument("--steps", type=int, default=32, help="of Lanczos")
parser.add_argument("--rounds", type=int, default=3)
arguments = parser.parse_args()
timing.pin(1)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from neoteny import curvature  # noqa: E402
from neoteny.curvature import cost  # noqa: E402
from neoteny.networks import mlp  # noqa: E402
from neoteny.probes import (  # noqa: E402
    feature_ranks,
    random_label_probe_with,
    trainability_probe,
    unit_health,
)
from neoteny.types import Batch, Snapshot  # noqa: E402

FLOPS, BANDWIDTH, MEMORY = 50e12, 3e12, 80e9
"""An accelerator's float32 operations and bytes in a second, as assumed for the table."""


def yardsticks():
    """A float32 matrix product and a sum of long vectors, and their operations and bytes."""
    side, count = 1024, 2**24
    square, long = jnp.ones((side, side)), jnp.ones(count)
    product, total = jax.jit(jnp.matmul), jax.jit(lambda a, b: a + b)
    work = {"product": 2 * side**3, "sum": 3 * 4 * count}
    return {"product": lambda: product(square, square), "sum": lambda: total(long, long)}, work


def medians(jobs):
    """Median seconds of processor time of each job, all jobs taking turns, after one round."""
    seconds = {name: [] for name in jobs}
    for lap in range(arguments.rounds + 1):
        for name, job in jobs.items():
            began = time.process_time()
            jax.block_until_ready(job())
            if lap:
                seconds[name].append(time.process_time() - began)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def jobs(widths, setting):
    """Every probe of the plan, compiled as a whole where it can be."""
    key = jax.random.key(0)
    network = mlp(widths)
    params = network.init(key)
    inputs = jax.random.uniform(key, (setting.rows, widths[0]))
    batch = Batch(inputs, jnp.arange(setting.rows, dtype=jnp.int32) % widths[-1])
    few = jax.tree.map(lambda array: array[: setting.gram_rows], batch)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    vector = jax.random.normal(key, (size,))
    outputs = lambda params, inputs: network.apply(params, inputs)[0]
    seen = lambda params, batch: Snapshot(network, batch, params, params, lambda p: 0.0, key)

    def loss(params, batch):
        scores = jax.nn.log_softmax(outputs(params, batch.inputs))
        return -jnp.mean(jnp.take_along_axis(scores, batch.labels[:, None], axis=1))

    def hessian(params, batch):
        return curvature.hessian_vector_product(lambda p: loss(p, batch), params)

    def ggn(params, batch):
        return curvature.ggn_vector_product(lambda p: outputs(p, batch.inputs), params)

    def spectrum(operator):
        of = lambda params, batch: curvature.operator_coefficients(
            operator(params, batch), key, setting.steps, setting.probes, batch_probes=False
        )
        coefficients = jax.jit(of)
        return lambda: curvature.quadrature(*coefficients(params, batch))

    def by_gram():
        matrix = jax.jit(lambda p, b: curvature.gram_matrix(lambda q: outputs(q, b.inputs), p))
        return lambda: curvature.gram_spectrum(matrix(params, few), size)

    def on(function, rows=batch):
        compiled = jax.jit(function)
        return lambda: compiled(params, rows)

    fit = random_label_probe_with(steps=setting.fit_steps)
    return {
        "gradient": on(jax.grad(loss)),
        "Hessian product": on(lambda p, b: hessian(p, b).matvec(vector)),
        "GGN product": on(lambda p, b: ggn(p, b).matvec(vector)),
        "Hessian spectrum": spectrum(hessian),
        "GGN spectrum": spectrum(ggn),
        "GGN by Gram matrix": by_gram(),
        "feature ranks": on(
            lambda p, b: [feature_ranks(layer) for layer in network.apply(p, b.inputs)[1]]
        ),
        "unit statistics": on(lambda p, b: unit_health(network, p, b.inputs)),
        "trainability": on(lambda p, b: trainability_probe(seen(p, b)), few),
        "random labels": on(lambda p, b: fit(seen(p, b))),
    }


def measure() -> None:
    widths = (784, arguments.width, arguments.width, 10)
    setting = cost.Setting(
        rows=arguments.rows, fit_rows=arguments.rows, gram_rows=arguments.gram_rows,
        steps=arguments.steps, probes=1, fit_steps=10,
    )  # fmt: skip
    model = cost.dense(widths)
    print(timing.machine())
    sticks, work = yardsticks()
    taken = medians(sticks | jobs(widths, setting))
    peak, bandwidth = (work[name] / taken[name] for name in ("product", "sum"))
    print(f"{peak / 1e9:.0f} Gflop/s of matrix products, {bandwidth / 1e9:.1f} GB/s")
    print(f"{'-'.join(map(str, widths))}, {model.parameters:,} parameters")
    print(f"{setting}\n")
    print(f"{'':20}{'predicted ms':>14}{'measured ms':>13}{'ratio':>8}")
    for probe in cost.plan(model, setting):
        predicted, measured = probe.seconds(peak, bandwidth), taken[probe.probe]
        ratio = measured / predicted
        print(f"{probe.probe:20}{1e3 * predicted:14.2f}{1e3 * measured:13.2f}{ratio:8.2f}")


def table() -> None:
    setting = cost.Setting()
    cases = [
        ("784-1000-1000-1000-10", cost.dense((784, 1000, 1000, 1000, 10))),
        ("15 layers of 8 192", cost.deep(1e9, 8192, 10)),
        ("37 layers of 16 384", cost.deep(1e10, 16384, 10)),
        ("93 layers of 32 768", cost.deep(1e11, 32768, 10)),
    ]
    for name, model in cases:
        print(f"\n**{model.parameters:.2g} parameters** ({name})\n")
        print("| probe | flop | bytes moved | memory | time | in 80 GB |")
        print("|---|--:|--:|--:|--:|---|")
        verdicts = cost.fits(model, MEMORY, setting)
        for probe, verdict in zip(cost.plan(model, setting), verdicts, strict=True):
            print(
                f"| {probe.probe} | {probe.flops:.1e} | {probe.bytes:.1e} "
                f"| {scaled(probe.memory, 1000, BYTES)} "
                f"| {scaled(1e6 * probe.seconds(FLOPS, BANDWIDTH), 1000, TIMES)} "
                f"| {'yes' if verdict.fits else verdict.advice} |"
            )


BYTES, TIMES = ("B", "kB", "MB", "GB", "TB", "PB"), ("µs", "ms", "s", "ks", "Ms")


def scaled(value, step, units):
    for unit in units[:-1]:
        if value < step:
            return f"{value:.3g} {unit}"
        value /= step
    return f"{value:.3g} {units[-1]}"


if __name__ == "__main__":
    table() if arguments.table else measure()
