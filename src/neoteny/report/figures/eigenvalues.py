"""Numbers of curvature over tasks: counts of eigenvalues, the largest, their sum."""

from neoteny.report.figures.lines import level, panel
from neoteny.report.figures.shapes import Figure, Panel, View, figure
from neoteny.report.figures.words import BAND, MATRICES, PHASES, epsilon, explained
from neoteny.report.recorded import Recorded

QUANTITIES = {
    ("ggn", "rank"): "GGN eigenvalues above ε",
    ("ggn", "budget_rank"): "GGN eigenvalues above 1/(ηT)",
    ("hessian", "rank"): "Hessian eigenvalues beyond ±ε",
    ("hessian", "budget_rank"): "Hessian eigenvalues beyond ±1/(ηT)",
}
_WORDS = {
    "effective_rank": "effective rank",
    "max": "largest eigenvalue",
    "min": "smallest eigenvalue",
    "trace": "trace",
}
_BULK = (
    "The Hessian has a continuum of small eigenvalues of both signs around zero, in which a count "
    "can often not be resolved."
)
_BUDGET = "The threshold 1/(ηT) is the curvature that T steps of size η can act on."


def curvature(recorded: Recorded) -> Figure:
    """How many directions are curved, and the other scalars of GGN and Hessian, over tasks."""
    at = epsilon(recorded)
    threshold = "ε" if at is None else f"ε = {at:g}"
    ggn, hessian, both = ("ggn",), ("hessian",), ("ggn", "hessian")
    above, past = f"above {threshold}", f"beyond ±{threshold}"
    views = [
        _view(recorded, *asked)
        for asked in (
            (f"curvature directions: GGN eigenvalues {above}", ggn, "rank", ""),
            ("GGN above 1/(ηT)", ggn, "budget_rank", _BUDGET),
            ("effective rank", both, "effective_rank", ""),
            ("largest eigenvalue", both, "max", ""),
            ("trace", both, "trace", ""),
            ("smallest eigenvalue", hessian, "min", ""),
            (f"Hessian {past}, where resolved", hessian, "rank", _BULK),
            ("Hessian beyond ±1/(ηT), where resolved", hessian, "budget_rank",
             f"{_BUDGET} {_BULK}"),
        )
    ]  # fmt: skip
    ends = [f"{quantity}_{phase}" for quantity in ("rank", "max") for phase in PHASES]
    found = [m for m in MATRICES if any(recorded.measured(f"{m}_{end}") for end in ends)]
    caption = (
        "Curvature of the loss on the new task's data, before and after training on it. "
        f"{explained(found)}{BAND} Measured on some tasks only, marked by dots. "
        "Estimated by stochastic Lanczos quadrature; a count that it could not resolve is left "
        "out, of lines and of means. With one seed, bands are one standard error over probe "
        "vectors where that was stored."
    )
    missing = "Curvature was not measured on this stream."
    return figure("curvature", "Curvature over tasks", caption, views, missing)


def _view(
    recorded: Recorded, label: str, matrices: tuple[str, ...], quantity: str, note: str
) -> View:
    """A row for each matrix: at the start of tasks and at their end, on one scale."""
    rows = []
    for matrix in matrices:
        panels = [_panel(recorded, matrix, quantity, phase) for phase in PHASES]
        rows += level([one for one in panels if one.series])
    return View(label, tuple(rows), note)


def _panel(recorded: Recorded, matrix: str, quantity: str, phase: str) -> Panel:
    name = MATRICES[matrix]
    axis = QUANTITIES.get((matrix, quantity)) or f"{_WORDS[quantity]} of the {name}"
    title = f"{name}, at the {phase} of the task"
    return panel(recorded, f"{matrix}_{quantity}_{phase}", axis, title, scaled=False)


def directions(recorded: Recorded) -> Panel:
    """Curvature directions at the start of tasks, of the matrix that `counted` names."""
    at = epsilon(recorded)
    (one,) = level([_panel(recorded, counted(recorded), "rank", "start")])
    label = one.y.label if at is None else f"{one.y.label} = {at:g}"
    return one._replace(y=one.y._replace(label=label))


def counted(recorded: Recorded) -> str:
    """The matrix whose count stands for curvature: the GGN, or where it has none, the Hessian."""
    return "ggn" if recorded.measured("ggn_rank_start") else "hessian"
