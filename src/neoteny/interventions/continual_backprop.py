"""Continual backprop: replace the units that contribute least, a few at a time."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from neoteny.interventions.base import Intervention, refuse_no_hidden_layers
from neoteny.interventions.surgery import (
    add_at,
    at,
    by_unit,
    outgoing_size,
    reinitialise_units,
)
from neoteny.lanes import if_due
from neoteny.types import Learner, Network, UnitGroup


class Ledger(NamedTuple):
    """What is known of one layer's units.

    `utility` and `mean_activation` are running means without bias correction; `age` counts
    mini-batches since a unit was (re)born; `due` is the fraction of a replacement owed.
    """

    age: Int[Array, " units"]
    utility: Float[Array, " units"]
    mean_activation: Float[Array, " units"]
    due: Float[Array, ""]


def continual_backprop(
    network: Network,
    optimiser: optax.GradientTransformation,
    *,
    replacement_rate: float,
    maturity: int = 100,
    decay: float = 0.99,
) -> Intervention:
    """Replace the mature units of lowest utility at a steady rate.

    A unit's utility is the running mean of `mean|activation| * mean|outgoing weight|`, where a
    channel's means are over rows and places, and over all weights that read it. Every
    step each layer owes `replacement_rate` times its number of mature units; whenever a whole
    unit is owed, the mature one of lowest utility is given new incoming weights and zero
    outgoing ones. The mean that it contributed moves into the next layer's biases first, and
    the optimiser forgets it. Costs one pass over the weights per step and, when a unit is
    replaced, one initialisation.

    **Arguments:**

    - `replacement_rate`: replacements per mature unit and mini-batch.
    - `maturity`: mini-batches during which a new unit is safe.
    - `decay`: of the running means; they are bias-corrected by the unit's age.

    **Source:** Dohare et al. (2024), generate and test with contribution utility.
    """

    refuse_no_hidden_layers(network.units, "Continual backprop")

    def init(params):
        def ledger(group: UnitGroup) -> Ledger:
            zeros = jnp.zeros(group.size, at(params, group.shift).dtype)
            return Ledger(jnp.zeros(group.size, jnp.int32), zeros, zeros, zeros.sum())

        return tuple(map(ledger, network.units))

    def apply(learner, state, *, key, batch, features):
        del batch
        observed = [
            _observe(ledger, feature, outgoing_size(learner.params, group), decay)
            for ledger, feature, group in zip(state, features, network.units, strict=True)
        ]
        counts = [jnp.floor(_owed(ledger, replacement_rate, maturity)) for ledger in observed]
        ledgers = tuple(
            ledger._replace(due=_owed(ledger, replacement_rate, maturity) - count)
            for ledger, count in zip(observed, counts, strict=True)
        )

        def replace(learner, ledgers):
            masks = [
                _least_useful(ledger, count, maturity, decay)
                for ledger, count in zip(ledgers, counts, strict=True)
            ]
            learner = _hand_over(learner, network, ledgers, masks, decay)
            fresh = network.init(key)
            learner = reinitialise_units(
                learner, network.units, masks, fresh, optimiser, statistics=network.state
            )
            return learner, tuple(map(_reborn, ledgers, masks))

        some = jnp.stack(counts).any()
        return if_due(some, replace, lambda *same: same, learner, ledgers)

    return Intervention(init, apply)


def _observe(
    ledger: Ledger, feature: Float[Array, "rows units"], outgoing: Float[Array, " units"], decay
) -> Ledger:
    contribution = jnp.abs(feature).mean(0) * outgoing
    return ledger._replace(
        age=ledger.age + 1,
        utility=decay * ledger.utility + (1 - decay) * contribution,
        mean_activation=decay * ledger.mean_activation + (1 - decay) * feature.mean(0),
    )


def _owed(ledger: Ledger, rate: float, maturity: int) -> Float[Array, ""]:
    """Replacements owed by now, whole ones and the rest."""
    return ledger.due + rate * (ledger.age > maturity).sum()


def _least_useful(
    ledger: Ledger, count: Float[Array, ""], maturity: int, decay: float
) -> Bool[Array, " units"]:
    """The `count` mature units of lowest utility."""
    mature = ledger.age > maturity
    utility = jnp.where(mature, ledger.utility / _seen(ledger, decay), jnp.inf)
    order = jnp.argsort(jnp.argsort(utility))  # each unit's rank: ties never choose too many
    return mature & (order < count)


def _seen(ledger: Ledger, decay: float) -> Float[Array, " units"]:
    """The share of a running mean that is data rather than its zero start."""
    return 1 - decay ** ledger.age.astype(ledger.utility.dtype)


def _hand_over(learner: Learner, network: Network, ledgers, masks, decay: float) -> Learner:
    """Move the mean contribution of the units about to go into the biases they fed.

    Through a convolution it is the sum over the kernel's positions, as it is away from the
    image's border. Outputs are the last axis of what reads a unit.
    """
    shifts = {}
    for group, ledger, mask in zip(network.units, ledgers, masks, strict=True):
        mean = jnp.where(mask, ledger.mean_activation / jnp.maximum(_seen(ledger, decay), 1e-8), 0)
        for place, bias in zip(group.outgoing, group.next_biases, strict=True):
            handed = jnp.tensordot(mean, by_unit(at(learner.params, place.path), place), 1)
            handed = handed.reshape(-1, handed.shape[-1]).sum(0)
            shifts[bias] = shifts.get(bias, 0) + handed

    return learner._replace(params=add_at(learner.params, shifts))


def _reborn(ledger: Ledger, mask: Bool[Array, " units"]) -> Ledger:
    forget = lambda array: jnp.where(mask, jnp.zeros_like(array), array)
    return ledger._replace(
        age=forget(ledger.age),
        utility=forget(ledger.utility),
        mean_activation=forget(ledger.mean_activation),
    )
