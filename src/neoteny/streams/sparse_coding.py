"""Rows that are sparse combinations of features: a problem of which the features are known."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from neoteny.errors import UserError
from neoteny.types import Batch, Dataset, PRNGKey

_SEED = 1797  # any constant would do, but it must never change: it is the dictionary


def dictionary(size: int) -> Float[Array, "size size"]:
    """Orthonormal features as columns, uniform among all such; the same at every call."""
    draw = np.random.RandomState(_SEED).normal(size=(size, size))
    basis, upper = np.linalg.qr(draw)
    return jnp.asarray(basis * np.sign(np.diag(upper)), jnp.float32)


def sparse_code(
    key: PRNGKey,
    rows: int,
    features: Float[Array, "inputs features"],
    readout: Float[Array, " features"],
    *,
    active: int = 3,
    noise: float = 0.05,
) -> Batch:
    """Rows `x = features @ z + noise`, of class 1 where `readout @ z` is above zero, else 0.

    `z` is 1 or -1 at `active` places drawn without replacement, and 0 elsewhere; the noise is
    Gaussian, of this deviation in each input. With a readout of ones and an odd number of active
    features no row is near the boundary.

    **Source:** Allen-Zhu & Li (2020), with active features all of one size.
    """
    count = len(readout)
    if not 1 <= active <= count:
        raise UserError(f"`active` is {active}, but from 1 to {count} features can be.")
    dtype = features.dtype
    places, signs, spread = (jax.random.fold_in(key, part) for part in range(3))
    _, chosen = jax.lax.top_k(jax.random.uniform(places, (rows, count), dtype), active)
    signed = jax.random.rademacher(signs, (rows, active), dtype)
    z = jnp.zeros((rows, count), dtype).at[jnp.arange(rows)[:, None], chosen].set(signed)
    inputs = z @ features.T
    inputs += noise * jax.random.normal(spread, inputs.shape, dtype)
    return Batch(inputs, (z @ readout > 0).astype(jnp.int32))


def sparse_coding() -> Dataset:
    """Three of 100 features a row, 4,000 training rows and 1,000 held out, of a fixed key."""
    features = dictionary(100)
    readout = jnp.ones(100, jnp.float32)
    draw = lambda part, rows: sparse_code(
        jax.random.fold_in(jax.random.key(_SEED), part), rows, features, readout
    )
    return Dataset("sparse-coding", draw(0, 4000), draw(1, 1000), num_classes=2)
