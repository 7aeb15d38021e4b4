"""What each measured number means: its unit, its formula and where it comes from.

`python -m neoteny.glossary > docs/probes.md` writes the page that people read.
"""

import re
from typing import NamedTuple


class Entry(NamedTuple):
    """One measured number; `meaning` is a line of plain words."""

    name: str
    meaning: str
    unit: str
    formula: str
    source: str


class Group(NamedTuple):
    """Numbers that are measured together, by the probe whose name is the group's key."""

    title: str
    what: str
    entries: tuple[Entry, ...]


def _group(title: str, what: str, *entries: tuple[str, str, str, str, str]) -> Group:
    return Group(title, what, tuple(Entry(*entry) for entry in entries))


def _spectrum(matrix: str, title: str, what: str, source: str) -> Group:
    return _group(
        title,
        what,
        (f"{matrix}_rank", "eigenvalues beyond ±`probes.epsilon`: directions with curvature",
         "count", "#{k: ∣λ_k∣ > ε}", source),
        (f"{matrix}_budget_rank", "eigenvalues that a task's budget of steps can make use of",
         "count", "#{k: ∣λ_k∣ > 1/(ηT)}", "`docs/theory.md`, section 3"),
        (f"{matrix}_effective_rank", "how many directions share the curvature",
         "count", "exp(H(p)), p_k = ∣λ_k∣ / Σ∣λ∣", "Roy & Vetterli (2007)"),
        (f"{matrix}_max", "largest eigenvalue, the sharpness", "loss / parameter²", "λ_1", source),
        (f"{matrix}_min", "smallest eigenvalue", "loss / parameter²", "λ_n", source),
        (f"{matrix}_legacy_rank", "the count as it was published, mostly of its smoothing kernel",
         "share", "share above ε of the smoothed density", "Prakash et al. (2026)"),
        (f"{matrix}_trace", "sum of the eigenvalues, the scale of curvature",
         "loss / parameter²", "Σ λ_k", source),
    )  # fmt: skip


_QUADRATURE = "Ghorbani, Krishnan & Xiao (2019)"

