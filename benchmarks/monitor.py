"""What a check of `neoteny.Monitor` costs, in gradients of the same batch.

    python benchmarks/monitor.py --widths 784,1000,1000,10 --rows 128

A check of a batch that was met before measures the parameters alone; of a new one, the fresh
networks too. All jobs take turns, on one core.
"""

import argparse
import itertools

from timing import interleaved, machine, pin

pin(1)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

import neoteny as nt  # noqa: E402
from neoteny.losses import cross_entropy  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--widths", default="784,1000,1000,10")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    widths = tuple(map(int, given.widths.split(",")))
    network = nt.networks.mlp(widths)
    inputs = jax.random.uniform(jax.random.key(0), (given.rows, widths[0]))
    labels = jnp.arange(given.rows) % widths[-1]
    params = network.init(jax.random.key(1))

    def loss(params, batch):
        return cross_entropy(network.apply(params, batch[0])[0], batch[1]).mean()

    gradient, lap = jax.jit(jax.grad(loss)), itertools.count()
    met, new = nt.Monitor(fresh=network.init), nt.Monitor(fresh=network.init)
    edge = nt.Monitor(fresh=network.init, learning_rate=0.1)
    jobs = {
        "gradient": lambda: jax.block_until_ready(gradient(params, (inputs, labels))),
        "check, batch met before": lambda: met.check(loss, params, (inputs, labels)),
        "the same, with the edge": lambda: edge.check(loss, params, (inputs, labels)),
        "check, new batch": lambda: new.check(loss, params, (inputs + next(lap), labels)),
    }
    taken = interleaved(jobs, given.rounds)
    print(f"{machine()}; {given.widths}, {given.rows} rows")
    for name, seconds in taken.items():
        print(f"{name:26} {seconds * 1e3:8.1f} ms {seconds / taken['gradient']:6.1f} gradients")


if __name__ == "__main__":
    main()
