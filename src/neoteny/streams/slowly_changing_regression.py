"""Slowly changing regression: a fixed function to fit, of inputs most of which stand still."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neoteny.errors import UserError, unknown
from neoteny.streams.class_rows import Index, int32
from neoteny.types import Batch, Dataset, PRNGKey, Stream, Task

_TARGET, _FIRST, _FLIPS = 2**32 - 1, 2**32 - 2, 2**32 - 3  # branches: no task has such a number
_CHANGES = ("one", "all")


def slowly_changing_regression(
    dataset: Dataset | None = None,
    *,
    rows: int = 10_000,
    slow: int = 15,
    fast: int = 5,
    units: int = 100,
    beta: float = 0.7,
    change: str = "one",
) -> Stream:
    """Regression on bits of which most change only from task to task, one of them at a time.

    Inputs are 0 or 1: first the `slow` bits, the same in all rows of a task, then `fast` bits
    drawn anew for each row. The target is one fixed network of the key's, so what is asked never
    changes, only where. Labels are floats: learn them with the loss `squared-error`, one output
    and rows in mini-batches of one. Held out are all `2**fast` inputs of the task, each once, so
    that the error there is exact. A learner of five hidden units cannot fit the whole target,
    and so has to go on learning.

    The target has `units` hidden units, which are 1 where `w · x + b > τ` and else 0, with all
    weights and biases +1 or -1 and `τ = beta (m + 1) - S`, `S = (m - sum(w) + b) / 2`, of m
    inputs; its output adds them, and a bias, with signs.

    Tasks may be drawn in any order: which bits stand in one is found by drawing all the changes
    up to it again, about a microsecond each.

    **Arguments:**

    - `dataset`: not looked at; it is here because every rule takes one.
    - `rows`: of a task, all of them training rows.
    - `slow`, `fast`: how many bits of either kind.
    - `units`, `beta`: of the target.
    - `change`: `one` slow bit flips between tasks, or `all` are drawn again.

    **Raises:** `UserError` for a number out of range.

    **Source:** Dohare, Sutton & Mahmood (2021), by the code of Dohare et al. (2024), which calls
    `change` `flip_one` and has `S` as above; the number of weights and biases that are -1, which
    it stands for, would be `(m + 1 - sum(w) - b) / 2`. A constant input is left to the network's
    own bias.
    """
    del dataset
    most = {"rows": 2**31 - 1, "slow": 10_000, "fast": 16, "units": 10**6}
    for (option, top), value in zip(most.items(), (rows, slow, fast, units), strict=True):
        if not 1 <= value <= top:
            raise UserError(f"`{option}` is {value}, but may be from 1 to {top:,}.")
    if change not in _CHANGES:
        raise unknown("change of slow bits called", change, _CHANGES)
    every_fast = jnp.asarray((jnp.arange(2**fast)[:, None] >> jnp.arange(fast)[None]) & 1)

    @jax.jit
    def drawn(key: PRNGKey, index: Array) -> Task:
        target = _target(jax.random.fold_in(key, _TARGET), slow + fast, units, beta)
        standing = _slow_bits(key, index, slow, change)
        moving = _bits(jax.random.fold_in(key, index), (rows, fast))
        return Task(
            _labelled(target, standing, moving),
            _labelled(target, standing, every_fast.astype(jnp.float32)),
            classes=jnp.ones(1, bool),
        )

    def task(key: PRNGKey, index: Index) -> Task:
        return drawn(key, int32(index))

    return task


class _Target(NamedTuple):
    kernel: Float[Array, "inputs units"]
    bias: Float[Array, " units"]
    readout: Float[Array, " units"]
    offset: Float[Array, ""]
    thresholds: Float[Array, " units"]


def _target(key: PRNGKey, inputs: int, units: int, beta: float) -> _Target:
    signs = lambda branch, *shape: 2 * _bits(jax.random.fold_in(key, branch), shape) - 1
    kernel, bias = signs(0, inputs, units), signs(1, units)
    thresholds = beta * (inputs + 1) - (inputs - kernel.sum(0) + bias) / 2
    return _Target(kernel, bias, signs(2, units), signs(3), thresholds)


def _slow_bits(key: PRNGKey, index: Array, slow: int, change: str) -> Float[Array, " slow"]:
    flips = jax.random.fold_in(key, _FLIPS)
    if change == "all":
        return _bits(jax.random.fold_in(flips, index), (slow,))

    def flip(number, bits):
        which = jax.random.randint(jax.random.fold_in(flips, number), (), 0, slow, jnp.int32)
        return bits.at[which].set(1 - bits[which])

    first = _bits(jax.random.fold_in(key, _FIRST), (slow,))
    return jax.lax.fori_loop(jnp.int32(0), index, flip, first)


def _bits(key: PRNGKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    return jax.random.bernoulli(key, jnp.float32(0.5), shape).astype(jnp.float32)


def _labelled(
    target: _Target, standing: Float[Array, " slow"], moving: Float[Array, "rows fast"]
) -> Batch:
    standing = jnp.broadcast_to(standing[None], (len(moving), len(standing)))
    inputs = jnp.concatenate([standing, moving], axis=1)
    # sums of whole numbers, hence exact in any order
    active = inputs @ target.kernel + target.bias[None] > target.thresholds[None]
    return Batch(inputs, active.astype(jnp.float32) @ target.readout + target.offset)
