"""How confident a classifier is: what is left to learn, and its margin for the size it has."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Scalar

from neoteny.probes.norms import weight_norm
from neoteny.types import Params, Snapshot


class Saturation(NamedTuple):
    """The mean over rows of `1 - p(label)`.

    It bounds the slope of cross-entropy by the outputs: as it goes to zero the gradient does, and
    with it whatever the features in use have left to others.
    """

    residual_probability: Scalar


def saturation(snapshot: Snapshot) -> Saturation:
    """Measure how far from certain of the labels a network is, for the cost of its outputs.

    With two classes it is the mean of `sigmoid(-y f)`, with `y` of 1 or -1 and `f` the difference
    of the logits.

    **Source:** the dual variable of Pezeshki et al. (2021).
    """
    outputs, _ = snapshot.network.apply(snapshot.params, snapshot.batch.inputs)
    labels = snapshot.batch.labels[:, None]
    others = outputs.at[jnp.arange(len(outputs)), labels[:, 0]].set(-jnp.inf)
    of_label = jnp.take_along_axis(outputs, labels, axis=1)[:, 0]
    odds = of_label - jax.nn.logsumexp(others, axis=1)
    return Saturation(jnp.mean(jax.nn.sigmoid(-odds)))


class NormalisedMargin(NamedTuple):
    """The least margin of all rows, over the length of the parameters to the number of layers.

    Of a homogeneous network it does not change as the parameters are scaled: gradient flow on
    cross-entropy raises it once all rows are right. Negative where a row is wrong.
    """

    normalised_margin: Scalar


def normalised_margin(snapshot: Snapshot) -> NormalisedMargin:
    """Measure the margin of a network of so many layers as it has hidden ones, and the output.

    Exact for layers of ReLU without biases, or with them in the first layer alone. Other biases,
    residual paths and norms are not homogeneous: then it is a reading to compare with itself.

    **Source:** Lyu & Li (2020); of two layers Chizat & Bach (2020), where half the margin in
    variation norm bounds it from above.
    """
    outputs, features = snapshot.network.apply(snapshot.params, snapshot.batch.inputs)
    least = jnp.min(margins(outputs, snapshot.batch.labels))
    return NormalisedMargin(over_norm(least, snapshot.params, len(features) + 1))


def margins(
    outputs: Float[Array, "rows classes"], labels: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """Compute the label's logit less the largest other one, for each row."""
    of_label = jnp.take_along_axis(outputs, labels[:, None], axis=1)[:, 0]
    others = outputs.at[jnp.arange(len(outputs)), labels].set(-jnp.inf)
    return of_label - jnp.max(others, axis=1)


def over_norm(margin: ArrayLike, params: Params, layers: int) -> Scalar:
    """Divide a margin by `|params|` to the power of `layers`."""
    return jnp.asarray(margin) / weight_norm(params) ** layers
