"""What a Hessian spectrum costs on top of the Hessian-vector products it is made of.

Times one probe of Lanczos beside the same number of bare products, both jitted, in rounds
that take turns. The default is 2.8 million parameters and takes a few minutes:

    python benchmarks/spectrum.py
    python benchmarks/spectrum.py --rows 200 --steps 10 --width 100
"""

import argparse
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp

from neoteny import curvature


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000, help="rows of the batch")
    parser.add_argument("--steps", type=int, default=100, help="Lanczos steps")
    parser.add_argument("--width", type=int, default=1000, help="units of each hidden layer")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, taking turns")
    options = parser.parse_args()

    params, batch = problem(options.rows, options.width)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    key = jax.random.key(2)
    bare, lanczos = (
        function.lower(params, batch, key, options.steps).compile()
        for function in (products, coefficients)
    )
    variants = {
        "products": bare,
        "spectrum": lambda *arguments: curvature.quadrature(*lanczos(*arguments)),
    }
    times = {name: [] for name in variants}
    for _ in range(options.rounds):
        for name, run in variants.items():
            times[name].append(timed(run, params, batch, key))

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {cores} cores, {jax.default_backend()}; {size:,} parameters,")
    print(f"{options.rows} rows, {options.steps} steps, medians of {options.rounds} rounds\n")
    print(f"{'':24}{'wall s':>10}{'CPU s':>10}")
    medians = {
        name: [statistics.median(c) for c in zip(*t, strict=True)] for name, t in times.items()
    }
    for name, label in [("products", "bare products"), ("spectrum", "whole spectrum")]:
        print(f"{label:24}" + "".join(f"{seconds:10.2f}" for seconds in medians[name]))
    extra = [
        100 * (w / b - 1) for w, b in zip(medians["spectrum"], medians["products"], strict=True)
    ]
    print(
        f"\neverything that is not a Hessian-vector product costs {extra[0]:.0f} % on top "
        f"({extra[1]:.0f} % in CPU time)"
    )


def problem(rows, width):
    """A ReLU network 784-width-width-width-10 as initialised, on random inputs and labels."""
    sizes = [784, width, width, width, 10]
    keys = jax.random.split(jax.random.key(0), 6)
    params = [
        {"kernel": jax.random.normal(k, (a, b)) * (2 / a) ** 0.5, "bias": jnp.zeros(b)}
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]
    inputs = jax.random.uniform(keys[4], (rows, 784))
    return params, (inputs, jax.random.randint(keys[5], (rows,), 0, 10))


def cross_entropy(params, batch):
    hidden, labels = batch
    for layer in params[:-1]:
        hidden = jax.nn.relu(hidden @ layer["kernel"] + layer["bias"][None])
    logits = hidden @ params[-1]["kernel"] + params[-1]["bias"][None]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -jnp.mean(chosen)


@jax.jit(static_argnames="steps")
def products(params, batch, key, steps):
    """The same products and nothing else: each input hangs on the last, lest XLA skip any."""
    operator = curvature.hessian_vector_product(lambda p: cross_entropy(p, batch), params)
    start = jax.random.rademacher(key, (operator.size,), operator.dtype)
    advance = lambda last, _: (operator.matvec(start.at[0].set(last[0])), None)
    return jax.lax.scan(advance, start, length=steps)[0]


@jax.jit(static_argnames="steps")
def coefficients(params, batch, key, steps):
    loss = lambda p: cross_entropy(p, batch)
    return curvature.lanczos_coefficients(loss, params, key, steps, 1)


def timed(run, *arguments):
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(run(*arguments))
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
