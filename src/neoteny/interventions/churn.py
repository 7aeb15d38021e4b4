"""Less churn: what an update does to outputs on rows that it was not computed from."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from neoteny.errors import UserError
from neoteny.interventions.base import Penalty
from neoteny.types import Network, Params, View, bound


class Past(NamedTuple):
    """What churn reduction remembers: the parameters of one update ago, and running means.

    `loss` and `churn` are running means of the task loss and of the penalty, from zero, so that
    only their ratio means something at first. `updates` counts those there were.
    """

    params: Params
    loss: Float[Array, ""]
    churn: Float[Array, ""]
    updates: Array


def churn_reduction(
    network: Network, strength: float, *, relative: float = 0.0, window: int = 500
) -> Penalty:
    """Resist, on other rows, the change that the last update made.

    `strength / 2` times the mean squared change of the outputs on the reference rows since one
    update ago, before the step; nothing at the first update. With `relative`, `strength` holds for
    `window` updates, and from then on the penalty is weighed so that it is that share of the task
    loss: by running means over about `window` updates of the loss's size and of the penalty. Costs
    a forward and backward pass on the reference rows and one more forward pass.

    Networks that learn by another function than they act by are measured by the latter, as their
    state is now.

    **Source:** C-CHAIN (Tang et al., 2025), whose means are over windows that begin anew with each
    task.
    """
    if not 0 <= relative < float("inf"):
        raise UserError(f"`relative` is {relative}, but is a share of the loss, 0 for a fixed one.")
    if window < 1:
        raise UserError(f"`window` is {window}, but means are over one update at least.")
    keep = 1 - 1 / window

    def init(params) -> Past:
        zero = jnp.zeros((), jax.tree.leaves(params)[0].dtype)
        return Past(params, zero, zero, jnp.zeros((), jnp.int32))

    def apply(params, features, state: Past, *, reference, loss, network_state=(), **others):
        del features, others
        acting = bound(network, View(network_state))
        outputs = lambda params: acting.apply(params, reference.inputs)[0]
        before = jax.lax.stop_gradient(outputs(state.params))
        churn = 0.5 * jnp.mean(jnp.sum((outputs(params) - before) ** 2, axis=1))
        mean = lambda old, new: keep * old + jax.lax.stop_gradient(new) / window
        moved = Past(
            jax.lax.stop_gradient(params),
            mean(state.loss, jnp.abs(loss)),
            mean(state.churn, churn),
            state.updates + 1,
        )
        weight = jnp.asarray(strength, churn.dtype)
        if relative:
            tuned = relative * moved.loss / (moved.churn + _TINY)
            weight = jnp.where(state.updates < window, weight, tuned)
        return weight * churn, moved

    return Penalty(init, apply)


_TINY = 1e-8
"""As in the published code: where nothing churns, the weight stays finite."""
