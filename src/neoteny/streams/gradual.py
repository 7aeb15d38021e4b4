"""Gradual: any stream, with each abrupt change of task spread over several small ones."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from neoteny.errors import UserError, unknown
from neoteny.streams.class_rows import Index
from neoteny.types import Batch, PRNGKey, Stream, Task

_MIXING = 2**32 - 1  # the branch of the key that mixes rows: no task has this number


def gradual(stream: Stream, steps: int, *, kind: str = "sampling") -> Stream:
    """Go from each task of `stream` to its next in `steps` equal steps; one step is abrupt.

    Task `steps * t + j` lies a share `j / steps` of the way from task `t` of `stream` to task
    `t + 1`. To compare granularities at equal cost, give each task fewer steps in proportion.

    - `kind="sampling"`: each row is the next task's with that probability, else this task's; the
      draw is the task's own, and independent between rows. For streams that fill all their rows:
      permuted pixels and labels, random labels, rotated, class pairs, regression.
    - `kind="inputs"`: each row's inputs are that share of the way between those of the two tasks,
      bytes rounded to bytes. Only for streams whose labels stay: permuted pixels, rotated, class
      pairs. A look at the first two tasks tells; others are refused.

    A task costs two of `stream`. They may be drawn in any order, as there.

    **Raises:** `UserError` for an unknown kind, fewer than one step, or a stream that the kind
    does not fit; one that grows, or whose tasks differ in size, fits neither.

    **Source:** Liu & Mou (2026), who also interpolate targets; that is not here.
    """
    if kind not in _KINDS:
        raise unknown("kind of gradual change called", kind, _KINDS)
    if steps < 1:
        raise UserError(f"`steps` is {steps}, but from one task to the next takes at least one.")
    drawn = jax.eval_shape(lambda key: stream(key, 0), jax.random.key(0))
    if drawn.prefix is not None:
        raise UserError(
            "The tasks of this stream differ in size, so there is none halfway between two. Make "
            "gradual a stream that fills all its rows, such as `permuted-pixels`."
        )
    if kind == "inputs":
        _refuse_other_labels(stream)
    mix = _KINDS[kind]

    def task(key: PRNGKey, index: Index) -> Task:
        number, place = jnp.divmod(jnp.asarray(index), steps)
        here, there = stream(key, number), stream(key, number + 1)
        share = place.astype(jnp.float32) / jnp.float32(steps)
        own = jax.random.fold_in(jax.random.fold_in(key, _MIXING), index)
        blend = lambda branch, one, other: mix(jax.random.fold_in(own, branch), one, other, share)
        classes = here.classes
        if classes is not None and there.classes is not None:
            classes = classes | (there.classes & (place > 0))
        heldout = None
        if here.heldout is not None and there.heldout is not None:
            heldout = blend(1, here.heldout, there.heldout)
        return Task(blend(0, here.train, there.train), heldout, classes)

    return task


def _sampled(key: PRNGKey, here: Batch, there: Batch, share: Float[Array, ""]) -> Batch:
    moved = jax.random.uniform(key, here.labels.shape, jnp.float32) < share
    pick = lambda one, other: jnp.where(moved.reshape(-1, *[1] * (one.ndim - 1)), other, one)
    return Batch(*map(pick, here, there))


def _interpolated(key: PRNGKey, here: Batch, there: Batch, share: Float[Array, ""]) -> Batch:
    del key
    return Batch(_between(here.inputs, there.inputs, share), here.labels)


def _between(
    one: Num[Array, "rows *shape"], other: Num[Array, "rows *shape"], share: Float[Array, ""]
) -> Num[Array, "rows *shape"]:
    middle = (1 - share) * one + share * other
    if not jnp.issubdtype(one.dtype, jnp.floating):
        middle = jnp.round(middle)
    return middle.astype(one.dtype)


def _refuse_other_labels(stream: Stream) -> None:
    one, other = (stream(jax.random.key(0), index).train.labels for index in (0, 1))
    if changed := int(jnp.sum(one != other)):
        raise UserError(
            f"Between inputs there is a way only where their labels agree, but from a task of this "
            f"stream to the next, {changed} of {len(one)} labels change. Pass `kind='sampling'`."
        )


_KINDS = {"sampling": _sampled, "inputs": _interpolated}
