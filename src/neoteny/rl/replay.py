"""A memory of fixed size, in which new rows take the places of the oldest."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from neoteny.types import PRNGKey


class Replay(NamedTuple):
    """Rows remembered, and how many were ever written.

    `rows`: arrays whose first axis is the capacity. Those not yet written are zeros.
    """

    rows: Any
    written: Int[Array, ""]

    @property
    def capacity(self) -> int:
        """How many rows there is room for."""
        return len(jax.tree.leaves(self.rows)[0])

    @property
    def filled(self) -> Int[Array, ""]:
        """How many rows there are."""
        return jnp.minimum(self.written, self.capacity)


def empty_replay(rows: Any, capacity: int) -> Replay:
    """Room for so many rows of the shapes and types of `rows`, whose first axis counts them."""
    room = lambda array: jnp.zeros((capacity, *array.shape[1:]), array.dtype)
    return Replay(jax.tree.map(room, rows), jnp.int32(0))


def remember(replay: Replay, rows: Any) -> Replay:
    """Write rows, no more than the capacity, over those written longest ago."""
    count = len(jax.tree.leaves(rows)[0])
    places = (replay.written + jnp.arange(count)) % replay.capacity
    kept = jax.tree.map(lambda old, new: old.at[places].set(new), replay.rows, rows)
    return Replay(kept, replay.written + count)


def recall(replay: Replay, key: PRNGKey, count: int) -> Any:
    """So many rows, each drawn evenly from all that there are, with replacement.

    Evenly but for one part in `2**32 / filled`: one draw of 32 bits is compiled faster than two.
    """
    chosen = jax.random.bits(key, (count,), jnp.uint32) % replay.filled.astype(jnp.uint32)
    return jax.tree.map(lambda array: array[chosen], replay.rows)
