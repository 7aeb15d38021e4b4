"""A watch on any training loop: is this network still able to learn, and if not, why not?"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from neoteny import curvature, probes
from neoteny.errors import UserError

LossOfBatch = Callable[[PyTree, Any], Any]
Features = Callable[[PyTree, Any], Sequence[Float[Array, "rows units"]]]


class Rule(NamedTuple):
    """A mechanism of lost plasticity: what shows it, and what is known to help.

    It is at work where `value`, over that of the reference, has passed `bound`: fallen below
    one that is under 1, risen above one that is over 1. `absolute` bounds the value itself.
    `decides` marks those that alone make a network count as no longer trainable.
    """

    value: str
    bound: float
    mechanism: str
    advice: str
    decides: bool = False
    absolute: bool = False


class Diagnosis(NamedTuple):
    """What `Monitor.check` found; print it for the whole in words.

    - `trainable`: False where a deciding mechanism is at work, None on the first check of a
      monitor that has nothing to compare with.
    - `mechanisms`, `advice`: one sentence for each mechanism at work, and what to try.
    - `values`, `reference`: the measurements, of these parameters and of what they are
      compared with.
    """

    trainable: bool | None
    mechanisms: tuple[str, ...]
    advice: tuple[str, ...]
    values: dict[str, float]
    reference: dict[str, float]

    def __str__(self) -> str:
        heads = {True: "trainable", False: "losing plasticity", None: "first check, no reference"}
        lines = [heads[self.trainable]]
        pairs = zip(self.mechanisms, self.advice, strict=True)
        lines += [f"- {mechanism}: try {advice}" for mechanism, advice in pairs]
        return "\n".join(lines)


RULES = (
    Rule(
        "curvature_rank",
        0.5,
        "curvature directions have collapsed",
        "L2 with an effective-rank step (`methods.l2_er`), or shrink and perturb (`methods.snp`)",
        decides=True,
    ),
    Rule(
        "gradient_norm",
        0.1,
        "the gradient has all but vanished",
        "re-initialising dead units (`methods.cbp`), or shrink and perturb (`methods.snp`)",
        decides=True,
    ),
    Rule(
        "feature_rank",
        0.5,
        "features fill few directions",
        "an effective-rank step (`interventions.effective_rank_step`)",
    ),
    Rule(
        "dead_share",
        0.5,
        "half of the hidden units are dead",
        "re-initialising them (`interventions.continual_backprop`), or layer normalisation",
        decides=True,
        absolute=True,
    ),
    Rule(
        "weight_norm",
        3.0,
        "weights have grown",
        "weight decay (`methods.l2`), or a pull to the initial weights (`methods.l2_init`)",
    ),
    Rule(
        "edge",
        1.0,
        "the step size is beyond the edge of stability",
        "a smaller learning rate",
        absolute=True,
    ),
)
"""What a monitor looks for unless told otherwise."""


class Monitor:
    """Two lines in any training loop: `monitor = Monitor(...)`, `print(monitor.check(...))`.

    Compares the parameters with fresh ones on the same batch where `fresh` is given, which
    needs no memory of the past; otherwise with the first check, which therefore belongs to the
    network's youth. Check at the start of a task, on a batch of the *new* task: that is when
    lost plasticity shows. It diagnoses and does not foretell: in the study `early-warning` no
    probe alarmed before accuracy had fallen by five points. Nothing of it touches training.
    Costs `2 * num_steps` or so Hessian-vector products on the batch, twice with `fresh`;
    compiles once for each loss function and shape, so pass the same function every time rather
    than a new lambda.

    **Arguments:**

    - `fresh`: `key -> params`, the network's initialiser.
    - `features`: `(params, batch) -> matrices` of post-activations, for unit and rank checks.
    - `learning_rate`: of plain gradient descent, for the edge of stability.
    - `rules`: what to look for.
    - `num_steps`, `num_probes`: of the spectrum.
    - `seed`: of its start vectors and of the fresh parameters.

    **Raises:** `UserError` for impossible options.
    """

    def __init__(
        self,
        *,
        fresh: Callable[[Any], PyTree] | None = None,
        features: Features | None = None,
        learning_rate: float | None = None,
        rules: Sequence[Rule] = RULES,
        num_steps: int = 32,
        num_probes: int = 2,
        seed: int = 0,
    ):
        if num_steps < 1 or num_probes < 1:
            raise UserError(
                f"`num_steps` is {num_steps} and `num_probes` is {num_probes}; a spectrum takes "
                "at least 1 of each. Leave them out for 32 and 2."
            )
        if learning_rate is not None and not learning_rate > 0:
            raise UserError(
                f"`learning_rate` is {learning_rate}, but a step has a positive size. Leave it "
                "out if you use no plain gradient descent."
            )
        self.rules = tuple(rules)
        self.reference: dict[str, float] | None = None
        self.history: list[Diagnosis] = []
        self._fresh, self._features, self._rate = fresh, features, learning_rate
        self._num_steps, self._num_probes = num_steps, num_probes
        self._key = jax.random.key(seed)
        self._compiled: dict[LossOfBatch, Callable] = {}

    def check(self, loss_fn: LossOfBatch, params: PyTree, batch: Any) -> Diagnosis:
        """Measure `params` on `batch`, and say whether they can still learn it.

        **Arguments:**

        - `loss_fn`: `(params, batch) -> scalar`, the mean task loss without penalties.

        **Raises:** `UserError` if a measurement is not finite; `ValueError` where curvature
        cannot be measured, as of integer parameters.
        """
        values = self._measured(loss_fn, params, batch)
        _refuse_strange(values, "Training has diverged; go back to a checkpoint.")
        if self._fresh is not None:
            draw = jax.random.fold_in(self._key, len(self.history))
            reference = self._measured(loss_fn, self._fresh(draw), batch)
            _refuse_strange(reference, "These are parameters that `fresh` has made.")
        else:
            reference = self.reference
            self.reference = self.reference or values
        found = diagnose(values, reference, self.rules)
        self.history.append(found)
        return found

    def _measured(self, loss_fn, params, batch) -> dict[str, float]:
        if loss_fn not in self._compiled:
            self._compiled[loss_fn] = jax.jit(
                lambda params, batch, key: self._device_half(loss_fn, params, batch, key)
            )
        size = curvature.ravel_params(params)[0].size
        plain, alphas, betas = self._compiled[loss_fn](params, batch, self._key)
        values = {name: float(value) for name, value in plain.items()}
        if not (np.isfinite(alphas).all() and np.isfinite(betas).all()):
            return values | {"curvature_rank": np.nan}
        spectrum = curvature.quadrature(alphas, betas)
        extremes = curvature.extreme_eigenvalues(spectrum)
        values["curvature_rank"] = float(curvature.effective_rank(spectrum, size).value)
        values["sharpness"] = extremes.largest
        if self._rate is not None:
            values["edge"] = self._rate * extremes.largest / 2
        return values

    def _device_half(self, loss_fn, params, batch, key):
        loss = lambda params: loss_fn(params, batch)
        value, gradient = jax.value_and_grad(loss)(params)
        flat = curvature.ravel_params(params)[0]
        plain = {
            "loss": value,
            "gradient_norm": jnp.linalg.norm(curvature.ravel_params(gradient)[0]),
            "weight_norm": jnp.linalg.norm(flat),
        }
        if self._features is not None:
            layers = list(self._features(params, batch))
            if not layers:
                raise UserError(
                    "`features` returned no matrix, so there is no hidden layer to look at. Leave "
                    "it out, and the monitor looks at gradients, weights and curvature alone."
                )
            ranks = [probes.effective_rank(layer) for layer in layers]
            dead = jnp.concatenate([jnp.all(layer == 0, axis=0) for layer in layers])
            plain |= {"feature_rank": jnp.mean(jnp.stack(ranks)), "dead_share": dead.mean()}
        steps = min(self._num_steps, flat.size)
        alphas, betas = curvature.lanczos_coefficients(loss, params, key, steps, self._num_probes)
        return plain, alphas, betas


def _refuse_strange(values: dict[str, float], remedy: str) -> None:
    for name, value in values.items():
        if not np.isfinite(value):
            raise UserError(
                f"`{name}` is {value} on this batch: the loss or the parameters are not finite. "
                + remedy
            )


def diagnose(
    values: dict[str, float], reference: dict[str, float] | None, rules: Sequence[Rule] = RULES
) -> Diagnosis:
    """Hold measurements against those of a network known to be able to learn."""
    at_work = []
    for rule in rules:
        value = values.get(rule.value)
        if value is None or (reference is None and not rule.absolute):
            continue
        if not rule.absolute and reference is not None:
            if not reference[rule.value]:  # nothing to be a share of
                continue
            value = value / reference[rule.value]
        above = rule.absolute or rule.bound > 1
        if value > rule.bound if above else value < rule.bound:
            at_work.append((rule, value))
    decided = any(rule.decides for rule, _ in at_work)
    trainable = False if decided else None if reference is None else True
    return Diagnosis(
        trainable,
        tuple(f"{rule.mechanism} ({_amount(rule, value)})" for rule, value in at_work),
        tuple(rule.advice for rule, _ in at_work),
        values,
        reference or {},
    )


def _amount(rule: Rule, value: float) -> str:
    name = rule.value.replace("_", " ")
    return f"{name} is {value:.2g}" if rule.absolute else f"{name} is {value:.2g} of the reference"
