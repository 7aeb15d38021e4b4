"""Time and accuracy of the effective rank's value and gradient, beside a differentiated SVD.

    python benchmarks/effective_rank.py

Both routes take float32 features of a collapsed spectrum, `sigma_i ~ exp(-0.15 i)`. They run
in turns, and the table shows medians of processor time; errors of the gradient are against
float64. Pin it to one core (`taskset -c 0`) for steady numbers.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np

from neoteny.probes import effective_rank

SHAPES_AND_ROUNDS = [((16, 100), 200), ((100, 100), 60), ((100, 1000), 60), ((1000, 1000), 5)]
CUT = 2.0**-22  # as in the library: singular values this far below the largest are dead


def by_svd(features):
    sigma = jnp.linalg.svd(features, compute_uv=False)
    p = sigma / jnp.sum(sigma)
    return jnp.exp(-jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1))))


def collapsed(rows, units):
    rng = np.random.default_rng(0)
    rank = min(rows, units)
    left, right = (np.linalg.qr(rng.normal(size=(n, rank)))[0] for n in (rows, units))
    return jnp.asarray((left * np.exp(-0.15 * np.arange(rank))) @ right.T, jnp.float32)


def exact_gradient(features):
    left, sigma, right = np.linalg.svd(np.asarray(features, np.float64), full_matrices=False)
    live = sigma > CUT * sigma[0]
    p = np.where(live, sigma, 0) / sigma[live].sum()
    logs = np.log(np.where(live, p, 1))
    slopes = -np.exp(-p @ logs) * (logs - p @ logs) / sigma[live].sum()
    return (left * np.where(live, slopes, 0)) @ right


def seconds(function, features):
    start = time.process_time()
    jax.block_until_ready(function(features))
    return time.process_time() - start


def main():
    routes = [jax.jit(jax.value_and_grad(route)) for route in (effective_rank, by_svd)]
    print(f"{'rows x units':>14} {'ours ms':>9} {'SVD ms':>9} {'ratio':>6}   gradient errors")
    for shape, rounds in SHAPES_AND_ROUNDS:
        features = collapsed(*shape)
        exact = exact_gradient(features)
        errors = [np.linalg.norm(f(features)[1] - exact) / np.linalg.norm(exact) for f in routes]
        times = [[seconds(route, features) for route in routes] for _ in range(rounds)]
        ours, svd = 1e3 * np.median(times, axis=0)
        name = f"{shape[0]} x {shape[1]}"
        print(
            f"{name:>14} {ours:9.3f} {svd:9.3f} {svd / ours:6.2f}   {errors[0]:.0e} {errors[1]:.0e}"
        )


if __name__ == "__main__":
    main()
