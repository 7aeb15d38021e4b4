"""The whole spectrum of a Hessian, one probe, beside other ways to the same numbers.

    python benchmarks/curvature.py [--rows 2000] [--steps 100] [--rounds 1] [--cores 1]

All do Lanczos of as many steps from one start vector on one network, 784-1000-1000-1000-10, in
float32 with full re-orthogonalisation, and take turns in one process; that their top Ritz values
agree is checked. Beside it stand the speed of our products and what is not a product. At the
defaults this takes some twenty minutes and 3 GB, as every job runs once more to compile.

None of the others is a dependency: `pip install torch pyhessian curvlinops-for-pytorch matfree`
beside neoteny. What is not installed is left out.
"""

import argparse
import contextlib
import statistics
import time
from importlib import metadata

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rows", type=int, default=2000, help="of the batch, a multiple of 100")
parser.add_argument("--steps", type=int, default=100, help="of Lanczos")
parser.add_argument("--rounds", type=int, default=1, help="timings of each, taking turns")
parser.add_argument("--cores", type=int, default=1)
arguments = parser.parse_args()
if arguments.rows < 1 or arguments.rows % 100:
    parser.error(f"--rows is {arguments.rows}, but the published procedure takes rows by 100.")
timing.pin(arguments.cores)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.flatten_util import ravel_pytree  # noqa: E402
from spectrum import coefficients, cross_entropy, problem, products  # noqa: E402

from neoteny import curvature  # noqa: E402

KEY = jax.random.key(2)
AGREES = 1e-3  # relative; float32 sums over millions of entries, each library in its own order
AIMS = {"PyHessian's products": 1.75, "curvlinops": 3.0, "matfree": 2.5, "as published": 4.0}


def ours(params, batch, start, steps):
    del start  # drawn from the key within
    run = coefficients.lower(params, batch, KEY, steps).compile()
    return lambda: [np.asarray(part)[0] for part in run(params, batch, KEY)]


def torch_network(params, batch):
    import torch

    torch.set_num_threads(arguments.cores)
    layers: list = []
    for layer in params:
        linear = torch.nn.Linear(*layer["kernel"].shape)
        linear.weight.data = torch.from_numpy(np.array(layer["kernel"].T, order="C"))
        linear.bias.data = torch.from_numpy(np.array(layer["bias"]))
        layers += [linear, torch.nn.ReLU()]
    inputs, labels = batch
    data = torch.from_numpy(np.array(inputs)), torch.from_numpy(np.array(labels, np.int64))
    return torch.nn.Sequential(*layers[:-1]), torch.nn.CrossEntropyLoss(), data


def torch_start(params, start):
    """The same vector in PyTorch's order: weights as (out, in), and before the bias."""
    import torch

    tree = ravel_pytree(params)[1](start)
    parts = [np.ravel(part) for layer in tree for part in (layer["kernel"].T, layer["bias"])]
    return torch.from_numpy(np.concatenate(parts))


def torch_lanczos(multiply, start, steps):
    """Our Lanczos, in place and by BLAS: a second pass where the first cancelled much.

    Dot products and lengths are sums, as `dot` and `vector_norm` err by 3e-4 over millions.
    """
    import torch

    dot = lambda one, other: float((one * other).sum())
    basis = torch.zeros(steps, start.numel())
    current, previous, beta = start / dot(start, start) ** 0.5, torch.zeros_like(start), 0.0
    alphas, betas = [], []
    for index in range(steps):
        basis[index] = current
        product = multiply(current)
        alpha = dot(current, product)
        rest = product.sub_(current, alpha=alpha).sub_(previous, alpha=beta)
        filled, length = basis[: index + 1], dot(rest, rest) ** 0.5
        for _ in range(2):
            before = length
            rest.addmv_(filled.T, filled @ rest, alpha=-1)
            length = dot(rest, rest) ** 0.5
            if length >= 0.5**0.5 * before:
                break
        previous, current, beta = current, rest / length, length
        alphas.append(alpha)
        betas.append(beta)
    return alphas, betas


