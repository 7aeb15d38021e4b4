"""Terms added to the task loss."""

import jax
import jax.numpy as jnp

from neoteny.interventions.base import Penalty, refuse_no_hidden_layers, stateless_penalty
from neoteny.interventions.effective_rank import (
    mean_effective_rank,
    refuse_layers,
    refuse_one_row,
)


def l2_init(strength: float) -> Penalty:
    """Pull every parameter towards its own initial value: `strength / 2 * |params - initial|^2`.

    Remembers a copy of the parameters before the first update.

    **Source:** regenerative regularisation, Kumar, Marklund & Van Roy (2023).
    """

    def value(params, features, initial, **others):
        del features, others
        squares = jax.tree.map(lambda now, first: jnp.sum((now - first) ** 2), params, initial)
        return 0.5 * strength * jnp.asarray(sum(jax.tree.leaves(squares))), initial

    return Penalty(lambda params: params, value)


def wasserstein_init(strength: float) -> Penalty:
    """Pull each array's distribution of entries to its initial one, whichever entry has which.

    `strength / 2` times the squared distance of the sorted entries from the sorted initial ones:
    their number times the squared 2-Wasserstein distance. Costs a sort a step.

    **Source:** Lewandowski et al. (2024), in the first version of their paper.
    """
    order = lambda leaf: jnp.sort(leaf.reshape(-1))

    def value(params, features, initial, **others):
        del features, others
        squares = jax.tree.map(lambda p, first: jnp.sum((order(p) - first) ** 2), params, initial)
        return 0.5 * strength * jnp.asarray(sum(jax.tree.leaves(squares))), initial

    return Penalty(lambda params: jax.tree.map(order, params), value)


def effective_rank_penalty(strength: float, *, layers: int = 0) -> Penalty:
    """Reward diverse features: `-strength` times the effective rank, averaged over hidden layers.

    Over the last `layers` of them, or over all with `layers=0`.

    The rank of a mini-batch of `b` rows is at most `b`: where batches are small, the separate
    step of `effective_rank_step` sees more directions at less cost.

    **Source:** Prakash et al. (2026), whose objective is the task loss plus L2 minus this. It
    is blind to the scale of the features, which is why it is paired with L2.
    """

    def value(params, features):
        del params
        refuse_no_hidden_layers(features, "The effective-rank penalty")
        refuse_one_row(len(features[0]))
        refuse_layers(layers, len(features))
        return -strength * mean_effective_rank(features, layers)

    return stateless_penalty(value)


def spectral(strength: float, *, power: int = 2, target: float = 1.0) -> Penalty:
    """Keep each kernel's largest singular value near `target`, biases and norms at their start.

    `strength` times the sum over kernels of `(s**power - target)**2`, plus the squared distance
    of every vector (bias, norm scale and offset) from its initial value: zero for biases and
    offsets, one for scales. `s` comes from power iteration, started anew where the last step
    left it: one iteration, two matrix-vector products per kernel and step. Kernels of more than
    two axes are read as matrices with one column for each output; the `positions` of a
    transformer are no kernel, and count as vectors.

    **Source:** Lewandowski et al. (2025). The gradient is that of `u @ W @ v` at fixed `u`, `v`,
    which is the gradient of `s` once the iteration has settled.
    """

    def init(params):
        return tuple(_first(path, leaf) for path, leaf in jax.tree.leaves_with_path(params))

    def value(params, features, state, **others):
        del features, others
        terms, memories = zip(*map(term, jax.tree.leaves(params), state), strict=True)
        return strength * jnp.asarray(sum(terms)), memories

    def term(leaf, memory):
        if leaf.shape == memory.shape:
            return jnp.sum((leaf - memory) ** 2), memory
        matrix = leaf.reshape(-1, leaf.shape[-1])
        left, right = _power_step(jax.lax.stop_gradient(matrix), memory)
        value = (jnp.vdot(left, matrix @ right) ** power - target) ** 2
        return value, jnp.where(jnp.any(right), right, memory)  # a zero kernel teaches nothing

    return Penalty(init, value)


def spectral_decoupling(strength: float, *, target: float = 0.0) -> Penalty:
    """Keep outputs near `target`: `strength / 2` times the mean over rows of the squared distance.

    In place of weight decay, it keeps confident rows from losing their gradient, and with it the
    features that these rows do not need.

    **Source:** Pezeshki et al. (2021), whose scripts write the coefficient without the half.
    """

    def value(params, features, state, *, outputs, **others):
        del params, features, others
        return 0.5 * strength * jnp.mean(jnp.sum((outputs - target) ** 2, axis=1)), state

    return Penalty(lambda params: (), value)


def feature_decay(strength: float) -> Penalty:
    """Pull the last hidden layer's activations to zero: `strength / 2` times their mean square sum.

    **Source:** the feature regularisation of Zhou et al. (2023).
    """

    def value(params, features):
        del params
        refuse_no_hidden_layers(features, "Feature decay")
        return 0.5 * strength * jnp.mean(jnp.sum(features[-1] ** 2, axis=1))

    return stateless_penalty(value)


def singular_value_penalty(strength: float) -> Penalty:
    """Pull the last hidden layer's largest and smallest singular values together.

    `strength` times the difference of their squares, of the mini-batch's features: eigenvalues of
    the smaller Gram matrix, whose gradient exists where they are simple. Features of zero are a
    minimum of it too, which a large strength leads to.

    **Source:** the penalty of Kumar et al. (2021).
    """

    def value(params, features):
        del params
        refuse_no_hidden_layers(features, "The singular-value penalty")
        rows = features[-1]
        gram = rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows
        squares = jnp.linalg.eigvalsh(gram)
        return strength * (squares[-1] - squares[0])

    return stateless_penalty(value)


def _first(path, leaf, iterations: int = 30):
    """Where power iteration on a kernel starts; a vector's own initial value."""
    if leaf.ndim < 2 or getattr(path[-1] if path else None, "key", None) == "positions":
        return leaf
    matrix = leaf.reshape(-1, leaf.shape[-1])
    start = jax.random.normal(jax.random.key(0), matrix.shape[1:], matrix.dtype)
    return jax.lax.fori_loop(0, iterations, lambda _, v: _power_step(matrix, v)[1], start)


def _power_step(matrix, right):
    tiny = jnp.finfo(matrix.dtype).tiny
    left = matrix @ right
    left = left / jnp.maximum(jnp.linalg.norm(left), tiny)
    right = left @ matrix
    return left, right / jnp.maximum(jnp.linalg.norm(right), tiny)
