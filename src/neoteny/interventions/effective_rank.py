"""The effective-rank step: a plain gradient step of its own, beside the optimiser's."""

import jax
import jax.numpy as jnp
from jaxtyping import Scalar

from neoteny.errors import UserError
from neoteny.interventions.base import Intervention, refuse_no_hidden_layers
from neoteny.probes import effective_rank
from neoteny.types import Features, Network, forward


def effective_rank_step(network: Network, *, learning_rate: float, layers: int = 0) -> Intervention:
    """Ascend the effective rank of the features, averaged over the last `layers` hidden layers.

    With `layers=0`, over all of them.

    One step of plain gradient ascent on the rows the intervention is given, outside the
    optimiser: no momentum, no decay, no change of its state. Use it as
    `every(k, effective_rank_step(...))`, so that the rows are those of `k` mini-batches. Costs
    one forward and backward pass over them and a decomposition of `rows x units` per layer. A
    network that goes by its batches in training does so here, and its running statistics move.

    **Source:** Prakash et al. (2026), as their experiments ran it.
    """

    refuse_no_hidden_layers(network.units, "The effective-rank step")
    refuse_layers(layers, len(network.units))

    def init(params):
        del params
        return ()

    def apply(learner, state, *, key, batch, features):
        del features
        refuse_one_row(len(batch.inputs))

        def mean_rank(params):
            _, features, remembered = forward(
                network, params, batch.inputs, learner.network_state, key
            )
            return mean_effective_rank(features, layers), remembered

        ascent, remembered = jax.grad(mean_rank, has_aux=True)(learner.params)
        params = jax.tree.map(lambda p, g: p + learning_rate * g, learner.params, ascent)
        return learner._replace(params=params, network_state=remembered), state

    return Intervention(init, apply)


def mean_effective_rank(features: Features, layers: int) -> Scalar:
    """Of the last `layers` hidden layers, or of all where that is 0."""
    return jnp.mean(jnp.stack([effective_rank(layer) for layer in features[-layers:]]))


def refuse_layers(layers: int, count: int) -> None:
    """Say that there are not so many hidden layers."""
    if not 0 <= layers <= count:
        raise UserError(
            f"`layers` is {layers}, but this network has {count} hidden layers. Pass 1 to {count} "
            "for so many of the last ones, or 0 for all."
        )


def refuse_one_row(rows: int) -> None:
    """Say that the effective rank of one row is 1 whatever the parameters: nothing to ascend."""
    if rows == 1:
        raise UserError(
            "The effective rank of 1 row is always 1, and no step can raise it. Use mini-batches "
            "of more rows, as `--set training.batch=16`, or act on the rows of many mini-batches, "
            "as `every=100` (`--set hyperparameters.l2_er.every=100`)."
        )
