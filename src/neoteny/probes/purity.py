"""What the weights of hidden units consist of: pure features, and mixtures of many."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def purity(
    weights: Float[Array, "units inputs"], dictionary: Float[Array, "inputs features"]
) -> Float[Array, " units"]:
    """The share of each unit's squared weights that its one largest feature holds.

    `dictionary` has orthonormal columns. One for a unit that is a feature; at least one over their
    number; NaN for a unit without weights.

    **Source:** after Allen-Zhu & Li (2020).
    """
    squares = (weights @ dictionary) ** 2
    return squares.max(1) / squares.sum(1)


def dense_mixture(
    weights: Float[Array, "units inputs"],
    dictionary: Float[Array, "inputs features"],
    readout: Float[Array, " features"],
) -> Float[Array, " units"]:
    """How far each unit's weights but for its largest feature go along the readout of the labels.

    With `c` the unit's coefficients in the orthonormal `dictionary` and `j` the largest, it is
    `|sum_{i != j} c_i readout_i| / (|readout| |weights|)`, from 0 to 1: what one step of
    `dictionary @ readout` moves the unit by, beyond its own feature.

    **Source:** after Allen-Zhu & Li (2020).
    """
    found = weights @ dictionary
    own = jnp.arange(found.shape[1])[None] == jnp.argmax(jnp.abs(found), axis=1)[:, None]
    along = jnp.abs(jnp.where(own, 0.0, found) @ readout)
    return along / (jnp.linalg.norm(readout) * jnp.linalg.norm(weights, axis=1))


def residual_share(
    weights: Float[Array, "units inputs"], reference: Float[Array, "units inputs"]
) -> Float[Array, " units"]:
    """`|v| / |w|` of each unit, where `w = beta w' + v` and `v` is orthogonal to `w'`.

    What of the weights `w` is not along those of the same unit in another network, such as one
    that was trained on adversarially from this one. It is the sine of the angle between them: of
    the two parts, `v` is the smaller where it is below `1 / sqrt(2)`.

    **Source:** after Allen-Zhu & Li (2020).
    """
    squared = jnp.sum(reference**2, axis=1, keepdims=True)
    beta = jnp.sum(weights * reference, axis=1, keepdims=True) / squared
    rest = weights - beta * reference
    return jnp.linalg.norm(rest, axis=1) / jnp.linalg.norm(weights, axis=1)
