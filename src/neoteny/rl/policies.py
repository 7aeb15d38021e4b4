"""What an agent's outputs mean: a distribution over actions, and the value of a state."""

from collections.abc import Callable
from math import log, pi
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from neoteny.rl.environment import Box, Discrete
from neoteny.types import PRNGKey

Outputs = Float[Array, "rows outputs"]


class Policy(NamedTuple):
    """How to read a network's outputs; each function takes them for many rows at once.

    The columns are those of the actions (logits, or means), then the value of the state, then for
    a Gaussian the logarithms of its standard deviations.

    - `actions`: columns of the actions; `deviations`: those of the standard deviations, or 0.
    - `sample(key, outputs)`, `likeliest(outputs)`: an action for each row.
    - `log_probability(outputs, actions)`, `entropy(outputs)`: in nats.
    - `divergence(before, after)`: Kullback-Leibler, of the second from the first, in nats.
    """

    actions: int
    deviations: int
    sample: Callable[[PRNGKey, Outputs], Any]
    likeliest: Callable[[Outputs], Any]
    log_probability: Callable[[Outputs, Any], Float[Array, " rows"]]
    entropy: Callable[[Outputs], Float[Array, " rows"]]
    divergence: Callable[[Outputs, Outputs], Float[Array, " rows"]]

    def value(self, outputs: Outputs) -> Float[Array, " rows"]:
        """The value of each row's state."""
        return outputs[:, self.actions]


def policy(actions: Discrete | Box) -> Policy:
    """The policy for such actions: a softmax over numbered ones, a Gaussian over vectors.

    The Gaussian is not squashed: it is the environment that clips what it is given, and the
    probability is that of the action before.
    """
    return _softmax(actions.count) if isinstance(actions, Discrete) else _gaussian(actions.size)


def _softmax(count: int) -> Policy:
    def logs(outputs: Outputs) -> Float[Array, "rows actions"]:
        return jax.nn.log_softmax(outputs[:, :count])

    def log_probability(outputs: Outputs, actions: Int[Array, " rows"]):
        return jnp.take_along_axis(logs(outputs), actions[:, None], axis=1)[:, 0]

    def entropy(outputs: Outputs):
        return -jnp.sum(jnp.exp(logs(outputs)) * logs(outputs), axis=1)

    def divergence(before: Outputs, after: Outputs):
        return jnp.sum(jnp.exp(logs(before)) * (logs(before) - logs(after)), axis=1)

    return Policy(
        count,
        0,
        lambda key, outputs: jax.random.categorical(key, outputs[:, :count]),
        lambda outputs: jnp.argmax(outputs[:, :count], axis=1),
        log_probability,
        entropy,
        divergence,
    )


def _gaussian(size: int) -> Policy:
    def parts(outputs: Outputs):
        return outputs[:, :size], outputs[:, size + 1 :]

    def sample(key: PRNGKey, outputs: Outputs):
        mean, log_std = parts(outputs)
        return mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape, mean.dtype)

    def log_probability(outputs: Outputs, actions: Float[Array, "rows size"]):
        mean, log_std = parts(outputs)
        scaled = (actions - mean) * jnp.exp(-log_std)
        return -jnp.sum(0.5 * scaled**2 + log_std + 0.5 * log(2 * pi), axis=1)

    def entropy(outputs: Outputs):
        return jnp.sum(parts(outputs)[1] + 0.5 * (1 + log(2 * pi)), axis=1)

    def divergence(before: Outputs, after: Outputs):
        (mean, log_std), (other, log_other) = parts(before), parts(after)
        squares = jnp.exp(2 * (log_std - log_other)) + ((mean - other) * jnp.exp(-log_other)) ** 2
        return jnp.sum(log_other - log_std + 0.5 * (squares - 1), axis=1)

    return Policy(
        size,
        size,
        sample,
        lambda outputs: parts(outputs)[0],
        log_probability,
        entropy,
        divergence,
    )
