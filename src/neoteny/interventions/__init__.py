"""Interventions: what keeps a network able to learn, as pure functions over a learner."""

from neoteny.interventions.adversarial import gradient_attack
from neoteny.interventions.base import (
    TASK_START,
    Attack,
    Intervention,
    Penalty,
    at_task_start,
    chain,
    every,
    stateless_penalty,
)
from neoteny.interventions.churn import churn_reduction
from neoteny.interventions.continual_backprop import continual_backprop
from neoteny.interventions.counting import count_tasks
from neoteny.interventions.effective_rank import effective_rank_step
from neoteny.interventions.freezing import freeze_hidden
from neoteny.interventions.heads import HEADS, MASKED, renew_head
from neoteny.interventions.null_space import gradient_projection, null_space_left
from neoteny.interventions.optimisers import elementwise_adam, weight_decay
from neoteny.interventions.penalties import (
    effective_rank_penalty,
    feature_decay,
    l2_init,
    singular_value_penalty,
    spectral,
    spectral_decoupling,
    wasserstein_init,
)
from neoteny.interventions.published_continual_backprop import published_continual_backprop
from neoteny.interventions.resets import reset, shrink_and_perturb
from neoteny.interventions.surgery import reinitialise_units

__all__ = [
    "HEADS",
    "MASKED",
    "TASK_START",
    "Attack",
    "Intervention",
    "Penalty",
    "at_task_start",
    "chain",
    "churn_reduction",
    "continual_backprop",
    "count_tasks",
    "effective_rank_penalty",
    "effective_rank_step",
    "elementwise_adam",
    "every",
    "feature_decay",
    "freeze_hidden",
    "gradient_attack",
    "gradient_projection",
    "l2_init",
    "null_space_left",
    "published_continual_backprop",
    "reinitialise_units",
    "renew_head",
    "reset",
    "shrink_and_perturb",
    "singular_value_penalty",
    "spectral",
    "spectral_decoupling",
    "stateless_penalty",
    "wasserstein_init",
    "weight_decay",
]
