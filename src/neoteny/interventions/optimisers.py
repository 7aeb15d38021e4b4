"""Gradient transformations by name, and an Adam whose step count can be reset per weight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from neoteny.types import Params


class ElementwiseAdamState(NamedTuple):
    """Moments of the gradient and, per weight, the share of each that is still its zero start.

    `unseen_mu` is beta1 to the number of steps since the weight was last reset, and
    `unseen_nu` beta2 to that number: a step count per weight in the form its use needs.
    """

    mu: Params
    nu: Params
    unseen_mu: Params
    unseen_nu: Params


def elementwise_adam(
    learning_rate: float, *, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> optax.GradientTransformation:
    """Adam (Kingma & Ba, 2015) that counts steps for each weight separately.

    Equal to Adam until a weight's state is reset; the weight then makes first steps of size
    `learning_rate` again. With one count for all, zeroed moments give a first step of
    (1 - beta1) / sqrt(1 - beta2) times that: 3.16 at the usual values. Holds four arrays of
    the parameters' size, where Adam holds two.

    **Source:** Dohare et al. (2024) use per-weight counts in continual backprop; carrying the
    powers instead of the counts saves two exponentials per weight and step.
    """

    def init(params):
        zeros, ones = (jax.tree.map(like, params) for like in (jnp.zeros_like, jnp.ones_like))
        return ElementwiseAdamState(zeros, zeros, ones, ones)

    def update(updates, state, params=None):
        del params
        gradients = updates
        mu = jax.tree.map(lambda m, g: beta1 * m + (1 - beta1) * g, state.mu, gradients)
        nu = jax.tree.map(lambda v, g: beta2 * v + (1 - beta2) * g**2, state.nu, gradients)
        unseen_mu = jax.tree.map(lambda rest: beta1 * rest, state.unseen_mu)
        unseen_nu = jax.tree.map(lambda rest: beta2 * rest, state.unseen_nu)

        def step(m, v, rest_m, rest_v):
            return -learning_rate * (m / (1 - rest_m)) / (jnp.sqrt(v / (1 - rest_v)) + epsilon)

        updates = jax.tree.map(step, mu, nu, unseen_mu, unseen_nu)
        return updates, ElementwiseAdamState(mu, nu, unseen_mu, unseen_nu)

    return optax.GradientTransformation(init, update)


def weight_decay(strength: float) -> optax.GradientTransformation:
    """Coupled L2: add `strength * params` to the gradient, before the optimiser sees it.

    The gradient of `strength / 2 * |params|^2` over all leaves, biases and norms included.
    Under Adam it is rescaled like the rest of the gradient, unlike AdamW's decay.
    """
    return optax.add_decayed_weights(strength)
