"""Sparse hidden layers: the largest activations alone, and units dropped by how often they won."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from neoteny.types import PRNGKey


def winners(hidden: Float[Array, "rows units"], share: float) -> Float[Array, "rows units"]:
    """The largest `share` of each row's activations, those of them that are positive; else zero.

    A unit that ties with the last winner is kept too. The gradient flows through winners alone.

    **Source:** k-winner activations (Ahmad & Scheinkman, 2019; Abbasi et al., 2022).
    """
    count = max(1, round(share * hidden.shape[1]))
    least = jax.lax.top_k(jax.lax.stop_gradient(hidden), count)[0][:, -1:]
    won = (hidden >= least) & (hidden > 0)
    return jnp.where(won | jnp.isnan(hidden), hidden, 0.0)  # what is no number must show


def kept(
    counts: Float[Array, " units"], strength: float, rows: int, key: PRNGKey
) -> Bool[Array, "rows units"]:
    """Which units each row keeps: with probability `exp(-strength * count / largest count)`.

    **Source:** heterogeneous dropout (Abbasi et al., 2022).
    """
    share = counts / jnp.maximum(counts.max(), 1.0)
    return jax.random.bernoulli(key, jnp.exp(-strength * share)[None], (rows, len(counts)))


def equiangular(width: int, classes: int) -> Float[Array, "width classes"]:
    """A simplex equiangular tight frame as an output layer: unit columns of cosine -1/(classes-1).

    The same for all seeds. Needs `width >= classes >= 2`.
    """
    draw = jax.random.normal(jax.random.key(0), (width, classes))
    basis, _ = jnp.linalg.qr(draw)
    centred = jnp.eye(classes) - 1 / classes
    return jnp.sqrt(classes / (classes - 1)) * basis @ centred
