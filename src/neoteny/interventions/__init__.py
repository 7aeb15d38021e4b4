"""Interventions: what keeps a network able to learn, as pure functions over a learner."""

from neoteny.interventions.base import (
    TASK_START,
    Intervention,
    Penalty,
    at_task_start,
    chain,
    every,
    stateless_penalty,
)
from neoteny.interventions.continual_backprop import continual_backprop
from neoteny.interventions.effective_rank import effective_rank_step
from neoteny.interventions.heads import HEADS, MASKED, renew_head
from neoteny.interventions.optimisers import elementwise_adam, weight_decay
from neoteny.interventions.penalties import effective_rank_penalty, l2_init, spectral
from neoteny.interventions.published_continual_backprop import published_continual_backprop
from neoteny.interventions.resets import reset, shrink_and_perturb
from neoteny.interventions.surgery import reinitialise_units

__all__ = [
    "HEADS",
    "MASKED",
    "TASK_START",
    "Intervention",
    "Penalty",
    "at_task_start",
    "chain",
    "continual_backprop",
    "effective_rank_penalty",
    "effective_rank_step",
    "elementwise_adam",
    "every",
    "l2_init",
    "published_continual_backprop",
    "reinitialise_units",
    "renew_head",
    "reset",
    "shrink_and_perturb",
    "spectral",
    "stateless_penalty",
    "weight_decay",
]
