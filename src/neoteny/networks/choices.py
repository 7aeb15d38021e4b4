"""What networks share: activations and initialisers by name."""

from functools import partial

import jax
import jax.numpy as jnp

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "leaky-relu": jax.nn.leaky_relu,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "identity": lambda x: x,
}
"""What `network.activation` can name."""

INITIALISERS = {
    "he-uniform": jax.nn.initializers.he_uniform(),
    "he-normal": jax.nn.initializers.he_normal(),
    "he-normal-fan-out": jax.nn.initializers.variance_scaling(2, "fan_out", "truncated_normal"),
    "lecun-uniform": jax.nn.initializers.lecun_uniform(),
    "lecun-normal": jax.nn.initializers.lecun_normal(),
    "lecun-normal-fan-out": jax.nn.initializers.variance_scaling(1, "fan_out", "truncated_normal"),
    "glorot-uniform": jax.nn.initializers.glorot_uniform(),
    "glorot-normal": jax.nn.initializers.glorot_normal(),
    "orthogonal": jax.nn.initializers.orthogonal(),
}
"""What `network.initialiser` can name."""
