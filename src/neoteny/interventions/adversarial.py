"""Training on rows that are moved against the network."""

import jax
import jax.numpy as jnp

from neoteny.errors import UserError, unknown
from neoteny.interventions.base import Attack

NORMS = ("l2", "linf")


def gradient_attack(radius: float, *, steps: int = 1, norm: str = "l2") -> Attack:
    """Move each row within `radius` to where the loss is larger.

    With one step, the fast gradient method: by `radius` along the row's gradient, or in `linf`
    along its sign. With more, projected gradient ascent from the row itself, in steps of
    `2.5 * radius / steps`. Rows without a gradient stay. Costs a forward and backward pass a step.

    **Source:** Goodfellow et al. (2015); Madry et al. (2018), without their random start.
    """
    if not 0 < radius < float("inf"):
        raise UserError(f"`radius` is {radius}, but rows are moved by a positive distance.")
    if steps < 1:
        raise UserError(f"`steps` is {steps}, but an attack takes one at least.")
    if norm not in NORMS:
        raise unknown("norm", norm, NORMS)
    size = radius if steps == 1 else 2.5 * radius / steps

    def attack(loss, inputs, key):
        del key

        def step(_, moved):
            gradient = jax.grad(loss)(moved)
            moved = moved + size * _direction(gradient, norm)
            return inputs + _within(moved - inputs, radius, norm)

        return jax.lax.stop_gradient(jax.lax.fori_loop(0, steps, step, inputs))

    return attack


def _direction(gradient, norm: str):
    if norm == "linf":
        return jnp.sign(gradient)
    length = _lengths(gradient)
    return jnp.where(length > 0, gradient / jnp.where(length > 0, length, 1.0), 0.0)


def _within(moved, radius: float, norm: str):
    if norm == "linf":
        return jnp.clip(moved, -radius, radius)
    return moved * jnp.minimum(1.0, radius / jnp.maximum(_lengths(moved), radius))


def _lengths(rows):
    axes = tuple(range(1, rows.ndim))
    return jnp.sqrt(jnp.sum(rows**2, axes, keepdims=True))
