"""Other answers to whether a network is ready to learn: gradients, kernel rank, random labels.

Each is a probe, and a factory `..._with(...)` of the same probe with other settings.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Scalar

from neoteny.errors import unknown
from neoteny.losses import named, task_loss
from neoteny.probes.trainability import tangent_kernel
from neoteny.types import Batch, Probe, Snapshot

_OPTIMISERS = {"adam": optax.adam, "sgd": optax.sgd}


class Readiness(NamedTuple):
    """How strong the gradient is, and how far single minibatches agree with it.

    - `minibatch_gradient_norm`: of the mean over the rows looked at, in loss per unit of parameter.
    - `reliability`: `|g|^2 / E|g_b|^2`, from 0 to 1; 1 if all minibatches have one gradient.
    - `readiness`: `|g|^4 / E|g_b|^2`. For a loss whose gradient has Lipschitz constant L, the
      best SGD step is expected to gain at least `readiness / (2 L)`.
    """

    minibatch_gradient_norm: Scalar
    reliability: Scalar
    readiness: Scalar


class NtkRank(NamedTuple):
    """Ranks of the tangent kernel of all outputs on some rows, from 1 to `rows * classes`.

    - `ntk_effective_rank`: exponential entropy of its eigenvalues divided by their sum.
    - `ntk_rank_99`: how many of the largest hold 99 % of that sum.
    """

    ntk_effective_rank: Scalar
    ntk_rank_99: Scalar


class RandomLabels(NamedTuple):
    """Mean loss and accuracy on labels drawn anew, after a short training on them."""

    random_label_loss: Scalar
    random_label_accuracy: Scalar


def readiness(snapshot: Snapshot) -> Readiness:
    """Measure optimisation readiness, for cross-entropy, on minibatches of up to 16 rows.

    The gradient of each row is computed once.
    """
    return readiness_with()(snapshot)


def readiness_with(*, minibatch: int | None = None, loss: str = "cross-entropy") -> Probe:
    """A probe of optimisation readiness on disjoint minibatches in a random order.

    Rows that fill no minibatch are left out, of the mean gradient too, which is thus that of
    the minibatches exactly. A batch that fills just one has reliability 1: pass rows for several.
    Where there is no gradient, reliability is 0. Costs one gradient on all rows, and the
    memory of two.

    **Arguments:**

    - `minibatch`: rows in each; by default 16, or fewer so that at least 4 are filled. Values
      for different sizes do not compare: reliability grows with the size.

    **Raises:** `ValueError` if `minibatch` is below 1 or, when measuring, above the rows;
    `UserError` for an unknown loss.

    **Source:** after Wang et al. (2026), whose abstract has readiness combine the strength and
    the reliability of gradients and bound the gain of one step. The exact form that they
    publish is unverified: this is the one that their bound asks for.
    """
    _check_at_least_one("minibatch", 1 if minibatch is None else minibatch)
    rowwise = named(loss)

    def probe(snapshot: Snapshot) -> Readiness:
        rows = len(snapshot.batch.labels)
        size = minibatch or max(1, min(16, rows // 4))
        count = rows // size
        if not count:
            raise ValueError(
                f"`minibatch` is {size}, but the snapshot has {rows} rows. Pass "
                f"`minibatch={max(1, rows // 8)}`, or measure on more rows."
            )
        order = jax.random.permutation(snapshot.key, rows)[: count * size]
        stacked = jax.tree.map(
            lambda array: array[order].reshape(count, size, *array.shape[1:]),
            snapshot.batch,
        )
        gradient = jax.grad(
            lambda params, batch: task_loss(snapshot.network, rowwise, batch)(params)
        )

        def add(sums, batch):
            total, squares = sums
            found = gradient(snapshot.params, batch)
            return (jax.tree.map(jnp.add, total, found), squares + _squared(found)), None

        nothing = jax.tree.map(jnp.zeros_like, snapshot.params)
        (total, squares), _ = lax.scan(add, (nothing, _squared(nothing)), stacked)
        strength, mean_square = _squared(total) / count**2, squares / count
        reliability = strength / jnp.where(mean_square == 0, 1, mean_square)
        return Readiness(jnp.sqrt(strength), reliability, strength * reliability)

    return probe


def ntk_rank(snapshot: Snapshot) -> NtkRank:
    """Measure the rank of the neural tangent kernel of all outputs on the first 32 rows.

    Costs, for each of the rows' outputs, a backward and a forward-mode pass over the rows, and
    an eigendecomposition.
    """
    return ntk_rank_with()(snapshot)


def ntk_rank_with(*, rows: int = 32) -> Probe:
    """A probe of the tangent kernel's rank on the first `rows` rows, or on all if fewer.

    **Raises:** `ValueError` if `rows` is below 1.
    """
    _check_at_least_one("rows", rows)

    def probe(snapshot: Snapshot) -> NtkRank:
        inputs = snapshot.batch.inputs[:rows]
        outputs = lambda params: snapshot.network.apply(params, inputs)[0]
        return kernel_ranks(tangent_kernel(outputs, snapshot.params))

    return probe


def kernel_ranks(kernel: Float[Array, "n n"]) -> NtkRank:
    """Compute both ranks of a positive semi-definite matrix; a zero matrix has rank 0.

    They do not depend on its scale. Eigenvalues below zero, which are rounding, count as zero.
    """
    values = jnp.maximum(jnp.linalg.eigvalsh(kernel, symmetrize_input=False), 0)
    total = jnp.sum(values)
    shares = values / jnp.where(total == 0, 1, total)
    entropy = -jnp.sum(shares * jnp.log(jnp.where(shares == 0, 1, shares)))
    spared = 0.01 * (1 + 1e-5)  # or rounding would decide ties of equal values
    holding = jnp.sum(jnp.cumsum(shares) > spared).astype(kernel.dtype)
    return NtkRank(
        jnp.where(total == 0, 0, jnp.exp(entropy)),
        jnp.where(jnp.isfinite(total), holding, jnp.nan),
    )


def random_label_probe(snapshot: Snapshot) -> RandomLabels:
    """Fit random labels from a copy of the parameters, with 100 full-batch steps of Adam."""
    return random_label_probe_with()(snapshot)


def random_label_probe_with(
    *,
    steps: int = 100,
    learning_rate: float = 1e-3,
    optimiser: str = "adam",
    loss: str = "cross-entropy",
) -> Probe:
    """A probe that fits labels drawn anew to the snapshot's rows, and says how far it came.

    The only one here that measures what plasticity is for: no theory, but one task, step size
    and budget. The optimiser starts afresh, all rows are in every step, and the parameters
    looked at stay as they are. Compare with a fresh network's value, for the same key. Costs
    `steps` gradients on all rows and three copies of the parameters.

    **Raises:** `ValueError` if `steps` is below 1 or `learning_rate` not positive; `UserError`
    for an unknown optimiser or loss.

    **Source:** Lyle et al. (2023), with random targets of a classifier.
    """
    _check_at_least_one("steps", steps)
    if not learning_rate > 0:
        raise ValueError(
            f"`learning_rate` is {learning_rate}, but a step has a positive size. Pass the one "
            "that the run trains with, or `learning_rate=1e-3`."
        )
    if optimiser not in _OPTIMISERS:
        raise unknown("optimiser", optimiser, _OPTIMISERS)
    rowwise, update = named(loss), _OPTIMISERS[optimiser](learning_rate)

    def probe(snapshot: Snapshot) -> RandomLabels:
        network, (inputs, labels) = snapshot.network, snapshot.batch
        classes = jax.eval_shape(network.apply, snapshot.params, inputs)[0].shape[1]
        if snapshot.classes is None:
            drawn = jax.random.randint(snapshot.key, labels.shape, 0, classes, labels.dtype)
        else:
            chances = jnp.where(snapshot.classes, 0.0, -jnp.inf)
            drawn = jax.random.categorical(snapshot.key, chances, shape=labels.shape)
            drawn = drawn.astype(labels.dtype)
        objective = task_loss(network, rowwise, Batch(inputs, drawn))

        def step(carry, _):
            params, state = carry
            change, state = update.update(jax.grad(objective)(params), state, params)
            return (optax.apply_updates(params, change), state), None

        start = (snapshot.params, update.init(snapshot.params))
        (params, _), _ = lax.scan(step, start, length=steps)
        outputs, _ = network.apply(params, inputs)
        hits = outputs.argmax(axis=1) == drawn
        return RandomLabels(jnp.mean(rowwise(outputs, drawn)), jnp.mean(hits, dtype=outputs.dtype))

    return probe


def _squared(tree):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree))


def _check_at_least_one(name, value):
    if value < 1:
        raise ValueError(f"`{name}` is {value}, but takes at least 1. Pass `{name}=16`.")
