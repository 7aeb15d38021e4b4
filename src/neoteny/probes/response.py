"""Which of the features that are there a network uses."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from neoteny.types import Snapshot, as_floats

ROWS = 256
"""A singular value decomposition for each look: of so many rows at most."""


class FeatureResponse(NamedTuple):
    """How many features carry the outputs, from 1 to as many as there are rows."""

    response_participation: Scalar


def feature_response(snapshot: Snapshot) -> FeatureResponse:
    """Measure over how many features of the last hidden layer the outputs are spread.

    With `Phi` the last hidden layer's features (the inputs, where there is none) and a constant,
    and rows signed by their label, `Y Phi = U S V'`. The feature of column `j` of `V` has strength
    `S_j` and response `z_j`, where `z = U' m` and `m` are the margins; the participation ratio is
    `(sum z^2)^2 / sum z^4`. Few features that are used while others starve give a low one. NaN
    where all outputs are equal.

    Of more than two classes a row is signed by the corner of a simplex that its label is, and its
    margin is to the mean of the others, which for two classes is the same. Looks at the first 256
    rows, at the cost of a singular value decomposition of rows x (units x classes).

    **Source:** features, strengths and responses of Pezeshki et al. (2021), who take the tangent
    kernel for `Phi`; the participation ratio of them is ours.
    """
    batch = jax.tree.map(lambda array: array[:ROWS], snapshot.batch)
    outputs, features = snapshot.network.apply(snapshot.params, batch.inputs)
    last = features[-1] if features else as_floats(batch.inputs)
    z = responses(last.reshape(len(outputs), -1), outputs, batch.labels, snapshot.classes)
    squares = z**2
    return FeatureResponse(jnp.sum(squares) ** 2 / jnp.sum(squares**2))


def responses(
    features: Float[Array, "rows units"],
    outputs: Float[Array, "rows classes"],
    labels: Int[Array, " rows"],
    classes: Bool[Array, " classes"] | None = None,
) -> Float[Array, " _"]:
    """Compute the response of each feature, the strongest feature first; its sign is arbitrary."""
    counted = jnp.ones(outputs.shape[1], bool) if classes is None else classes
    number = jnp.sum(counted).astype(outputs.dtype)
    chosen = jax.nn.one_hot(labels, outputs.shape[1], dtype=outputs.dtype)
    corners = jnp.where(counted[None], chosen - 1 / number, 0.0)
    corners = corners * jnp.sqrt(number / (number - 1))
    seen = jnp.where(counted[None], outputs, 0.0)
    margin = jnp.sum(corners * seen, axis=1) * jnp.sqrt(number / (number - 1))
    known = jnp.concatenate([features, jnp.ones_like(features[:, :1])], axis=1)
    signed = (corners[:, :, None] * known[:, None]).reshape(len(features), -1)
    left, _, _ = jnp.linalg.svd(signed, full_matrices=False)
    return margin @ left
