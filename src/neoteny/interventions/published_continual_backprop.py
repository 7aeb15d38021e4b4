"""Continual backprop as the main paper's code has it, to show what its baseline was."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from neoteny.interventions.base import Intervention, refuse_no_hidden_layers
from neoteny.interventions.surgery import at, outgoing_size, redraw_units
from neoteny.lanes import if_due
from neoteny.types import Network, UnitGroup


class Account(NamedTuple):
    """One layer's units: mini-batches since each was (re)born, utility, replacements owed."""

    age: Int[Array, " units"]
    utility: Float[Array, " units"]
    due: Float[Array, ""]


def published_continual_backprop(
    network: Network,
    optimiser: optax.GradientTransformation,
    *,
    replacement_rate: float,
    maturity: int = 100,
    decay: float = 0.99,
) -> Intervention:
    """Replace the mature units of *highest* utility: a baseline to compare with, not to use.

    It differs from `continual_backprop`, which is the published method of that name, in four
    ways: the most useful units go; their outgoing weights are drawn anew rather than zeroed, so
    a replacement changes the outputs at once; nothing of what they contributed is handed to the
    next layer; and momentum remembers the old unit (moments of Adam are forgotten).

    **Arguments:** as of `continual_backprop`.

    **Source:** the code that accompanies Prakash et al. (2026). New weights are drawn here as
    the network draws them; theirs are He-uniform in all networks.
    """
    refuse_no_hidden_layers(network.units, "Continual backprop")

    def init(params):
        def account(group: UnitGroup) -> Account:
            zeros = jnp.zeros(group.size, at(params, group.shift).dtype)
            return Account(jnp.zeros(group.size, jnp.int32), zeros, zeros.sum())

        return tuple(map(account, network.units))

    def apply(learner, state, *, key, batch, features):
        del batch
        observed = []
        for account, feature, group in zip(state, features, network.units, strict=True):
            contribution = jnp.abs(feature).mean(0) * outgoing_size(learner.params, group)
            utility = decay * account.utility + (1 - decay) * contribution
            age = account.age + 1
            due = account.due + replacement_rate * (age > maturity).sum()
            observed.append(Account(age, utility, due))
        counts = [jnp.floor(account.due) for account in observed]

        def replace(learner, accounts):
            masks = [_most_useful(*pair, maturity) for pair in zip(accounts, counts, strict=True)]
            learner = redraw_units(learner, network.units, masks, network.init(key), optimiser)
            return learner, tuple(map(_reborn, accounts, masks))

        kept = tuple(
            account._replace(due=account.due - count)
            for account, count in zip(observed, counts, strict=True)
        )
        return if_due(jnp.stack(counts).any(), replace, lambda *same: same, learner, kept)

    return Intervention(init, apply)


def _most_useful(account: Account, count: Float[Array, ""], maturity: int) -> Bool[Array, " units"]:
    mature = account.age > maturity
    utility = jnp.where(mature, account.utility, -jnp.inf)
    return mature & (jnp.argsort(jnp.argsort(-utility)) < count)


def _reborn(account: Account, mask: Bool[Array, " units"]) -> Account:
    return account._replace(
        age=jnp.where(mask, 0, account.age), utility=jnp.where(mask, 0, account.utility)
    )