GROUPS: dict[str, Group] = {
    "budget": _group(
        "Within the budget",
        "What plain gradient descent with this learning rate η and number of steps T can reach of "
        "the task; for Adam a reading at that scale and no prediction. For cross-entropy.",
        ("budget_alignment", "share of what is to be learnt in directions the budget can move",
         "share", "Σ_{λ_k > 1/(ηT)} ⟨u_k, r⟩² / ∣r∣²", "`docs/theory.md`, section 3"),
        ("budget_rank_share", "share of directions the budget can move, whatever the labels",
         "share", "#{λ_k > 1/(ηT)} / (rows (classes − 1))", "`docs/theory.md`, section 3"),
        ("predicted_loss", "of the local quadratic model at the end of the task",
         "loss", "L − ½ Σ_k (1 − (1 − ηλ_k)^{2T}) ⟨u_k, r⟩²", "`docs/theory.md`, section 2"),
        ("budget_ntk_alignment", "as `budget_alignment`, of the slope in the tangent kernel",
         "share", "Σ_{μ_k > 1/(ηT)} ⟨v_k, s⟩² / ∣s∣²", "`docs/theory.md`, section 4"),
        ("guaranteed_loss", "what the linearised network surely reaches",
         "loss", "L − ½ Σ_k ⟨v_k, s⟩² x_k / (1 + x_k / 2), x_k = ηTμ_k",
         "`docs/theory.md`, section 4"),
    ),
    "trainability": _group(
        "Trainability at any budget",
        "The same with a threshold relative to the largest eigenvalue: directions no more than a "
        "thousand times slower than the fastest. For cross-entropy.",
        ("alignment", "share of what is to be learnt in those directions",
         "share", "Σ_{λ_k > λ_1/1000} ⟨u_k, r⟩² / ∣r∣²", "`docs/theory.md`, section 3"),
        ("rank_share", "share of directions that are among those",
         "share", "#{λ_k > λ_1/1000} / (rows (classes − 1))", "`docs/theory.md`, section 3"),
        ("largest_eigenvalue", "of the loss-weighted Gram matrix, and so of the GGN",
         "loss / parameter²", "λ_1(SᵀJJᵀS / rows)", "`docs/theory.md`, section 1"),
        ("ntk_alignment", "as `alignment`, of the slope in the tangent kernel",
         "share", "Σ_{μ_k > μ_1/1000} ⟨v_k, s⟩² / ∣s∣²", "`docs/theory.md`, section 4"),
        ("ntk_rank_share", "as `rank_share`, of the tangent kernel",
         "share", "#{μ_k > μ_1/1000} / (rows · classes)", "`docs/theory.md`, section 4"),
        ("ntk_largest_eigenvalue", "of the tangent kernel",
         "output² / parameter²", "μ_1(JJᵀ / rows)", "`docs/theory.md`, section 1"),
    ),
    "ggn": _spectrum(
        "ggn",
        "Curvature: generalised Gauss-Newton",
        "The Hessian without the network's own curvature: never negative, with a gap above zero in "
        "which a threshold can stand. For cross-entropy.",
        "Schraudolph (2002)",
    ),
    "hessian": _spectrum(
        "hessian",
        "Curvature: Hessian",
        "Of the loss by the parameters, from Lanczos quadrature; ± is a standard error over its "
        "random starts.",
        _QUADRATURE,
    ),
    "ranks": _group(
        "Features",
        "How many directions the activations of each hidden layer fill, from their singular "
        "values σ.",
        ("effective_rank", "directions, weighed by how much they are used",
         "count", "exp(H(p)), p_k = σ_k / Σσ", "Roy & Vetterli (2007)"),
        ("stable_rank", "energy over that of the strongest direction",
         "count", "‖F‖_F² / σ_1²", "Rudelson & Vershynin (2007)"),
        ("srank", "directions that hold 99 % of the singular values' sum",
         "count", "min k: Σ_{i≤k} σ_i ≥ 0.99 Σσ", "Kumar et al. (2021)"),
        ("approximate_rank", "principal components that hold 99 % of the energy",
         "count", "min k: Σ_{i≤k} σ_i² ≥ 0.99 Σσ²", "Yang et al. (2019)"),
    ),
    "units": _group(
        "Units",
        "Hidden units that no longer answer to their inputs, on the rows looked at.",
        ("dead", "exactly zero on every row",
         "share", "a_i = 0 on all rows", "Dohare et al. (2024)"),
        ("dormant", "at most 0.025 of its layer's mean size",
         "share", "mean∣a_i∣ ≤ τ mean_j mean∣a_j∣, τ = 0.025", "Sokar et al. (2023)"),
        ("saturated", "on a flat piece of its activation function",
         "share", "mean∣φ′(z_i)∣ < 0.01", "ours; see `probes.unit_health`"),
    ),
    "ntk": _group(
        "Tangent kernel",
        "Ranks of the neural tangent kernel of all outputs on the first 32 rows, its eigenvalues "
        "being μ.",
        ("ntk_effective_rank", "how many directions share the kernel",
         "count", "exp(H(p)), p_k = μ_k / Σμ", "Roy & Vetterli (2007)"),
        ("ntk_rank_99", "directions that hold 99 % of it",
         "count", "min k: Σ_{i≤k} μ_i ≥ 0.99 Σμ", "Kumar et al. (2021), of the kernel"),
    ),
    "norms": _group(
        "Norms",
        "Lengths of all parameters as one vector.",
        ("weight_norm", "of the parameters", "parameter", "‖θ‖", ""),
        ("gradient_norm", "of the gradient on these rows", "loss / parameter", "‖∇L‖", ""),
        ("displacement", "from where the task began", "parameter", "‖θ − θ_start‖", ""),
    ),
    "readiness": _group(
        "Optimisation readiness",
        "Whether minibatches of up to 16 of the rows agree on where to go. For cross-entropy.",
        ("minibatch_gradient_norm", "of the mean gradient g over the minibatches",
         "loss / parameter", "‖g‖", "after Wang et al. (2026)"),
        ("reliability", "1 where all minibatches have one gradient",
         "share", "‖g‖² / E‖g_b‖²", "after Wang et al. (2026)"),
        ("readiness", "strength times reliability of the gradient",
         "loss² / parameter²", "‖g‖⁴ / E‖g_b‖²", "after Wang et al. (2026)"),
    ),
    "random_labels": _group(
        "Random labels",
        "How well labels drawn anew are fitted by 100 full-batch steps of Adam from here. For "
        "cross-entropy.",
        ("random_label_loss", "after those steps", "loss", "mean loss", "Lyle et al. (2023)"),
        ("random_label_accuracy", "after those steps", "share", "mean hits", "Lyle et al. (2023)"),
    ),
    "interference": _group(
        "Interference",
        "How one plain gradient step on a row moves the label's logit of the others, of 64 rows. "
        "For cross-entropy.",
        ("update_rank", "directions of the matrix of changes; as many as rows where each step "
         "moves its own row alone", "count", "srank of U, U_ij = Δf_j(x_i) / ∣Δf_j(x_j)∣",
         "Lyle et al. (2022)"),
        ("update_spread", "mean change of another row, of the change of the row itself",
         "ratio", "mean ∣U_ij∣, i ≠ j", "Lyle et al. (2022)"),
    ),
    "neural_collapse": _group(
        "Neural collapse",
        "How far the rows of each class have come together in the last hidden layer, whose means m "
        "of the classes are centred on their own mean; w are the output weights, centred too.",
        ("within_between", "spread of rows about their class's mean over that of the means, NC1",
         "ratio", "mean‖h − m_y‖² / mean_c‖m_c‖²", "Papyan, Han & Donoho (2020)"),
        ("etf_gap", "how far the directions of the means are from an equiangular tight frame, NC2",
         "cosine", "max_{i≠j} ∣cos(m_i, m_j) + 1/(C − 1)∣", "Papyan, Han & Donoho (2020)"),
        ("norm_spread", "how unequal the lengths of the means are, NC2",
         "ratio", "std_c‖m_c‖ / mean_c‖m_c‖", "Papyan, Han & Donoho (2020)"),
        ("self_duality", "alignment of output weights and class means, NC3",
         "cosine", "Σ_c ⟨w_c, m_c⟩ / (‖w‖ ‖m‖)", "Papyan, Han & Donoho (2020)"),
    ),
    "sharpness": _group(
        "Sharpness",
        "The largest eigenvalue λ_1 of the Hessian, and what it means for steps of plain gradient "
        "descent on these rows.",
        ("sharpness", "largest eigenvalue of the Hessian, from Lanczos", "loss / parameter²", "λ_1",
         "Cohen et al. (2021)"),
        ("edge", "above 1 plain gradient descent of this step size is unstable", "ratio",
         "η λ_1 / 2", "Cohen et al. (2021)"),
    ),
    "layer_imbalance": _group(
        "Layer imbalance",
        "Between the dense kernels that make and that read a hidden layer.",
        ("layer_imbalance", "what gradient flow conserves, and steps beyond the edge shrink",
         "parameter²", "‖W_{l+1} W_{l+1}ᵀ − W_lᵀ W_l‖_F", "Chen & Bruna (2023)"),
    ),
    "flip_condition": _group(
        "Flip condition",
        "Derivatives of the loss along the top eigenvector of its Hessian: what plain gradient "
        "descent does just above the edge of stability.",
        ("flip_condition", "positive where it settles on an orbit of period two",
         "loss² / parameter⁶", "3 f‴² − f″ f⁗", "Chen & Bruna (2023)"),
        ("third_derivative", "its size, as the direction has no sign",
         "loss / parameter³", "∣f‴∣", "Chen & Bruna (2023)"),
        ("fourth_derivative", "below zero it is enough for such an orbit",
         "loss / parameter⁴", "f⁗", "Chen & Bruna (2023)"),
    ),
    "saturation": _group(
        "Saturation",
        "How far from certain of its labels a network is; without this there is no gradient. For "
        "cross-entropy.",
        ("residual_probability", "what the outputs leave to other classes than the label",
         "share", "mean(1 − p_label)", "Pezeshki et al. (2021)"),
    ),
    "margin": _group(
        "Margin",
        "The least margin of all rows for the length of the parameters θ of L layers; for networks "
        "that are homogeneous. For cross-entropy.",
        ("normalised_margin", "label's logit less the largest other one, least over rows",
         "output / parameter^L", "min_i(f_label − max f_other) / ‖θ‖^L", "Lyu & Li (2020)"),
    ),
    "response": _group(
        "Feature response",
        "Over how many features of the last hidden layer the outputs are spread, on the first 256 "
        "rows; z are the margins in the left singular vectors of the label-signed features. For "
        "cross-entropy.",
        ("response_participation", "features that carry the outputs",
         "count", "(Σ z²)² / Σ z⁴", "after Pezeshki et al. (2021)"),
    ),
    "support": _group(
        "Feature support",
        "How many distinct directions the units that matter have, in each hidden layer.",
        ("feature_support", "directions, 0.95 in cosine apart, with nine tenths of the mass",
         "count", "of units sorted by ‖w_in‖ ‖w_out‖", "after Chizat & Bach (2020)"),
    ),
    "robustness": _group(
        "Robustness to inputs",
        "Whether rows stay right when each is moved by 0.3 in the Euclidean norm, against the "
        "network.",
        ("robust_accuracy", "after one step of the fast gradient method", "share",
         "mean hits at x + 0.3 g / ‖g‖", "Goodfellow et al. (2015)"),
    ),
    "diagnosis": _group(
        "This loss",
        "What `neoteny probe` alone looks at.",
        ("loss", "mean loss on these rows, before the task is learnt", "loss", "L", ""),
        ("edge_of_stability", "above 1 plain gradient descent of this step size is unstable",
         "ratio", "η λ_1 / 2", "Cohen et al. (2021)"),
        ("curvature_along_gradient", "how curved the loss is where the gradient goes",
         "loss / parameter²", "gᵀHg / ‖g‖²", ""),
    ),
    "runs": _group(
        "What a run records of itself",
        "Of the tables `tasks`, `runs` and `spectra`; no probe is needed.",
        ("study, stream, method, seed, task", "which run and which of its tasks, from 0",
         "", "", ""),
        ("online_accuracy", "before each update, over the whole task", "share", "mean hits", ""),
        ("final_accuracy", "on the task's training rows, at its end", "share", "mean hits", ""),
        ("heldout_accuracy", "on rows that were held out, at its end", "share", "mean hits", ""),
        ("fresh_accuracy, fresh_online_accuracy, fresh_heldout_accuracy",
         "of a new network that learns the same task by the same method", "share", "mean hits", ""),
        ("chance_accuracy", "of guessing", "share", "1 / classes", ""),
        ("online_return", "of the episodes that ended in each iteration, mean over the task",
         "reward", "mean Σr", ""),
        ("final_return", "likewise, over its last fifth", "reward", "mean Σr", ""),
        ("fresh_online_return, fresh_final_return",
         "of a new agent in the same world, by the same method", "reward", "mean Σr", ""),
        ("untrained_return", "of that new agent's first episodes, before it has learnt much",
         "reward", "mean Σr", ""),
        ("episodes", "that ended in the task", "count", "", ""),
        ("entropy, final_entropy", "of the policy as it acts, over the task and its last fifth",
         "nat", "H(π)", ""),
        ("policy_churn", "how far an update moves the policy on rows that it did not learn from; "
         "of DQN the share of rows whose best action changes", "nat; share", "KL(π ‖ π′)",
         "after Tang et al. (2025)"),
        ("value_churn", "how far an update moves the value there", "reward", "mean∣V′ − V∣",
         "after Tang et al. (2025)"),
        ("online_loss", "before each update, mean over the task", "loss", "mean L", ""),
        ("final_loss", "on the task's training rows, at its end", "loss", "L", ""),
        ("diverged_step", "the step of the task in which the loss stopped being finite", "step",
         "", ""),
        ("status, reason, tasks", "how a run ended or stands, why, after how many tasks",
         "", "", ""),
        ("seconds", "of training, without measuring", "s", "", ""),
        ("microseconds_per_step", "median over the tasks after the first, which compiles", "µs", "",
         ""),
        ("folder, config, provenance", "where it lies; what it was asked, with what it ran: JSON",
         "", "", ""),
        ("phase, matrix, probe", "of a quadrature: start or end, which matrix, which random start",
         "", "", ""),
        ("node, weight, size", "an eigenvalue, its share of the matrix, the matrix's order",
         "loss / parameter²; share; count", "", _QUADRATURE),
    ),
}  # fmt: skip
"""By the name of the probe, or of the matrix, or of what else measures them."""


