"""What a run measures of its network: accuracy, probes, spectra, and the columns they become."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from neoteny import curvature, probes
from neoteny.config import ProbesConfig, Setting
from neoteny.errors import UserError, unknown
from neoteny.lockstep import Asking, Call, alone
from neoteny.losses import cross_entropy, task_loss
from neoteny.types import Batch, Network, Params, PRNGKey, Snapshot, View, bound

Coefficients = Callable[[Params, Batch, PRNGKey, View], tuple]

OF_CROSS_ENTROPY = (
    "trainability", "budget", "readiness", "random_labels", "interference", "saturation", "margin",
    "response",
)  # fmt: skip
"""Probes that know no other loss."""

VIEW = View()
"""Of a network that remembers nothing, all of whose outputs count."""

RESOLVED = 0.25
"""An estimate stands if fewer Lanczos steps give it within this: three quarters of them, and for
what hangs on the shape of the bulk also half, and one less, as even and odd numbers differ."""


class Observer(NamedTuple):
    """The compiled measurements of one network.

    - `evaluation(params, batch, view, count)`: returns accuracy and mean loss on rows of a batch,
      once its calls are answered; `evaluate` is the same for one network alone;
    - `probe(params, start, batch, key, view, steps=...)`: the named probes at a task's end, by
      name; compiled for each number of `steps` that a task is learnt with;
    - `probe_start`: likewise those before a task is learnt;
    - `matrices`: Lanczos runs by the name of their matrix.

    What is measured is always the network as the `view` has it: with its running statistics, and
    with the outputs that count in this task.
    """

    evaluation: Callable[..., Asking]
    probe: Callable
    probe_start: Callable
    matrices: dict[str, Coefficients]

    def evaluate(self, *arguments) -> tuple[float, float]:
        return alone(self.evaluation(*arguments))


def observer(
    network: Network,
    rowwise_loss: Callable,
    plan: ProbesConfig,
    *,
    learning_rate: float = float("nan"),
    steps: int = 0,
    of_any_loss: bool = False,
) -> Observer:
    """The measurements that `plan` asks for; compiled when first used.

    `learning_rate` and `steps` are the budget of one task, for probes that ask what it reaches.
    """
    budget = {"learning_rate": learning_rate, "steps": steps}
    return Observer(
        _evaluator(network, rowwise_loss, plan.evaluation_rows),
        _prober(network, rowwise_loss, plan.names, budget),
        _prober(network, rowwise_loss, plan.start_names, budget),
        tridiagonalisers(network, rowwise_loss, plan, of_any_loss=of_any_loss),
    )


def tridiagonalisers(
    network: Network, rowwise_loss: Callable, plan: ProbesConfig, *, of_any_loss: bool = False
) -> dict[str, Coefficients]:
    """Compiled Lanczos runs on each matrix: the Hessian, and for cross-entropy the GGN.

    With `of_any_loss` the GGN of whatever loss it is, through its Hessian in the outputs; where
    the loss is not convex in these, as an agent's, it has negative eigenvalues too.

    The Hessian is what the main paper measures. The generalised Gauss-Newton matrix is its part
    without the network's own curvature: positive, of rank at most rows x (classes - 1), and so
    with a gap between its bulk and zero in which a threshold can stand.
    """

    def steps(params: Params) -> int:
        return min(plan.spectrum_steps, sum(leaf.size for leaf in jax.tree.leaves(params)))

    @jax.jit
    def hessian(params, batch, key, view=VIEW):
        loss = task_loss(bound(network, view), rowwise_loss, batch)
        return curvature.lanczos_coefficients(
            loss, params, key, steps(params), plan.spectrum_probes
        )

    @jax.jit
    def ggn(params, batch, key, view=VIEW):
        outputs = lambda params: bound(network, view).apply(params, batch.inputs)[0]
        operator = curvature.ggn_vector_product(outputs, params)
        found = curvature.operator_coefficients(operator, key, steps(params), plan.spectrum_probes)
        rows, classes = jax.eval_shape(outputs, params).shape
        return *found, rows * (classes - 1)

    @jax.jit
    def exact_ggn(params, batch, key, view=VIEW):
        del key
        outputs = lambda params: bound(network, view).apply(params, batch.inputs)[0]
        return curvature.gram_matrix(outputs, params)

    @jax.jit
    def ggn_of_any(params, batch, key, view=VIEW):
        outputs = lambda params: bound(network, view).apply(params, batch.inputs)[0]
        mean_loss = lambda outputs: rowwise_loss(outputs, batch.labels).mean()
        operator = curvature.ggn_vector_product(outputs, params, output_loss=mean_loss)
        return curvature.operator_coefficients(operator, key, steps(params), plan.spectrum_probes)

    if of_any_loss:
        return {"hessian": hessian, "ggn": ggn_of_any}
    if rowwise_loss is not cross_entropy:
        return {"hessian": hessian}
    return {"hessian": hessian, "ggn": ggn if plan.ggn_route == "lanczos" else exact_ggn}


def spectra(
    matrices: dict[str, Coefficients],
    params: Params,
    train: Batch,
    key: PRNGKey,
    rows: int,
    view: View = VIEW,
) -> dict[str, dict[str, Any]]:
    """For each matrix at `params`: nodes, weights, size; of an estimate its tridiagonal form."""
    batch = jax.tree.map(lambda array: array[:rows], train)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    found = {}
    for name, tridiagonal in matrices.items():
        measured = jax.device_get(tridiagonal(params, batch, key, view))
        if isinstance(measured, curvature.GramMatrix):
            nodes, weights = curvature.gram_spectrum(measured, size)[:2]
            found[name] = {"nodes": nodes, "weights": weights, "size": size}
            continue
        alphas, betas, *most = measured
        nodes, weights = curvature.quadrature(alphas, betas)[:2]
        found[name] = {
            "nodes": nodes, "weights": weights, "size": size, "alphas": alphas, "betas": betas
        } | ({"most": np.int64(most[0])} if most else {})  # fmt: skip
    return found


def columns(
    matrix: str, phase: str, arrays: dict[str, Any], setting: Setting, steps: int
) -> dict[str, float | None]:
    """The numbers of one spectrum that stand in the table, as `hessian_rank_start`.

    - `rank`: eigenvalues beyond ±epsilon; `budget_rank`: beyond ±1/(learning rate x steps),
      those that the task's budget can use. Null where the quadrature cannot tell, because the
      threshold stands in a bulk that its nodes do not resolve.
    - `effective_rank`: null where fewer steps give another.
    - `max`, `min`, `trace`; those with an error over probes have `..._se`, null where there was
      one probe, or the spectrum is exact.
    - `legacy_rank`: the share of eigenvalues above epsilon as the main paper published it,
      which mostly measures its smoothing kernel; to compare with.
    """
    size = arrays["size"]
    if "alphas" in arrays:
        alphas, betas = arrays["alphas"], arrays["betas"]
        spectrum, steps_taken = curvature.quadrature(alphas, betas), alphas.shape[1]
        fewer = [max(1, some) for some in (3 * steps_taken // 4, steps_taken // 2, steps_taken - 1)]
        coarser = [curvature.quadrature(alphas[:, :some], betas[:, :some]) for some in fewer]
    else:  # every eigenvalue, so nothing is estimated
        spectrum, coarser = curvature.Spectrum(arrays["nodes"], arrays["weights"]), []
    budget = curvature.budget_epsilon(setting.training.learning_rate, steps)
    trace = curvature.trace(spectrum, size)
    effective, effective_error = _effective_rank(spectrum, coarser, size)
    most = int(arrays["most"]) if "most" in arrays else None
    rank, rank_error = _count(spectrum, coarser, size, setting.probes.epsilon, most)
    budget_rank, budget_error = _count(spectrum, coarser, size, budget, most)
    extremes = curvature.extreme_eigenvalues(spectrum)
    legacy = curvature.legacy_smoothed_epsilon_rank(spectrum, setting.probes.epsilon)
    values = {
        "rank": rank,
        "rank_se": rank_error,
        "budget_rank": budget_rank,
        "budget_rank_se": budget_error,
        "effective_rank": effective,
        "effective_rank_se": effective_error,
        "max": float(extremes.largest),
        "min": float(extremes.smallest),
        "legacy_rank": float(legacy.value),
        "trace": float(trace.value),
        "trace_se": float(trace.standard_error),
    }
    known = lambda value: value is None or np.isfinite(value)
    return {
        _column(matrix, name, phase): value if known(value) else None
        for name, value in values.items()
    }


def _count(
    spectrum: curvature.Spectrum,
    coarser: list[curvature.Spectrum],
    size: int,
    epsilon: float,
    most: int | None = None,
) -> tuple[float | None, float | None]:
    """Eigenvalues beyond ±epsilon with their error, or nothing where the quadrature cannot tell.

    It can if no more eigenvalues are in doubt than are counted, or than are left below (a bulk
    astride the threshold puts nearly all in doubt), and if fewer steps give nearly the count.
    """
    count = curvature.epsilon_rank(spectrum, size, epsilon)
    value = float(count.value)
    doubt = curvature.epsilon_rank_doubt(spectrum, size, epsilon, most)
    before = [float(curvature.epsilon_rank(less, size, epsilon).value) for less in coarser[:1]]
    if doubt > max(min(value, size - value), 1.0) or not _steady(value, before):
        return None, None
    return value, None if np.isnan(count.standard_error) else float(count.standard_error)


def _effective_rank(
    spectrum: curvature.Spectrum, coarser: list[curvature.Spectrum], size: int
) -> tuple[float | None, float | None]:
    """The effective rank with its error, or nothing where fewer steps give another."""
    rank = curvature.effective_rank(spectrum, size)
    before = [float(curvature.effective_rank(less, size).value) for less in coarser]
    if not _steady(float(rank.value), before):
        return None, None
    return float(rank.value), float(rank.standard_error)


def _steady(value: float, before: list[float]) -> bool:
    return all(np.isclose(value, earlier, rtol=RESOLVED, atol=1.0) for earlier in before)


def _column(matrix: str, name: str, phase: str) -> str:
    """`rank_se` of the Hessian at the start is `hessian_rank_start_se`."""
    error = "_se" if name.endswith("_se") else ""
    return f"{matrix}_{name.removesuffix('_se')}_{phase}{error}"


def probed(measured: dict[str, Any]) -> dict[str, float | None]:
    """What several probes found, as the columns of one row."""
    found: dict[str, float | None] = {}
    for values in measured.values():
        found |= probes.columns(values)
    return found


_SLICE = 4096  # rows that fit in memory together


def _evaluator(network: Network, rowwise: Callable, rows: int) -> Callable:
    """Accuracy and mean loss on the first `rows` rows of a batch, or on all if it has fewer.

    Of a batch of which only the first `count` rows are in the task, on so many of them, evenly
    spaced, in slices of one size, so that all counts share one program.
    """

    @jax.jit
    def sums(params, batch: Batch, view, valid=None):
        outputs = bound(network, view).apply(params, batch.inputs)[0]
        hits, losses = outputs.argmax(1) == batch.labels, rowwise(outputs, batch.labels)
        if valid is not None:
            hits, losses = hits & valid, jnp.where(valid, losses, 0)
        return hits.sum(), losses.sum()

    def evaluation(params, batch: Batch, view: View = VIEW, count: int | None = None) -> Asking:
        if count is not None:
            return (yield from evaluation_of_first(params, batch, view, count))
        found, totals = min(rows, len(batch.labels)), np.zeros(2)
        for start in range(0, found, _SLICE):
            part = slice(start, min(start + _SLICE, found))
            chosen = Batch(batch.inputs[part], batch.labels[part])
            totals += jax.device_get((yield Call(sums, (params, chosen, view))))
        accuracy, loss = totals / found
        return float(accuracy), float(loss)

    def evaluation_of_first(params, batch: Batch, view: View, count: int) -> Asking:
        found, totals = min(rows, count), np.zeros(2)
        size = min(_SLICE, len(batch.labels))
        for start in range(0, found, size):
            places = np.arange(start, start + size)
            chosen = np.minimum(places, found - 1) * count // found
            part = Batch(batch.inputs[chosen], batch.labels[chosen])
            totals += jax.device_get((yield Call(sums, (params, part, view, places < found))))
        accuracy, loss = totals / found
        return float(accuracy), float(loss)

    return evaluation


def _prober(
    network: Network, rowwise: Callable, names: tuple[str, ...], budget: dict[str, Any]
) -> Callable:
    for name in names:
        if name not in probes.PROBES:
            raise unknown("probe", name, probes.PROBES)
        if name in OF_CROSS_ENTROPY and rowwise is not cross_entropy:
            raise UserError(
                f"The probe `{name}` measures cross-entropy, and this run has another loss. Leave "
                "it out of `probes.names` and `probes.start_names`."
            )

    @partial(jax.jit, static_argnames="steps")
    def measure(params, start, batch: Batch, key, view=VIEW, *, steps=budget["steps"]):
        seen = bound(network, view)
        loss = task_loss(seen, rowwise, batch)
        rate = budget["learning_rate"]
        snapshot = Snapshot(
            seen, batch, params, start, loss, key, rate, steps, classes=view.classes
        )
        return {name: probes.PROBES[name](snapshot) for name in names}

    return measure
