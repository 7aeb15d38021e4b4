"""Task losses: outputs and labels to one number per row."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from neoteny.errors import UserError, unknown
from neoteny.types import Batch, Loss, Network


def cross_entropy(
    outputs: Float[Array, "rows classes"], labels: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """Softmax cross-entropy in nats, row by row."""
    chosen = jnp.take_along_axis(outputs, labels[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(outputs, axis=1) - chosen


def squared_error(
    outputs: Float[Array, "rows outputs"], labels: Num[Array, " rows"]
) -> Float[Array, " rows"]:
    """Squared distance to the one-hot label, averaged over classes; or to the label, if a float."""
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return (outputs[:, 0] - labels) ** 2
    return jnp.mean((outputs - jax.nn.one_hot(labels, outputs.shape[1])) ** 2, axis=1)


def unhinged(
    outputs: Float[Array, "rows classes"], labels: Int[Array, " rows"]
) -> Float[Array, " rows"]:
    """The mean output less that of the label: cross-entropy to first order at equal outputs.

    Unbounded below, so that what it teaches is a direction; its Hessian in the outputs is zero.

    **Source:** the unhinged loss of van Rooyen et al. (2015), for many classes as in Zhou et al.
    (2023).
    """
    chosen = jnp.take_along_axis(outputs, labels[:, None], axis=1)[:, 0]
    return outputs.mean(1) - chosen


LOSSES = {"cross-entropy": cross_entropy, "squared-error": squared_error, "unhinged": unhinged}


def named(name: str):
    """The row-wise loss called `name`; `UserError` for one that is unknown."""
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return LOSSES[name]


CURVED = ("cross-entropy", "squared-error")
"""Losses that are bounded below and curved in the outputs, as what is said of descent needs."""


def curved(name: str):
    """The row-wise loss called `name`, where it is one of `CURVED`; else `UserError`."""
    if name in LOSSES and name not in CURVED:
        raise UserError(
            f"`loss` is {name}, whose Hessian in the outputs is zero: there is no quadratic model "
            f"of it. Pass {' or '.join(CURVED)}."
        )
    return named(name)


def task_loss(network: Network, rowwise, batch: Batch) -> Loss:
    """The mean loss on `batch` as a function of the parameters: what curvature is measured of."""
    return lambda params: rowwise(network.apply(params, batch.inputs)[0], batch.labels).mean()
