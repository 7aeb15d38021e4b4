"""A ground that is more or less slippery at every task."""

from math import log

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer

from neoteny.errors import UserError, unknown
from neoteny.rl.host import AnyEnvironment
from neoteny.rl.worlds import World, Worlds, as_it_is
from neoteny.types import PRNGKey

PUBLISHED = (0.2961, 0.2399, 0.0387, 0.3528, 0.0829)
"""The frictions of the first tasks in the published table."""

SCHEDULES = ("published", "drawn")


def slippery(
    environment: AnyEnvironment,
    *,
    schedule: str = "published",
    low: float = 0.02,
    high: float = 2.0,
) -> Worlds:
    """The coefficient of sliding friction is another one at every task.

    **Arguments:**

    - `schedule`: `published` has those of the main paper's first five tasks, the same for every
      seed, and draws the others; `drawn` draws all.
    - `low`, `high`: between which it is drawn, evenly in its logarithm.

    **Source:** Dohare et al. (2024), who draw between 0.02 and 2; the published table is the main
    paper's.
    """
    if "friction" not in environment.physics:
        raise UserError(
            "`slippery` changes the friction, which is no number of this environment. Pass "
            "`--set stream.environment=slippery-ant`, or another rule."
        )
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
    if not 0 < low <= high < float("inf"):
        raise UserError(
            f"`low` is {low} and `high` {high}, but frictions lie between two positive numbers, "
            "the lower one first, as 0.02 and 2.0."
        )
    plain = as_it_is(environment)
    told = PUBLISHED if schedule == "published" else ()

    def world(key: PRNGKey, index: int | Integer[Array, ""]) -> World:
        index, usual = jnp.asarray(index), plain.physics["friction"]
        own = jax.random.fold_in(key, index)
        friction = jnp.exp(jax.random.uniform(own, minval=log(low), maxval=log(high)))
        if told:
            known = jnp.asarray(told)[jnp.minimum(index, len(told) - 1)]
            friction = jnp.where(index < len(told), known, friction)
        return plain._replace(physics={**plain.physics, "friction": friction.astype(usual.dtype)})

    return world
