"""What Lanczos's basis in float16, or none at all, saves and what it does to the numbers.

    python benchmarks/basis.py [--rows 500] [--steps 60] [--width 300] [--rounds 3]

One probe of the Hessian of a ReLU network 784-width-width-width-10 that has learnt its random
labels for a while, so that its spectrum has outliers and a bulk; all forms of the basis take
turns. The first line is full re-orthogonalisation in float64, the yardstick of the errors.
"""

import argparse

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rows", type=int, default=500, help="of the batch")
parser.add_argument("--steps", type=int, default=60, help="of Lanczos")
parser.add_argument("--width", type=int, default=300, help="of each hidden layer")
parser.add_argument("--rounds", type=int, default=3, help="timings of each, taking turns")
arguments = parser.parse_args()
timing.pin(1)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from spectrum import cross_entropy, problem  # noqa: E402

from neoteny import curvature  # noqa: E402

KEY = jax.random.key(2)
EPSILON = 0.3


def trained(params, batch):
    """A hundred steps of plain gradient descent."""
    step = lambda _, params: jax.tree.map(
        lambda p, g: p - 0.05 * g, params, jax.grad(cross_entropy)(params, batch)
    )
    return jax.jit(lambda params: jax.lax.fori_loop(0, 100, step, params))(params)


def job(params, batch, basis):
    @jax.jit
    def coefficients(params, batch):
        operator = curvature.hessian_vector_product(lambda p: cross_entropy(p, batch), params)
        coins = jax.random.bits(KEY, (operator.size,), jnp.uint8) & 1  # alike in both types
        start = 2 * coins.astype(operator.dtype) - 1
        result = curvature.lanczos(operator.matvec, start, arguments.steps, basis=basis)
        return result.alphas, result.betas

    compiled = coefficients.lower(params, batch).compile()
    memory = compiled.memory_analysis().temp_size_in_bytes
    return memory, lambda: [np.asarray(part) for part in compiled(params, batch)]


def numbers(coefficients, size):
    spectrum = curvature.quadrature(*(part[None] for part in coefficients))
    return {
        "largest": curvature.extreme_eigenvalues(spectrum).largest,
        "trace": float(curvature.trace(spectrum, size).value),
        f"rank above {EPSILON:g}": float(curvature.epsilon_rank(spectrum, size, EPSILON).value),
        "effective rank": float(curvature.effective_rank(spectrum, size).value),
    }


def main():
    params, batch = problem(arguments.rows, arguments.width)
    params = trained(params, batch)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), params)
        double = (jnp.asarray(np.asarray(batch[0]), jnp.float64), batch[1])
        exact = numbers(job(wide, double, "full")[1](), size)
    jobs = {basis: job(params, batch, basis) for basis in ("full", "half", "none")}
    seconds = timing.interleaved({name: run for name, (_, run) in jobs.items()}, arguments.rounds)

    print(timing.machine())
    print(f"{size:,} parameters, {arguments.rows} rows, {arguments.steps} steps, one probe\n")
    print(f"{'basis':10}{'s':>8}{'MB':>8}" + "".join(f"{name:>17}" for name in exact))
    show = lambda values: "".join(f"{value:17.6g}" for value in values)
    print(f"{'float64':10}{'':>16}{show(exact.values())}")
    for name, (memory, run) in jobs.items():
        found = numbers(run(), size)
        print(f"{name:10}{seconds[name]:8.2f}{memory / 1e6:8.0f}{show(found.values())}")
        off = [f"{100 * (found[key] / exact[key] - 1):+.3g} %" for key in exact]
        print(" " * 26 + "".join(f"{error:>17}" for error in off))


if __name__ == "__main__":
    main()
