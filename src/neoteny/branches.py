"""All randomness of a run, drawn from its seed by meaning."""

import jax

from neoteny.types import PRNGKey

STREAM, INITIAL, TRAINING, PROBING, FRESH, BEFORE = range(6)


class Branches:
    """The keys of one run: `branches(TRAINING, task)`, and `branches.stream` for its stream."""

    def __init__(self, seed: int):
        self._root = jax.random.key(seed)
        self.stream = jax.random.fold_in(self._root, STREAM)

    def __call__(self, branch: int, index: int) -> PRNGKey:
        return jax.random.fold_in(jax.random.fold_in(self._root, branch), index)
