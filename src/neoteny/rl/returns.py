"""What actions were worth: advantages and returns along a rollout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def generalised_advantages(
    rewards: Float[Array, "steps *many"],
    values: Float[Array, "steps *many"],
    next_values: Float[Array, "steps *many"],
    terminated: Bool[Array, "steps *many"],
    ended: Bool[Array, "steps *many"],
    *,
    discount: float,
    decay: float,
) -> Float[Array, "steps *many"]:
    """The exponentially weighted sum of temporal-difference errors that follow each action.

    `A_t = d_t + discount * decay * A_{t+1}` while the episode goes on, with
    `d_t = r_t + discount * V(s_{t+1}) - V(s_t)`. Where an episode terminated, nothing follows;
    where it was only cut off, the state that it would have gone on from counts in `d_t`.

    **Arguments:**

    - `values`, `next_values`: of the state acted in, and of the one that the action led to, before
      any new episode.
    - `terminated`: the episode came to an end of its own; `ended`: so, or it was cut off.
    - `decay`: lambda; 0 trusts the values, 1 the rewards.

    **Source:** Schulman et al. (2016).
    """
    following = jnp.where(terminated, 0, next_values)
    errors = rewards + discount * following - values

    def back(advantage, moment):
        error, end = moment
        advantage = error + jnp.where(end, 0, discount * decay * advantage)
        return advantage, advantage

    _, advantages = jax.lax.scan(back, jnp.zeros_like(errors[0]), (errors, ended), reverse=True)
    return advantages
