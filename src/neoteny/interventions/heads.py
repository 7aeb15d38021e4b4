"""What becomes of the output layer when the task changes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from neoteny.errors import UserError, unknown
from neoteny.interventions.surgery import names, reset_moments
from neoteny.types import Learner, Network, PRNGKey

HEADS = {
    "shared": "one output layer for all tasks, all of whose outputs always count",
    "masked": "only the outputs of the task's classes count, in loss and accuracy",
    "grown": "masked, and an output starts from fresh weights when its class first appears",
    "zeroed": "all its weights are set to zero at each task's start (Dohare et al., 2024)",
    "fresh": "all its weights are drawn anew at each task's start",
}
"""Head policies by name; `masked` and `grown` go by the classes that the stream tells."""

MASKED = ("masked", "grown")
"""Policies of the output layer under which only some outputs count."""


def renew_head(
    network: Network, optimiser: optax.GradientTransformation, policy: str
) -> Callable[[Learner, PRNGKey, Bool[Array, " outputs"] | None], Learner] | None:
    """`(learner, key, opened) -> learner` for a task's start; `None` where nothing is to be done.

    The optimiser forgets the weights that change. With `grown`, those that lead to the outputs
    in `opened`, which the task is the first to count.

    **Raises:** `UserError` for an unknown policy, or a network that names no head.
    """
    if policy not in HEADS:
        raise unknown("head policy", policy, HEADS)
    if policy in ("shared", "masked"):
        return None
    if not network.head:
        raise UserError(
            f"`training.head` is {policy}, but this network does not say which of its parameters "
            "are the output layer. Give it a `head`, the path of that sub-tree, or pass `shared`."
        )

    def renew(learner, key, opened):
        every = jnp.ones((), bool) if policy != "grown" else opened
        fresh = network.init(key) if policy != "zeroed" else None

        def touched(path, leaf):
            within = names(path)[: len(network.head)] == tuple(network.head)
            return jnp.broadcast_to(every if within else False, leaf.shape)

        where = jax.tree_util.tree_map_with_path(touched, learner.params)
        new = jax.tree.map(jnp.zeros_like, learner.params) if fresh is None else fresh
        params = jax.tree.map(jnp.where, where, new, learner.params)
        opt_state = reset_moments(optimiser, learner.opt_state, params, where)
        return learner._replace(params=params, opt_state=opt_state)

    return renew
