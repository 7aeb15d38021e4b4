"""What XLA's convolutions cost in a compiled loop on CPU, and what ours cost instead.

    python benchmarks/convolution.py [--cores 1] [--rounds 3] [--rows 32] [--slow]

For each convolution of the ConvNet and of ResNet-18: milliseconds of one gradient, and of one
Hessian-vector product, by `lax.conv_general_dilated` outside a loop; then, as ratios to that, the
same by `networks.convolution` in a `lax.scan` and, with `--slow`, by XLA's own there, which takes
minutes. All take turns in one process and are timed by processor time.
"""

import argparse
import statistics
import time

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--cores", type=int, default=1)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--rows", type=int, default=32)
parser.add_argument("--slow", action="store_true")
arguments = parser.parse_args()
timing.pin(arguments.cores)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from jax import lax  # noqa: E402

from neoteny.networks.convolution import LAYOUT, convolution  # noqa: E402

STEPS = 2
SHAPES = {  # side of the image, channels in and out, side of the kernel, stride
    "ConvNet 1": (32, 3, 32, 5, 1),
    "ConvNet 2": (16, 32, 64, 3, 1),
    "ConvNet 3": (8, 64, 128, 3, 1),
    "ResNet stem": (32, 3, 64, 3, 1),
    "ResNet stage 1": (32, 64, 64, 3, 1),
    "ResNet halving": (32, 64, 128, 3, 2),
    "ResNet shortcut": (32, 64, 128, 1, 2),
    "ResNet stage 4": (4, 512, 512, 3, 1),
}


def xla(inputs, kernel, *, stride):
    return lax.conv_general_dilated(
        inputs, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT
    )


def gradient(convolve, stride):
    return jax.grad(lambda x, w: jnp.sum(jnp.tanh(convolve(x, w, stride=stride))), (0, 1))


def hessian(convolve, stride):
    first = gradient(convolve, stride)
    return lambda x, w: jax.jvp(first, (x, w), (x[::-1], w[::-1]))[1]


def once(derivative):
    step = jax.jit(derivative)
    return lambda *at: [jax.block_until_ready(step(*at)) for _ in range(STEPS)]


def looped(derivative):
    def step(at, _):
        return tuple(old + 1e-6 * new for old, new in zip(at, derivative(*at), strict=True)), None

    loop = jax.jit(lambda *at: lax.scan(step, at, None, length=STEPS)[0])
    return lambda *at: jax.block_until_ready(loop(*at))


def seconds(jobs, at):
    taken = {name: [] for name in jobs}
    for lap in range(arguments.rounds + 1):
        for name, job in jobs.items():
            began = time.process_time()
            job(*at)
            if lap:
                taken[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def main():
    print(f"{timing.machine()}; {arguments.rows} rows")
    print(f"{'':16} {'gradient ms':>11} {'ours, loop':>10} {'XLA, loop':>10}", end="")
    print(f" {'product ms':>11} {'ours, loop':>10} {'XLA, loop':>10}")
    for name, (side, channels, units, window, stride) in SHAPES.items():
        keys = jax.random.split(jax.random.key(0))
        images = jax.random.normal(keys[0], (arguments.rows, side, side, channels))
        kernel = 0.1 * jax.random.normal(keys[1], (window, window, channels, units))
        print(f"{name:16}", end="", flush=True)
        for derivative in (gradient, hessian):
            jobs = {
                "once": once(derivative(xla, stride)),
                "ours": looped(derivative(convolution, stride)),
            }
            if arguments.slow:
                jobs["theirs"] = looped(derivative(xla, stride))
            times = seconds(jobs, (images, kernel))
            base = times.pop("once")
            ratios = [
                f"{times[job] / base:10.2f}" if job in times else f"{'':10}"
                for job in ("ours", "theirs")
            ]
            print(f" {1e3 * base / STEPS:11.2f}", *ratios, end="", flush=True)
        print()


if __name__ == "__main__":
    main()
