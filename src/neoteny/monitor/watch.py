"""The monitor: two lines in any training loop."""

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from neoteny import curvature
from neoteny.monitor import checks, measurement
from neoteny.monitor.measurement import Features, LossOfBatch
from neoteny.monitor.rules import RULES, Diagnosis, Rule, diagnose

Values = dict[str, float]

_DIVERGED = "Training has diverged; go back to a checkpoint."


class Monitor:
    """Two lines in any training loop: `monitor = Monitor(...)`, `print(monitor.check(...))`.

    Compares the parameters with fresh ones on the same batch where `fresh` is given, which
    needs no memory of the past; otherwise with the first check, which therefore belongs to the
    network's youth. Check at the start of a task, on a batch of the *new* task: that is when
    lost plasticity shows, and on a batch that is learnt there is nothing to tell. It diagnoses
    and does not foretell: in the study `early-warning` no probe alarmed before accuracy had
    fallen by five points. Nothing of it touches training.

    **Cost:** a check of 128 rows takes some ten gradients of them, and as many for each fresh
    network, which are measured once for each batch; `learning_rate` adds as many Hessian-vector
    products as `num_steps`, and `features` the singular values of each layer. Memory is that of a
    few copies of the parameters. Compiles once for each loss function and shape, so pass the same
    function every time rather than a new lambda.

    **Arguments:**

    - `fresh`: `key -> params`, the network's initialiser.
    - `features`: `(params, batch) -> matrices`, one (rows, units) for each hidden layer, in any
      container; for unit and rank checks. After the activation: a unit is dead if it is exactly
      0 on every row, which before a ReLU, or after a tanh, none is.
    - `learning_rate`: of plain gradient descent, for the edge of stability.
    - `rules`: what to look for.
    - `rows`: of the batch to look at, the first ones; None for all.
    - `draws`: fresh networks; a rule is at work where it is beside each of them.
    - `num_steps`: of Lanczos, for the edge of stability. Fewer see a little less sharpness.
    - `seed`: of its start vector and of the fresh parameters.

    **Raises:** `UserError` for impossible options.
    """

    def __init__(
        self,
        *,
        fresh: Callable[[Any], PyTree] | None = None,
        features: Features | None = None,
        learning_rate: float | None = None,
        rules: Sequence[Rule] = RULES,
        rows: int | None = 128,
        draws: int = 2,
        num_steps: int = 8,
        seed: int = 0,
    ):
        counts = {"rows": rows, "draws": draws, "num_steps": num_steps}
        checks.check_options(fresh, learning_rate, counts)
        self.rules = tuple(rules)
        self.reference: Values | None = None
        self.history: list[Diagnosis] = []
        self._fresh, self._features, self._rate = fresh, features, learning_rate
        self._rows, self._draws, self._num_steps = rows, draws, num_steps
        self._key = jax.random.key(seed)
        self._compiled: dict[tuple[str, Callable], Callable] = {}
        self._first: tuple[LossOfBatch, Any] | None = None
        self._remembered: tuple[Any, list[Values]] | None = None

    def check(self, loss_fn: LossOfBatch, params: PyTree, batch: Any, *others: Any) -> Diagnosis:
        """Measure `params` on `batch`, and say whether they can still learn it.

        **Arguments:**

        - `loss_fn`: `(params, batch, *others) -> scalar`, the mean task loss without penalties.
        - `batch`: a pytree of arrays whose first axis is that of the rows. Where it is not the
          same for all, all rows are looked at, and not parted for `gradient_rank`.
        - `others`: what else the loss takes, such as running statistics or a key.

        **Raises:** `UserError` for arguments that no loss can be measured of, if a measurement is
        not finite, or for parameters that are no floats; `ValueError` for half-precision ones.
        """
        checks.check_call(loss_fn, params, batch, others)
        if self._fresh is not None:
            checks.check_fresh(self._fresh, params, batch)
        batch = measurement.first_rows(batch, self._rows)
        values = self._measured(loss_fn, params, batch, others)
        values |= self._edge(loss_fn, params, batch, others)
        checks.check_finite(values, params, batch, _DIVERGED)
        references = self._references(loss_fn, values, batch, others)
        found = diagnose(values, references, self.rules, self._changes(loss_fn, batch))
        self.history.append(found)
        return found

    def _measured(self, loss_fn, params, batch, others) -> Values:
        measured = self._jitted("loss", loss_fn, measurement.measure)(params, batch, others)
        if self._features is not None:
            measured = measured | self._jitted("features", self._features, _of_features)(
                params, batch
            )
        return {name: float(value) for name, value in measured.items()}

    def _edge(self, loss_fn, params, batch, others) -> Values:
        if self._rate is None:
            return {}
        lanczos = partial(measurement.lanczos, steps=self._num_steps)
        product = self._jitted("sharpness", loss_fn, lanczos)
        spectrum = curvature.quadrature(*product(params, batch, others, self._key))
        largest = curvature.extreme_eigenvalues(spectrum).largest
        return {"sharpness": largest, "edge": self._rate * largest / 2}

    def _jitted(self, name: str, function: Callable, measure: Callable) -> Callable:
        """`measure(function, ...)`, compiled once; of the same function, not of an equal one."""
        if (name, function) not in self._compiled:
            self._compiled[name, function] = jax.jit(partial(measure, function))
        return self._compiled[name, function]

    def _references(self, loss_fn, values, batch, others) -> list[Values]:
        """What fresh networks measure on this batch, or else the first check, if there was one."""
        if self._fresh is None:
            before, self.reference = self.reference, self.reference or values
            return [before] if before else []
        mark = loss_fn, _digest((batch, others))
        if self._remembered is None or self._remembered[0] != mark:
            self._remembered = (
                mark,
                [self._of_fresh(loss_fn, draw, batch, others) for draw in range(self._draws)],
            )
        return self._remembered[1]

    def _of_fresh(self, loss_fn, draw, batch, others) -> Values:
        assert self._fresh is not None
        params = self._fresh(jax.random.fold_in(self._key, draw))
        values = self._measured(loss_fn, params, batch, others)
        checks.check_finite(values, params, batch, "These are parameters that `fresh` has made.")
        return values

    def _changes(self, loss_fn, batch) -> list[str]:
        """What differs from the first check, if that is what parameters are compared with."""
        shapes = jax.tree.map(np.shape, batch)
        self._first = self._first or (loss_fn, shapes)
        if self._fresh is not None:
            return []
        before = self._first
        notes = []
        if loss_fn is not before[0]:
            notes.append(
                "the loss function is not that of the first check, with which this is compared: "
                "pass the same one every time, or `fresh`"
            )
        if shapes != before[1]:
            notes.append(
                f"the batch has shapes {shapes}, and at the first check {before[1]}: pass the same "
                "number of rows every time, or `fresh`"
            )
        return notes


def _of_features(features, params, batch):
    layers = jax.tree.leaves(features(params, batch))
    checks.check_layers(layers)
    return measurement.of_features(layers)


def _digest(tree: PyTree) -> bytes:
    """The same for the same numbers, wherever they lie."""
    total = hashlib.sha256(str(jax.tree.structure(tree)).encode())
    for leaf in jax.tree.leaves(tree):
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return total.digest()
