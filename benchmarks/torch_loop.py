"""The loop's steps against a plain PyTorch eager loop of the same steps; needs `torch`.

    python benchmarks/torch_loop.py [--rounds 3]

Each side is pinned to one core. PyTorch is no dependency: `pip install torch` beside neoteny.
"""

import argparse
from itertools import pairwise

import timing

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--rounds", type=int, default=3)
arguments = parser.parse_args()
timing.pin(1)


def eager(widths: tuple, batch: int, steps: int):
    """SGD in the usual PyTorch way: module, optimiser, one Python call per operation."""
    import torch

    torch.set_num_threads(1)
    layers: list = []
    for one, other in pairwise(widths[:-1]):
        layers += [torch.nn.Linear(one, other), torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers, torch.nn.Linear(*widths[-2:]))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    inputs, labels = torch.rand(steps * batch, widths[0]), torch.randint(0, 10, (steps * batch,))
    loss = torch.nn.CrossEntropyLoss()

    def train():
        order = torch.randperm(len(labels))
        for start in range(0, len(labels), batch):
            chosen = order[start : start + batch]
            optimiser.zero_grad()
            loss(model(inputs[chosen]), labels[chosen]).backward()
            optimiser.step()

    return train


def ours(widths: tuple, batch: int, steps: int):
    import jax
    import optax

    from neoteny.losses import cross_entropy
    from neoteny.networks import mlp
    from neoteny.training import trainer
    from neoteny.types import Batch

    key, rows = jax.random.key(0), steps * batch
    network = mlp(widths)
    parts = trainer(network, cross_entropy, optax.sgd(0.01), batch=batch)
    labels = jax.random.randint(key, (rows,), 0, 10)
    data = Batch(jax.random.uniform(key, (rows, widths[0])), labels)
    learner, learn = parts.initialise(network.init(key)), jax.jit(parts.learn)
    return lambda: jax.block_until_ready(learn(learner, data, key))


def main() -> None:
    try:
        import torch
    except ImportError:
        print("PyTorch is not installed here, so there is nothing to compare with.")
        return
    print(timing.machine(), "· PyTorch", torch.__version__)
    for widths, batch, steps, aim in (
        ((784, 100, 100, 10), 16, 2000, 3.5),
        ((784, 1000, 1000, 1000, 10), 32, 200, 2.0),
    ):
        shape = (widths, batch, steps)
        taken = timing.interleaved({"ours": ours(*shape), "eager": eager(*shape)}, arguments.rounds)
        print(
            f"  {'-'.join(map(str, widths))}, batch {batch}: {taken['eager'] / taken['ours']:.1f}x "
            f"faster (aim: {aim}x; ours {taken['ours'] / steps * 1e6:.0f} us a step)"
        )


if __name__ == "__main__":
    main()
