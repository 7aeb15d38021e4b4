"""Observations brought to mean 0 and variance 1, by what the agent has seen so far.

The statistics are the network's state: checkpoints hold them, and no gradient, penalty or surgery
reaches them. They stand still while a rollout is acted and learnt from, so that the policy that is
improved is the one that acted.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num

from neoteny.types import Learner, Network, Params, PRNGKey

FARTHEST = 10.0
"""Standard deviations from the mean at which an observation is cut off."""


class Seen(NamedTuple):
    """Of every entry: how many were seen, their mean, and the sum of squared distances from it.

    `learns`: whether more are added.
    """

    count: Float[Array, ""]
    mean: Float[Array, "*shape"]
    squares: Float[Array, "*shape"]
    learns: Bool[Array, ""]


def nothing_seen(shape: tuple[int, ...]) -> Seen:
    """Under which observations are as they come."""
    return Seen(jnp.zeros(()), jnp.zeros(shape), jnp.zeros(shape), jnp.bool_(True))


def normalised(network: Network, shape: tuple[int, ...]) -> Network:
    """`network` behind a normaliser of observations of `shape`; its `state` is a `Seen`."""
    state = nothing_seen(shape)

    def apply(params: Params, inputs: Num[Array, "rows *shape"], seen: Seen = state):
        return network.apply(params, by(seen, inputs))

    def train(params: Params, inputs: Num[Array, "rows *shape"], seen: Seen, key: PRNGKey):
        del key
        return *apply(params, inputs, seen), seen

    return network._replace(apply=apply, state=state, train=train)


def by(seen: Seen, inputs: Num[Array, "rows *shape"]) -> Float[Array, "rows *shape"]:
    """Inputs less the mean, over the standard deviation; entries that never varied become 0."""
    deviation = jnp.sqrt(seen.squares / jnp.maximum(seen.count, 1) + 1e-8)
    scaled = jnp.clip((inputs - seen.mean[None]) / deviation[None], -FARTHEST, FARTHEST)
    return jnp.where(seen.count > 0, scaled, inputs)


def watched(learner: Learner, observations: Num[Array, "..."]) -> Learner:
    """The learner after these observations, (..., *shape); as it was if it has no normaliser.

    **Source:** counts, means and squares of two samples are joined as Chan, Golub & LeVeque (1983)
    do.
    """
    seen = learner.network_state
    if not isinstance(seen, Seen):
        return learner
    rows = observations.reshape(-1, *seen.mean.shape)
    number = jnp.asarray(len(rows), seen.count.dtype)
    mean, total = rows.mean(0), seen.count + len(rows)
    apart = mean - seen.mean
    squares = jnp.sum((rows - mean[None]) ** 2, 0) + apart**2 * seen.count * number / total
    after = Seen(total, seen.mean + apart * number / total, seen.squares + squares, seen.learns)
    keep = lambda new, old: jnp.where(seen.learns, new, old)
    return learner._replace(network_state=Seen(*map(keep, after, seen)))


def at_task_change(learner: Learner, kind: str) -> Learner:
    """What becomes of the statistics: `reset` forgets them, `frozen` adds no more; see `agent`."""
    seen = learner.network_state
    if not isinstance(seen, Seen):
        return learner
    if kind == "reset":
        return learner._replace(network_state=nothing_seen(seen.mean.shape))
    frozen = seen._replace(learns=jnp.bool_(False))
    return learner._replace(network_state=frozen) if kind == "frozen" else learner