def pyhessian(params, batch, start, steps):
    import torch

    try:
        from pyhessian.utils import hessian_vector_product
    except ImportError:
        print("PyHessian is not installed: the double backward pass it consists of stands in.")

        def hessian_vector_product(gradient, weights, vector):
            return torch.autograd.grad(gradient, weights, vector, retain_graph=True)

    model, loss, (inputs, labels) = torch_network(params, batch)
    weights, begin = list(model.parameters()), torch_start(params, start)

    def run():
        gradient = torch.autograd.grad(loss(model(inputs), labels), weights, create_graph=True)

        def multiply(vector):
            parts = vector.split([weight.numel() for weight in weights])
            parts = [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
            product = hessian_vector_product(gradient, weights, parts)
            return torch.cat([part.reshape(-1) for part in product])

        return torch_lanczos(multiply, begin, steps)

    return run


def curvlinops(params, batch, start, steps):
    from curvlinops import HessianLinearOperator

    model, loss, data = torch_network(params, batch)
    begin = torch_start(params, start)
    weights = list(model.parameters())
    operator = HessianLinearOperator(model, loss, weights, [data], check_deterministic=False)
    return lambda: torch_lanczos(lambda vector: operator @ vector, begin, steps)


def forward_over_reverse(unravel):
    def product(vector, flat, batch):
        slope = jax.grad(lambda flat: cross_entropy(unravel(flat), batch))
        return jax.jvp(slope, (flat,), (vector,))[1]

    return product


def matfree(params, batch, start, steps):
    from matfree import decomp

    flat, unravel = ravel_pytree(params)
    tridiagonalise = decomp.tridiag_sym(steps, materialize=False, reortho="full")

    @jax.jit
    def run(start, flat, batch):
        result = tridiagonalise(forward_over_reverse(unravel), start, flat, batch)
        alphas, betas = result.J_small
        return alphas, jnp.append(betas, jnp.linalg.norm(result.residual))

    return lambda: [np.asarray(part) for part in run(start, flat, batch)]


def published(params, batch, start, steps):
    """One operation after the other, but for the product of a chunk: that is jitted.

    Means of the products of chunks of 100 rows, one modified Gram-Schmidt pass of a dot product
    and an update for each earlier vector, and the smoothed density, point by point.
    """
    flat, unravel = ravel_pytree(params)
    product = jax.jit(forward_over_reverse(unravel))
    chunks = [
        jax.tree.map(lambda rows, top=top: rows[top : top + 100], batch)
        for top in range(0, arguments.rows, 100)
    ]

    def multiply(vector):
        total = jnp.zeros_like(vector)
        for chunk in chunks:
            total = total + product(vector, flat, chunk)
        return total / len(chunks)

    def run():
        basis, alphas, betas = [start / jnp.linalg.norm(start)], [], []
        for index in range(steps):
            rest = multiply(basis[index])
            alphas.append(jnp.vdot(basis[index], rest))
            rest = rest - alphas[index] * basis[index]
            if index:
                rest = rest - betas[index - 1] * basis[index - 1]
            for vector in basis:
                rest = rest - jnp.vdot(vector, rest) * vector
            betas.append(jnp.linalg.norm(rest))
            basis.append(rest / betas[index])
        diagonals = np.array(alphas), np.array(betas)
        smoothed(*diagonals)
        return diagonals

    return run


def smoothed(alphas, betas):
    tridiagonal = np.diag(alphas) + np.diag(betas[:-1], 1) + np.diag(betas[:-1], -1)
    nodes, vectors = np.linalg.eigh(tridiagonal)
    weights = vectors[0] ** 2
    grid = np.linspace(nodes[0] - 0.01, nodes[-1] + 0.01, 10_000)
    variance, curve = 1e-5 * max(1.0, grid[-1] - grid[0]), np.zeros(len(grid))
    for place, point in enumerate(grid):
        kernel = np.exp(-((point - nodes) ** 2) / (2 * variance))
        curve[place] = np.sum(weights * kernel) / np.sqrt(2 * np.pi * variance)
    return grid, curve / (np.sum(curve) * (grid[1] - grid[0]))


def flops(params, batch, start, steps):
    """Of the bare products, as XLA counts them; linearising once is among them."""

    def several(count):
        def run(params, batch, vectors):
            loss = lambda params: cross_entropy(params, batch)
            operator = curvature.hessian_vector_product(loss, params)
            return [operator.matvec(vector) for vector in vectors]

        analysis = jax.jit(run).lower(params, batch, [start] * count).compile().cost_analysis()
        return analysis["flops"]

    return several(1) + (steps - 1) * (several(2) - several(1))


def peak(best):
    """Square float32 matrix products, by XLA and by NumPy's BLAS; keeps the best flop/s."""
    square = lambda library, side: library.ones((side, side), library.float32)
    multiply = jax.jit(jnp.matmul)
    pairs = [(square(jnp, side), square(np, side)) for side in (1000, 2000, 3000)]

    def run():
        for ours, theirs in pairs:
            for job in (lambda: multiply(ours, ours), lambda: theirs @ theirs):  # noqa: B023
                for _ in range(3):
                    wall, cpu = time.perf_counter(), time.process_time()
                    jax.block_until_ready(job())
                    taken = time.perf_counter() - wall, time.process_time() - cpu
                    for place, seconds in enumerate(taken):
                        best[place] = max(best[place], 2 * len(theirs) ** 3 / seconds)

    return run


def build(makers, *problem):
    jobs = {}
    for name, make in makers.items():
        try:
            jobs[name] = make(*problem)
        except ImportError as error:
            print(f"{name}: left out ({error})")
    return jobs


def versions():
    found = []
    for package in ("jax", "torch", "pyhessian", "curvlinops-for-pytorch", "matfree"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{package} {metadata.version(package)}")
    return ", ".join(found)


def watched(jobs, seconds, results):
    """The jobs, writing down their processor time and what they found."""

    def watch(name, job):
        def run():
            began = time.process_time()
            results[name] = job()
            seconds.setdefault(name, []).append(time.process_time() - began)

        return run

    return {name: watch(name, job) for name, job in jobs.items()}


def main():
    params, batch = problem(arguments.rows, 1000)
    size, steps = sum(leaf.size for leaf in jax.tree.leaves(params)), arguments.steps
    # the first vector that `lanczos_coefficients` draws from this key
    start = jax.random.rademacher(jax.random.fold_in(KEY, 0), (size,), jnp.float32)
    print(f"{timing.machine()}\n{versions()}")
    makers = dict(zip(AIMS, (pyhessian, curvlinops, matfree, published), strict=True))
    spectra = build({"neoteny": ours} | makers, params, batch, start, steps)
    bare, best = products.lower(params, batch, KEY, steps).compile(), [0.0, 0.0]
    others = {
        "bare products": lambda: jax.block_until_ready(bare(params, batch, KEY)),
        "peak": peak(best),
    }
    finish = lambda job: lambda: curvature.quadrature(*([part] for part in job()))
    jobs = {name: finish(job) for name, job in spectra.items()} | others
    cpu, results = {}, {}
    wall = timing.interleaved(watched(jobs, cpu, results), arguments.rounds)
    cpu = {name: statistics.median(taken[1:]) for name, taken in cpu.items()}

    print(f"784-1000-1000-1000-10, {size:,} parameters, {arguments.rows} rows, {steps} steps, one")
    print(f"probe, float32; medians of {arguments.rounds} round(s), ratios over neoteny\n")
    print(f"{'':22}{'wall s':>9}{'CPU s':>9}{'ratio':>8}{'in CPU':>8}  {'aim':<10}top Ritz value")
    top = lambda name: curvature.extreme_eigenvalues(results[name]).largest
    apart = {name: abs(top(name) / top("neoteny") - 1) for name in spectra}
    for name in spectra:
        ratios = [taken[name] / taken["neoteny"] for taken in (wall, cpu)]
        aim = f">= {AIMS[name]:g}" if name in AIMS else ""
        print(
            f"{name:22}{wall[name]:9.2f}{cpu[name]:9.2f}{ratios[0]:8.2f}{ratios[1]:8.2f}  {aim:<10}"
            f"{top(name):.5f}" + (f" ({apart[name]:.0e} apart)" if name in AIMS else "")
        )

    work = flops(params, batch, start, steps)
    rates = [work / taken["bare products"] for taken in (wall, cpu)]
    shares = [100 * rate / most for rate, most in zip(rates, best, strict=True)]
    extra = [100 * (taken["neoteny"] / taken["bare products"] - 1) for taken in (wall, cpu)]
    print(
        f"\nHessian-vector products: {rates[0] / 1e9:.0f} Gflop/s, {shares[0]:.0f} % of the "
        f"{best[0] / 1e9:.0f} of matrix products ({shares[1]:.0f} % in CPU time; aim: >= 70 %)\n"
        f"What is not a product: {extra[0]:.0f} % on top ({extra[1]:.0f} % in CPU time; "
        "aim: <= 35 %)"
    )
    if wrong := [name for name, error in apart.items() if not error < AGREES]:
        raise SystemExit(f"\nNo comparison: {', '.join(wrong)} found another top Ritz value.")


if __name__ == "__main__":
    main()
