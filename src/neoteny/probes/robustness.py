"""How little it takes to move a row across a network's decision boundary."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from neoteny.types import Snapshot, as_floats


class InputRobustness(NamedTuple):
    """Of rows that are moved against the network.

    - `robust_accuracy`: the share of rows still right after one step of the fast gradient method.
    """

    robust_accuracy: Float[Array, ""]


def input_robustness(snapshot: Snapshot) -> InputRobustness:
    """Accuracy on the snapshot's rows after each has moved by 0.3 against the network."""
    return input_robustness_with()(snapshot)


def input_robustness_with(
    *, radius: float = 0.3, steps: int = 1
) -> Callable[[Snapshot], InputRobustness]:
    """The probe that moves each row by `radius` against the network and counts what is still right.

    Rows are moved by the fast gradient method in the Euclidean norm or, with more `steps`, by
    projected gradient ascent; they may leave [0, 1]. NaN where labels are numbers. Costs a
    gradient by the inputs a step, and a forward pass.

    **Source:** Goodfellow et al. (2015); Madry et al. (2018).
    """

    def probe(snapshot: Snapshot) -> InputRobustness:
        inputs, labels = as_floats(snapshot.batch.inputs), snapshot.batch.labels
        if jnp.issubdtype(labels.dtype, jnp.floating):
            return InputRobustness(jnp.asarray(jnp.nan))
        outputs = lambda rows: snapshot.network.apply(snapshot.params, rows)[0]
        against = lambda rows: log_odds_against(outputs(rows), labels).mean()
        moved = ascended(against, inputs, radius, steps=steps)
        right = jnp.argmax(outputs(moved), 1) == labels
        return InputRobustness(jnp.mean(right, dtype=inputs.dtype))

    return probe


def log_odds_against(
    outputs: Float[Array, "rows classes"], labels: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """The logarithm of the odds that a row is of another class than its own.

    By the inputs it rises in the direction in which cross-entropy does. But the slope of
    cross-entropy is lost to rounding on rows that are known for sure, where attacks then find no
    way, and this one's is not.
    """
    own = jax.nn.one_hot(labels, outputs.shape[1], dtype=bool)
    margins = outputs - jnp.sum(jnp.where(own, outputs, 0.0), axis=1, keepdims=True)
    return jax.nn.logsumexp(jnp.where(own, -jnp.inf, margins), axis=1)


def ascended(
    loss, inputs: Float[Array, "rows ..."], radius: float, *, steps: int = 1, norm: str = "l2"
) -> Float[Array, "rows ..."]:
    """`inputs` after steps of projected gradient ascent, each row within `radius` of its own.

    One step is of length `radius`, several are of `2.5 * radius / steps`, along each row's
    gradient, or in `linf` along its sign. `loss` is a mean over the rows.
    """
    size = radius if steps == 1 else 2.5 * radius / steps

    def step(_, moved):
        moved = moved + size * _direction(jax.grad(loss)(moved), norm)
        return inputs + _within(moved - inputs, radius, norm)

    return jax.lax.stop_gradient(jax.lax.fori_loop(0, steps, step, inputs))


def _direction(gradient, norm: str):
    """Of each row; in units of its largest entry first, or squares of small ones would be zero."""
    if norm == "linf":
        return jnp.sign(gradient)
    axes = tuple(range(1, gradient.ndim))
    largest = jnp.max(jnp.abs(gradient), axes, keepdims=True)
    some = largest > 0
    scaled = gradient / jnp.where(some, largest, 1.0)
    return jnp.where(some, scaled / jnp.where(some, _lengths(scaled), 1.0), 0.0)


def _within(moved, radius: float, norm: str):
    if norm == "linf":
        return jnp.clip(moved, -radius, radius)
    return moved * jnp.minimum(1.0, radius / jnp.maximum(_lengths(moved), radius))


def _lengths(rows):
    axes = tuple(range(1, rows.ndim))
    return jnp.sqrt(jnp.sum(rows**2, axes, keepdims=True))
