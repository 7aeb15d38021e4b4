"""How far the last hidden layer has collapsed onto one point for each class."""

from functools import reduce
from operator import getitem
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from neoteny.types import Snapshot


class NeuralCollapse(NamedTuple):
    """The geometry of the classes in the last hidden layer; means are centred on their own mean.

    - `within_between`: mean squared distance of rows from their class mean, over that of class
      means from their centre (NC1): 0 where each class is one point.
    - `etf_gap`: the largest distance of a cosine between two class means from `-1 / (classes - 1)`
      (NC2): 0 for the directions of a simplex equiangular tight frame.
    - `norm_spread`: standard deviation over mean of the lengths of the class means (NC2).
    - `self_duality`: cosine between the centred output weights and class means, each as one
      vector (NC3): 1 where they are the same up to scale.
    """

    within_between: Scalar
    etf_gap: Scalar
    norm_spread: Scalar
    self_duality: Scalar


def neural_collapse(snapshot: Snapshot) -> NeuralCollapse:
    """Measure the `class_geometry` of the snapshot's last hidden layer.

    `self_duality` is NaN where the network has no trained matrix that reads this layer; all are
    NaN for regression, for a network without hidden layers, and where the layer's rows are places
    in an image and not inputs. Costs one forward pass.
    """
    inputs, labels = snapshot.batch
    outputs, features = snapshot.network.apply(snapshot.params, inputs)
    rows_fit = bool(features) and len(features[-1]) == len(labels)
    if not rows_fit or not jnp.issubdtype(labels.dtype, jnp.integer):
        return NeuralCollapse(*(jnp.full((), jnp.nan, outputs.dtype),) * 4)
    shape = (features[-1].shape[1], outputs.shape[1])
    return class_geometry(features[-1], labels, _head(snapshot, shape))


def class_geometry(
    features: Float[Array, "rows units"],
    labels: Int[Array, " rows"],
    head: Float[Array, "units classes"],
) -> NeuralCollapse:
    """Compute the four numbers of `NeuralCollapse` from features, labels and the output weights.

    Classes without a row are left out. With fewer than two classes there is nothing to compare,
    and all are NaN, as they are where all class means are one. No scale of the features counts.

    **Source:** Papyan, Han & Donoho (2020). Their NC1 weighs directions by the inverse of the
    between-class covariance; here it is the ratio of the two traces, as in Zhou et al. (2023).
    """
    member = jax.nn.one_hot(labels, head.shape[1], dtype=features.dtype)
    counts = member.sum(0)
    here = counts > 0
    classes = here.sum()
    means = (member.T @ features) / jnp.maximum(counts, 1)[:, None]
    within = jnp.mean(jnp.sum((features - means[labels]) ** 2, axis=1))
    centred = _centred(means, here)
    lengths = jnp.linalg.norm(centred, axis=1)
    gap = _gap(centred / jnp.where(here, lengths, 1)[:, None], here, classes)
    mean = lengths.sum() / classes
    spread = jnp.sqrt(jnp.sum(jnp.where(here, lengths - mean, 0) ** 2) / classes) / mean
    weights = _centred(head.T, here)
    dual = jnp.sum(weights * centred) / (jnp.linalg.norm(weights) * jnp.linalg.norm(centred))
    found = within / (jnp.sum(lengths**2) / classes), gap, spread, dual
    return NeuralCollapse(*(jnp.where(classes > 1, value, jnp.nan) for value in found))


def _centred(means, here):
    centre = jnp.sum(jnp.where(here[:, None], means, 0), axis=0) / here.sum()
    return jnp.where(here[:, None], means - centre[None], 0)


def _gap(units, here, classes):
    pairs = here[:, None] & here[None] & ~jnp.eye(len(here), dtype=bool)
    gaps = jnp.abs(units @ units.T + 1 / (classes - 1))
    return jnp.max(jnp.where(pairs, gaps, 0))


def _head(snapshot: Snapshot, shape: tuple[int, int]) -> Float[Array, "units classes"]:
    """The matrix that reads the last layer: named by the network, or else the tree's last one."""
    last = snapshot.network.units[-1]
    if last.incoming:
        found = [reduce(getitem, place.path, snapshot.params) for place in last.outgoing]
    else:
        found = [leaf for leaf in jax.tree.leaves(snapshot.params) if leaf.ndim == 2][-1:]
    return next((one for one in found if one.shape == shape), jnp.full(shape, jnp.nan))
