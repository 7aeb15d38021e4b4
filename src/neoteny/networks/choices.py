"""Activations and initialisers by name."""

from functools import partial

import jax

ACTIVATIONS = {
    "relu": jax.nn.relu,
    "leaky-relu": jax.nn.leaky_relu,
    "tanh": jax.numpy.tanh,
    "sigmoid": jax.nn.sigmoid,
    "gelu": partial(jax.nn.gelu, approximate=False),
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
    "softplus": jax.nn.softplus,
    "identity": lambda x: x,
}

INITIALISERS = {
    "he-uniform": jax.nn.initializers.he_uniform(),
    "he-normal": jax.nn.initializers.he_normal(),
    "lecun-uniform": jax.nn.initializers.lecun_uniform(),
    "lecun-normal": jax.nn.initializers.lecun_normal(),
    "glorot-uniform": jax.nn.initializers.glorot_uniform(),
    "glorot-normal": jax.nn.initializers.glorot_normal(),
    "orthogonal": jax.nn.initializers.orthogonal(),
}
