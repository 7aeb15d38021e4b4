"""Measurements of a network at one instant: arrays in, a NamedTuple out.

The functions measure what they are given. The members of `PROBES` take a run's `Snapshot`;
yours joins them with `neoteny.probes.PROBES["mine"] = mine`.
"""

from typing import Any

import numpy as np

from neoteny.probes.budget import WithinBudget, within_budget
from neoteny.probes.dead_units import (
    alive_units,
    certain_zero_eigenvalues,
    dead_for_every_permutation,
    dead_margins,
    dead_unit_rank_bound,
    hausdorff_shift,
    stays_dead,
)
from neoteny.probes.interference import Interference, interference, update_matrix, update_spread
from neoteny.probes.margins import (
    NormalisedMargin,
    Saturation,
    margins,
    normalised_margin,
    over_norm,
    saturation,
)
from neoteny.probes.neural_collapse import NeuralCollapse, class_geometry, neural_collapse
from neoteny.probes.norms import Norms, displacement, gradient_norm, norms, weight_norm
from neoteny.probes.purity import dense_mixture, purity, residual_share
from neoteny.probes.rank import (
    FeatureRanks,
    approximate_rank,
    effective_rank,
    feature_ranks,
    ranks,
    srank,
    stable_rank,
)
from neoteny.probes.readiness import (
    NtkRank,
    RandomLabels,
    Readiness,
    kernel_ranks,
    ntk_rank,
    ntk_rank_with,
    random_label_probe,
    random_label_probe_with,
    readiness,
    readiness_with,
)
from neoteny.probes.response import FeatureResponse, feature_response, responses
from neoteny.probes.robustness import (
    InputRobustness,
    ascended,
    input_robustness,
    input_robustness_with,
    log_odds_against,
)
from neoteny.probes.stability import (
    FlipCondition,
    LayerImbalance,
    Sharpness,
    along_top,
    flip_condition,
    imbalance,
    layer_imbalance,
    sharpness,
)
from neoteny.probes.support import FeatureSupport, distinct_directions, feature_support
from neoteny.probes.trainability import (
    BudgetTrainability,
    Linearisation,
    RelativeTrainability,
    Trainability,
    alignment_weighted_rank,
    descent_bounds,
    is_trainable,
    linearise,
    linearised_loss,
    predicted_loss,
    rank_share,
    required_alignment,
    tangent_kernel,
    trainability,
    trainability_at,
    trainability_probe,
)
from neoteny.probes.units import (
    UnitHealth,
    activation_overlap,
    firing_rates,
    unit_health,
    units,
)
from neoteny.types import Probe

__all__ = [
    "PROBES",
    "BudgetTrainability",
    "FeatureRanks",
    "FeatureResponse",
    "FeatureSupport",
    "FlipCondition",
    "InputRobustness",
    "Interference",
    "LayerImbalance",
    "Linearisation",
    "NeuralCollapse",
    "NormalisedMargin",
    "Norms",
    "NtkRank",
    "RandomLabels",
    "Readiness",
    "RelativeTrainability",
    "Saturation",
    "Sharpness",
    "Trainability",
    "UnitHealth",
    "WithinBudget",
    "activation_overlap",
    "alignment_weighted_rank",
    "alive_units",
    "along_top",
    "approximate_rank",
    "ascended",
    "certain_zero_eigenvalues",
    "class_geometry",
    "columns",
    "dead_for_every_permutation",
    "dead_margins",
    "dead_unit_rank_bound",
    "dense_mixture",
    "descent_bounds",
    "displacement",
    "distinct_directions",
    "effective_rank",
    "feature_ranks",
    "feature_response",
    "feature_support",
    "firing_rates",
    "flip_condition",
    "gradient_norm",
    "hausdorff_shift",
    "imbalance",
    "input_robustness",
    "input_robustness_with",
    "interference",
    "is_trainable",
    "kernel_ranks",
    "layer_imbalance",
    "linearise",
    "linearised_loss",
    "log_odds_against",
    "margins",
    "neural_collapse",
    "normalised_margin",
    "norms",
    "ntk_rank",
    "ntk_rank_with",
    "over_norm",
    "predicted_loss",
    "purity",
    "random_label_probe",
    "random_label_probe_with",
    "rank_share",
    "ranks",
    "readiness",
    "readiness_with",
    "required_alignment",
    "residual_share",
    "responses",
    "saturation",
    "sharpness",
    "srank",
    "stable_rank",
    "stays_dead",
    "tangent_kernel",
    "trainability",
    "trainability_at",
    "trainability_probe",
    "unit_health",
    "units",
    "update_matrix",
    "update_spread",
    "weight_norm",
    "within_budget",
]

PROBES: dict[str, Probe] = {
    "ranks": ranks,
    "units": units,
    "norms": norms,
    "trainability": trainability_probe,
    "budget": within_budget,
    "readiness": readiness,
    "ntk": ntk_rank,
    "random_labels": random_label_probe,
    "interference": interference,
    "neural_collapse": neural_collapse,
    "sharpness": sharpness,
    "layer_imbalance": layer_imbalance,
    "flip_condition": flip_condition,
    "saturation": saturation,
    "margin": normalised_margin,
    "response": feature_response,
    "support": feature_support,
    "robustness": input_robustness,
}
"""What `probes.names` and `probes.start_names` of a study can name: `Snapshot -> NamedTuple`."""


def columns(measured: Any) -> dict[str, float | None]:
    """Flatten a probe's NamedTuple into the columns of a table, in the order of its fields.

    A scalar field `f` is the column `f`. A vector over layers is its mean over layers, `f`,
    and its entries `f_1`, `f_2`, ... What is not finite, or the mean of no layers, is `None`.

    **Raises:** `ValueError` if a field is neither a scalar nor a vector.
    """
    table = {}
    for name, value in measured._asdict().items():
        values = np.asarray(value, np.float64)
        if values.ndim > 1:
            raise ValueError(
                f"The field `{name}` of {type(measured).__name__} has shape {values.shape}, but "
                "a column holds a scalar, or a vector with one entry for each layer. Return "
                f"`{name}` reduced to one of these, or as several fields."
            )
        table[name] = _cell(values.mean() if values.size else np.nan)
        if values.ndim == 1:
            table |= {f"{name}_{layer}": _cell(v) for layer, v in enumerate(values, start=1)}
    return table


def _cell(value) -> float | None:
    return float(value) if np.isfinite(value) else None