def entry(column: str) -> Entry | None:
    """What a column of `neoteny query` or of a diagnosis means; None for one of your own.

    `hessian_rank_start_se` is looked up as `hessian_rank`, `dead_2` as `dead`.
    """
    whole = re.sub(r"(_start|_end)?(_se)?$", "", column)
    return _ENTRIES.get(whole) or _ENTRIES.get(re.sub(r"_\d+$", "", whole))


def group(column: str) -> str | None:
    """The key of the group that a column belongs to."""
    found = entry(column)
    return next((key for key, group in GROUPS.items() if found in group.entries), None)


_ENTRIES = {
    name: entry
    for group in GROUPS.values()
    for entry in group.entries
    for name in entry.name.split(", ")
}

HEAD = """# What the numbers mean

Every column of `neoteny query DIR "SELECT ..."`, and every line of `neoteny probe RUN`. Made by
`python -m neoteny.glossary`; the formulas are those of the functions in `neoteny.probes` and
`neoteny.curvature`, whose docstrings say more.

A name may carry endings: `_start` is measured on a new task's rows before the task is learnt, no
ending (`_end` for spectra) at its end; `_1`, `_2` ... are the hidden layers, whose mean has no
number; `_se` is the standard error of an estimate over its random starts. An empty cell was not
measured, or cannot be told: for a count of eigenvalues, the threshold lies where the quadrature
does not resolve them.

`J` is the Jacobian of all outputs, `λ, u` are the eigenpairs of the loss-weighted Gram matrix with
residual `r`, `μ, v` those of the tangent kernel with slope `s`, `H(p)` is the entropy of `p`, η the
learning rate, T the steps of a task ([theory](theory.md)). Sources are named as in the docstrings.
"""


def document() -> str:
    """The page `docs/probes.md`."""
    page = HEAD + "".join(_section(key, group) for key, group in GROUPS.items())
    return page.replace("`docs/theory.md`", "[theory](theory.md)")


def _section(key: str, group: Group) -> str:
    rows = "".join(
        f"| {_code(entry.name)} | {entry.meaning} | {entry.unit} | {_code(entry.formula)} "
        f"| {entry.source} |\n"
        for entry in group.entries
    )
    return (
        f"\n## {group.title} (`{key}`)\n\n{group.what}\n\n"
        f"| column | what | unit | formula | source |\n|---|---|---|---|---|\n{rows}"
    )


def _code(text: str) -> str:
    """Each of several names or formulas on its own, cut at commas that stand in no bracket."""
    return ", ".join(f"`{part}`" for part in re.split(r", (?![^⟨]*⟩)", text)) if text else ""


if __name__ == "__main__":
    print(document(), end="")
