"""Trainability within the budget that a run gives each task."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Scalar

from neoteny.probes.trainability import trainability_at
from neoteny.types import Snapshot


class WithinBudget(NamedTuple):
    """What plain gradient descent could reach of the task, with epsilon 1/(learning rate x steps).

    - `budget_alignment`: the share of the new task's residual in directions that the budget
      can move; `budget_rank_share`: the share of directions, whatever the labels.
    - `predicted_loss`: of the local quadratic model at the end of the task.
    - `budget_ntk_alignment`, `guaranteed_loss`: with the tangent kernel in place of the
      loss-weighted Gram matrix, which a confident mistake drives to zero though descent
      recovers from it.
    """

    budget_alignment: Scalar
    budget_rank_share: Scalar
    predicted_loss: Scalar
    budget_ntk_alignment: Scalar
    guaranteed_loss: Scalar


def within_budget(snapshot: Snapshot) -> WithinBudget:
    """Measure trainability at the run's own learning rate and number of steps.

    For cross-entropy; NaN where the snapshot knows no budget. For Adam, whose steps are not
    those of the learning rate, it is a reading at that scale and no prediction. Costs what
    `trainability_at` does without simulating.
    """
    if not snapshot.steps:
        return WithinBudget(*(jnp.full((), jnp.nan),) * len(WithinBudget._fields))
    found = trainability_at(snapshot.learning_rate, snapshot.steps, simulate=False)(snapshot)
    return WithinBudget(
        found.alignment,
        found.rank_share,
        found.predicted_loss,
        found.ntk_alignment,
        found.guaranteed_loss,
    )
