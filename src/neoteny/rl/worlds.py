"""Streams for agents: the same environment, seen otherwise or built otherwise at every task.

A stream is a pure function `(key, index) -> World`, random-access as those of data are. Add one of
your own with `neoteny.rl.WORLDS["mine"] = mine`, where `mine(environment, **options)` gives such a
function.
"""

from collections.abc import Callable, Mapping
from math import log, prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Scalar

from neoteny.errors import UserError, unknown
from neoteny.rl.host import AnyEnvironment
from neoteny.types import PRNGKey


class World(NamedTuple):
    """An environment as it is during one task.

    - `order`, `offset`: entry `i` of what the agent sees is entry `order[i]` of the observation,
      flattened, plus `offset[i]`.
    - `physics`: the environment's numbers.
    """

    order: Int[Array, " entries"]
    offset: Float[Array, " entries"]
    physics: Mapping[str, Scalar]


Worlds = Callable[[PRNGKey, int | Integer[Array, ""]], World]
"""What becomes of an environment: `(key, task index) -> World`."""


def seen(world: World, observation: Float[Array, "..."]) -> Float[Array, "..."]:
    """What an agent sees of an observation, in the observation's shape."""
    flat = observation.reshape(-1)[world.order] + world.offset
    return flat.reshape(observation.shape)


def stationary(environment: AnyEnvironment) -> Worlds:
    """The environment as it is, at every task: what is lost here is lost without a change."""
    plain = as_it_is(environment)
    return lambda key, index: plain


def permuted_observations(environment: AnyEnvironment) -> Worlds:
    """The entries of each observation come in an order of the task's own, task 0's included.

    **Source:** the idea of permuted pixels, on what an agent sees.
    """
    plain = as_it_is(environment)

    def world(key: PRNGKey, index: int | Integer[Array, ""]) -> World:
        order = jax.random.permutation(jax.random.fold_in(key, index), len(plain.order))
        return plain._replace(order=order)

    return world


def offset_observations(environment: AnyEnvironment, *, scale: float = 1.0) -> Worlds:
    """A fixed random vector is added to every observation of a task; to those of task 0 nothing.

    **Arguments:**

    - `scale`: standard deviation of each entry, in the units of the observation.

    **Source:** Muppidi et al. (2024) and Tang et al. (2025), who have `scale=2`.
    """
    if not 0 <= scale < float("inf"):
        raise UserError(f"`scale` is {scale}, but a standard deviation is 0 or more, as in 1.0.")
    plain = as_it_is(environment)

    def world(key: PRNGKey, index: int | Integer[Array, ""]) -> World:
        drawn = jax.random.normal(jax.random.fold_in(key, index), plain.offset.shape)
        size = jnp.where(jnp.asarray(index) == 0, 0.0, scale)
        return plain._replace(offset=(size * drawn).astype(plain.offset.dtype))

    return world


def changing_physics(
    environment: AnyEnvironment, *, number: str = "gravity", low: float = 0.5, high: float = 2.0
) -> Worlds:
    """One number of the environment is multiplied by a factor of the task's own; not at task 0.

    **Arguments:**

    - `number`: which, such as `gravity`.
    - `low`, `high`: between which the factor is drawn, evenly in its logarithm.
    """
    if number not in environment.physics:
        raise unknown("number of this environment called", number, environment.physics)
    if not 0 < low <= high < float("inf"):
        raise UserError(
            f"`low` is {low} and `high` {high}, but factors lie between two positive numbers, the "
            "lower one first, as 0.5 and 2.0."
        )
    plain = as_it_is(environment)

    def world(key: PRNGKey, index: int | Integer[Array, ""]) -> World:
        own = jax.random.fold_in(key, index)
        factor = jnp.exp(jax.random.uniform(own, minval=log(low), maxval=log(high)))
        factor = jnp.where(jnp.asarray(index) == 0, 1.0, factor)
        value = plain.physics[number]
        return plain._replace(
            physics={**plain.physics, number: (value * factor).astype(value.dtype)}
        )

    return world


def as_it_is(environment: AnyEnvironment) -> World:
    """The world in which nothing is changed."""
    entries = prod(environment.observation_shape)
    numbers = {name: jnp.asarray(value, float) for name, value in environment.physics.items()}
    return World(jnp.arange(entries), jnp.zeros(entries), numbers)
