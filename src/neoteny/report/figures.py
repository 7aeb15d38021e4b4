"""Every figure of the report, defined once as data; `html` and `static` draw the same thing.

A figure is a tuple of views (the page switches between them, files show each), a view a
tuple of panels, a panel a tuple of series on a pair of axes. All text is plain: renderers
escape it. A figure without views has nothing to draw, and its caption says why.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import duckdb
import numpy as np

from neoteny.report import data, palette, spectra
from neoteny.report.data import Section


class Series(NamedTuple):
    """One line, or one cloud of points, of one method.

    `key` is the method: it sets the colour, and showing or hiding acts on all its series.
    `low` and `high` bound a band. `kind` is "line", "dashed", "steps", "dashed steps",
    "marks" (dashed, with a marker where measured) or "points" (markers alone).
    """

    key: str
    label: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    kind: str = "line"
    notes: tuple[str, ...] = ()


class Axis(NamedTuple):
    """An axis: its label and unit, its scale, and where not left to the renderer, its ticks."""

    label: str
    log: bool = False
    bounds: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] = ()


class Panel(NamedTuple):
    """A pair of axes; `marks` are vertical lines at `(x, label)`, `levels` horizontal ones."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    marks: tuple[tuple[float, str], ...] = ()
    levels: tuple[float, ...] = ()


class View(NamedTuple):
    """One way to look at a figure; `note` is added to the caption while it shows."""

    label: str
    panels: tuple[Panel, ...]
    note: str = ""


class Figure(NamedTuple):
    """What one figure of a section shows, and what it means."""

    name: str
    title: str
    caption: str
    views: tuple[View, ...]


BAND = "Lines are means over seeds, bands reach from the lowest to the highest seed."


def of_section(connection: duckdb.DuckDBPyConnection, section: Section) -> list[Figure]:
    """All figures of one stream of one study, drawable or not."""
    return [figure(connection, section) for figure in _FIGURES]


def accuracy(connection: duckdb.DuckDBPyConnection, section: Section) -> Figure:
    """Accuracy or return on each task, beside that of a fresh network on the same task."""
    judged, window = data.metric(connection, section), smoothing(connection, section)
    views = [accuracy_view(connection, section, judged, 1)]
    if window >= 3:
        views.append(accuracy_view(connection, section, judged, window))
    views.append(_gap_view(connection, section, judged))
    others = [name for name in data.alike(judged) if name != judged]
    views += [accuracy_view(connection, section, name, 1) for name in others]
    fresh = any(s.kind == "marks" for view in views for p in view.panels for s in p.series)
    caption = f"{BAND} A run that diverged leaves the mean after its last task."
    if fresh:
        caption += (
            " Dashed: a fresh network trained on the same task in the same way (measured where "
            "there is a dot), which is what the learner would reach had it lost nothing."
        )
    caption += _blocks(connection, section)
    what = "return" if judged in data.RETURNS else "accuracy"
    title = f"{what.capitalize()} on each task"
    return _figure(what, title, caption, views, f"No {what} was recorded.")


def smoothing(connection: duckdb.DuckDBPyConnection, section: Section) -> int:
    """Over how many tasks the moving mean runs: an odd number, 1 for a short stream."""
    return 2 * (data.length(connection, section) // 40) + 1


def accuracy_view(
    connection: duckdb.DuckDBPyConnection, section: Section, name: str, window: int
) -> View:
    """The accuracy `name` over tasks as a moving mean, with fresh networks as measured."""
    label, note = _words(name), ""
    series = _lines(data.curves(connection, section, name, window=window))
    fresh = data.reference(name)
    if series:
        series += _fresh(connection, section, fresh)
    if window > 1:
        label = f"moving mean over {window} tasks"
        note = (
            f"Smoothed: each seed's {_words(name)} is averaged over {window} tasks, centred, "
            "before means and bands are taken; the window is cut at both ends."
        )
    panel = Panel("", Axis("task"), Axis(_words(name)), series)
    return View(label, (panel,) if series else (), note)


def _gap_view(connection: duckdb.DuckDBPyConnection, section: Section, name: str) -> View:
    """Loss of plasticity as a number: how far the learner is below a fresh network."""
    series = _lines(data.curves(connection, section, name, minus=data.reference(name)))
    axis = Axis(f"{_words(name)}, learner minus fresh")
    panel = Panel("", Axis("task"), axis, series, levels=(0.0,))
    note = "Learner minus fresh network, seed by seed: below zero, plasticity was lost."
    return View("below a fresh network", (panel,) if series else (), note)


def _fresh(
    connection: duckdb.DuckDBPyConnection, section: Section, column: str
) -> tuple[Series, ...]:
    """One neutral line where all methods share their fresh networks, else one for each."""
    curves = data.curves(connection, section, column)
    if data.methods_agree(connection, section, column):
        pooled = data.curves(connection, section, column, pooled=True)
        curves = dict.fromkeys([palette.REFERENCE], *pooled.values())
    return tuple(
        Series(key, _reference_label(key), curves[key].task, curves[key].mean, kind="marks")
        for key in data.ordered(curves)
    )


def _reference_label(key: str) -> str:
    return key if key == palette.REFERENCE else f"{key}, fresh network"


def spectrum(connection: duckdb.DuckDBPyConnection, section: Section) -> Figure:
    """The spectral counting function N(x), early against late, method by method."""
    found = _matrices(connection, section, "ggn", "hessian")
    views = [
        _counting_view(connection, section, matrix, phase) for matrix in found for phase in _PHASES
    ]
    caption = (
        f"How many eigenvalues of the {_either(found)} exceed x in magnitude: dashed early, solid "
        "late in the stream. Counted straight from quadrature nodes and weights, with no "
        "smoothing; mean over probe vectors, then over seeds, with bands from the lowest to the "
        "highest seed; late is the last measured task that at least half of the seeds reached. "
        f"A line that falls further left has lost curvature. {_explained(found)}"
    )
    return _figure(
        "spectrum",
        "Eigenvalues above x, early and late",
        caption.strip(),
        views,
        "No spectra were stored for this stream.",
    )


def _matrices(
    connection: duckdb.DuckDBPyConnection, section: Section, *order: str
) -> tuple[str, ...]:
    found = spectra.matrices(connection, section)
    return tuple(matrix for matrix in order if matrix in found)


MATRICES = {"ggn": "GGN", "hessian": "Hessian"}

GGN = (
    "The generalised Gauss-Newton matrix (GGN) is what the Hessian would be if the network were "
    "linear in its weights: it has no negative eigenvalues, and at most rows × (classes − 1) "
    "that are not zero."
)


def _either(matrices: Sequence[str]) -> str:
    return " or the ".join(MATRICES[matrix] for matrix in matrices)


def _explained(matrices: Sequence[str]) -> str:
    return f"{GGN} " if "ggn" in matrices else ""


def _counting_view(
    connection: duckdb.DuckDBPyConnection, section: Section, matrix: str, phase: str
) -> View:
    found = spectra.early_and_late(connection, section, matrix, phase)
    epsilon = _epsilon(connection, section)
    sizes = [np.abs(q.nodes) for pair in found.values() for m in pair for q in m.seeds]
    top = max((float(size.max()) for size in sizes), default=0.0)
    if top <= 0:
        return View("", ())
    grid = np.geomspace(min(top * 1e-6, (epsilon or top) / 10), top * 1.5, 240)
    exact = spectra.counts_are_eigenvalues(connection, section)
    total = max(float(q.counts.sum()) for pair in found.values() for m in pair for q in m.seeds)
    axis = Axis(
        "eigenvalues above x" if exact else "share of eigenvalues above x",
        log=True,
        bounds=(0.5 if exact else 1e-6, 2 * total),
    )
    count = lambda quadrature: spectra.counting(quadrature, grid)
    panels = tuple(
        _pair_panel(name, found[name], grid, count, "line", Axis("x = |λ|", log=True), axis)
        for name in data.methods(connection, section)
        if name in found
    )
    label = f"{MATRICES[matrix]}, {phase} of task"
    return View(label, _marked(panels, epsilon), _PHASES[phase])


_PHASES = {
    "start": "Taken on the new task's data before any step on it.",
    "end": "Taken on the task's data after the last step on it.",
}


def _pair_panel(
    name: str,
    pair: tuple[spectra.Measured, spectra.Measured],
    x: np.ndarray,
    count: Callable[[spectra.Quadrature], np.ndarray],
    kind: str,
    across: Axis,
    up: Axis,
) -> Panel:
    """Early (dashed) and late (solid) of one method; one solid line if they are the same."""
    early, late = pair
    dashed = {"line": "dashed", "steps": "dashed steps"}[kind]
    shown = [(late, kind)] if early.task == late.task else [(early, dashed), (late, kind)]
    series = []
    for measured, style in shown:
        values = np.stack([count(quadrature) for quadrature in measured.seeds])
        banded = len(values) > 1 and kind == "line"
        low, high = (values.min(0), values.max(0)) if banded else (None, None)
        label = f"{name}, task {measured.task}"
        series.append(Series(name, label, x, values.mean(0), low, high, style))
    title = f"{name}: task {late.task}"
    if len(shown) == 2:
        title = f"{name}: task {early.task} (dashed), task {late.task} (solid)"
    return Panel(title, across, up, tuple(series))


def signed_spectrum(connection: duckdb.DuckDBPyConnection, section: Section) -> Figure:
    """Where on the signed axis the eigenvalues lie: negative curvature beside positive."""
    found = _matrices(connection, section, "hessian", "ggn")
    views = [
        _signed_view(connection, section, matrix, phase) for matrix in found for phase in _PHASES
    ]
    caption = (
        f"Eigenvalues of the {_either(found)} in each quarter of a decade, negative curvature on "
        "the left; dashed early, solid late, means over probe vectors and seeds. The axis is "
        "logarithmic on both sides; the bin at 0 holds every eigenvalue too small for it. Empty "
        f"bins are drawn at the lower edge. {_explained(found)}"
    )
    return _figure(
        "signed-spectrum",
        "Negative and positive curvature, early and late",
        caption.strip(),
        views,
        "No spectra were stored for this stream.",
    )


def _signed_view(
    connection: duckdb.DuckDBPyConnection, section: Section, matrix: str, phase: str
) -> View:
    found = spectra.early_and_late(connection, section, matrix, phase)
    every = [q for pair in found.values() for m in pair for q in m.seeds]
    top = max((float(np.abs(q.nodes).max()) for q in every), default=0.0)
    if top <= 0:
        return View("", ())
    unit = 10.0 ** np.floor(np.log10(_epsilon(connection, section) or top * 1e-5))
    reach = max(1.0, np.ceil(4 * np.log10(top / unit) + 1) / 4)
    positive = np.arange(1e-9, reach + 0.25, 0.25)
    edges = np.concatenate([-positive[::-1], positive])
    centres = (edges[1:] + edges[:-1]) / 2
    exact = spectra.counts_are_eigenvalues(connection, section)
    floor = 0.1 if exact else 1e-7
    count = lambda quadrature: np.maximum(spectra.histogram(quadrature, edges, unit), floor)
    across = Axis("eigenvalue λ", ticks=_symlog_ticks(float(unit), int(reach)))
    most = max(float(count(quadrature).max()) for quadrature in every)
    up = Axis("eigenvalues in bin" if exact else "share in bin", True, (floor, 2 * most))
    panels = tuple(
        _pair_panel(name, found[name], centres, count, "steps", across, up)
        for name in data.methods(connection, section)
        if name in found
    )
    return View(f"{MATRICES[matrix]}, {phase} of task", panels, _PHASES[phase])


def _symlog_ticks(unit: float, reach: int) -> tuple[tuple[float, str], ...]:
    """At most three powers of ten on either side of zero; `unit` is a power of ten."""
    first, step = round(np.log10(unit)), max(1, -(-reach // 3))
    ticks = [(float(place), power(first + place)) for place in range(step, reach + 1, step)]
    return (*((-x, f"−{label}") for x, label in reversed(ticks)), (0.0, "0"), *ticks)


def power(exponent: int) -> str:
    """Ten to `exponent` as plain text."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def curvature(connection: duckdb.DuckDBPyConnection, section: Section) -> Figure:
    """How many directions are curved, and the other scalars of GGN and Hessian, over tasks."""
    epsilon = _epsilon(connection, section)
    threshold = "ε" if epsilon is None else f"ε = {epsilon:g}"
    budget = "The threshold 1/(ηT) is the curvature that T steps of size η can act on."
    ggn, hessian, both = ("ggn",), ("hessian",), ("ggn", "hessian")
    above, past = f"above {threshold}", f"beyond ±{threshold}"
    views = [
        _curvature_view(connection, section, label, matrices, quantity, note)
        for label, matrices, quantity, note in (
            (f"curvature directions: GGN eigenvalues {above}", ggn, "rank", ""),
            ("GGN above 1/(ηT)", ggn, "budget_rank", budget),
            ("effective rank", both, "effective_rank", ""),
            ("largest eigenvalue", both, "max", ""),
            ("trace", both, "trace", ""),
            ("smallest eigenvalue", hessian, "min", ""),
            (f"Hessian {past}, where resolved", hessian, "rank", _BULK),
            ("Hessian beyond ±1/(ηT), where resolved", hessian, "budget_rank", f"{budget} {_BULK}"),
        )
    ]
    ends = [f"{quantity}_{phase}" for quantity in ("rank", "max") for phase in _PHASES]
    found = [
        m for m in MATRICES if any(data.measured(connection, section, f"{m}_{e}") for e in ends)
    ]
    caption = (
        "Curvature of the loss on the new task's data, before and after training on it. "
        f"{_explained(found)}{BAND} Measured on some tasks only, marked by dots. "
        "Estimated by stochastic Lanczos quadrature; a count that it could not resolve is left "
        "out, of lines and of means. With one seed, bands are one standard error over probe "
        "vectors where that was stored."
    )
    missing = "Curvature was not measured on this stream."
    return _figure("curvature", "Curvature over tasks", caption, views, missing)


_BULK = (
    "The Hessian has a continuum of small eigenvalues of both signs around zero, in which a count "
    "can often not be resolved."
)
_QUANTITIES = {
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


def _curvature_view(
    connection: duckdb.DuckDBPyConnection,
    section: Section,
    label: str,
    matrices: tuple[str, ...],
    quantity: str,
    note: str,
) -> View:
    """A row for each matrix: at the start of tasks and at their end, on one scale."""
    rows = []
    for matrix in matrices:
        panels = [
            _curvature_panel(connection, section, matrix, quantity, phase) for phase in _PHASES
        ]
        rows += _level([panel for panel in panels if panel.series])
    return View(label, tuple(rows), note)


def _curvature_panel(
    connection: duckdb.DuckDBPyConnection, section: Section, matrix: str, quantity: str, phase: str
) -> Panel:
    name = MATRICES[matrix]
    axis = _QUANTITIES.get((matrix, quantity)) or f"{_WORDS[quantity]} of the {name}"
    title = f"{name}, at the {phase} of the task"
    column = f"{matrix}_{quantity}_{phase}"
    return _panel(connection, section, column, axis, title, level=True)


def directions(connection: duckdb.DuckDBPyConnection, section: Section) -> Panel:
    """Curvature directions at the start of tasks, of the matrix that `counted` names."""
    matrix, epsilon = counted(connection, section), _epsilon(connection, section)
    (panel,) = _level([_curvature_panel(connection, section, matrix, "rank", "start")])
    label = panel.y.label if epsilon is None else f"{panel.y.label} = {epsilon:g}"
    return panel._replace(y=panel.y._replace(label=label))


def counted(connection: duckdb.DuckDBPyConnection, section: Section) -> str:
    """The matrix whose count stands for curvature: the GGN, or where it has none, the Hessian."""
    return "ggn" if data.measured(connection, section, "ggn_rank_start") else "hessian"


def _level(panels: list[Panel], *, may_log: bool = True) -> tuple[Panel, ...]:
    """Panels side by side share a vertical scale: logarithmic only where all can be."""
    ends = [v for p in panels for s in p.series for v in (s.y, s.low, s.high) if v is not None]
    values = np.concatenate(ends) if ends else np.array([])
    log = may_log and _wide(values)
    if not len(values) or len(panels) < 2:
        return tuple(panel._replace(y=panel.y._replace(log=log)) for panel in panels)
    low, high = values.min(), values.max()
    room = 0.06 * (np.log10(high / low) if log else (high - low) or 1.0)
    bounds = (low / 10**room, high * 10**room) if log else (low - room, high + room)
    scale = {"log": log, "bounds": (float(bounds[0]), float(bounds[1]))}
    return tuple(panel._replace(y=panel.y._replace(**scale)) for panel in panels)


def _wide(values: np.ndarray) -> bool:
    """Whether `values` are positive and span so much that only a logarithmic axis shows them."""
    return len(values) > 0 and bool(values.min() > 0 and values.max() > 30 * values.min())


def prediction(connection: duckdb.DuckDBPyConnection, section: Section) -> Figure:
    """Does the curvature at a task's start foretell the accuracy reached on it?"""
    judged, matrix = data.metric(connection, section), counted(connection, section)
    counts = _QUANTITIES[matrix, "rank"]
    points = _points(connection, section, f"{matrix}_rank_start", judged)
    panels, notes = [], []
    for place, title in ((3, "On the same task"), (4, "On the next task")):
        chosen = [point for point in points if point[place] is not None]
        if chosen:
            panels.append(_scatter(title, chosen, place, counts, judged))
            notes.append(f"{title}: {_correlations(chosen, place)}")
    caption = (
        f"{counts} at the start of a task against {_words(judged)}, one point for each method, "
        "seed and measured task whose count was resolved. Points of one run depend on one "
        "another, so no p-value is given. "
        + " ".join([*notes, *([GGN] if matrix == "ggn" else [])])
    )
    title = "Does curvature foretell the accuracy?"
    missing = "There are no tasks with both a count of eigenvalues and an accuracy."
    return _figure("prediction", title, caption, [View("", _level(panels, may_log=False))], missing)


def _points(
    connection: duckdb.DuckDBPyConnection, section: Section, rank: str, judged: str
) -> list[tuple]:
    """(method, rank, note, accuracy on the task, accuracy on the next) of measured tasks."""
    wanted = {"task": "BIGINT", rank: "DOUBLE", judged: "DOUBLE"}
    tasks = data.source(connection, "tasks", **wanted)
    finite = f'CASE WHEN isfinite("{judged}") THEN "{judged}" END'
    rows = connection.execute(
        f"""
        WITH mine AS (SELECT *, {finite} AS reached FROM {tasks} WHERE study = ? AND stream = ?)
        SELECT now.method, now."{rank}", now.seed, now.task, now.reached, later.reached
        FROM mine AS now LEFT JOIN mine AS later ON later.method = now.method
            AND later.seed = now.seed AND later.task = now.task + 1
        WHERE isfinite(now."{rank}") ORDER BY now.method, now.seed, now.task
        """,
        list(section),
    ).fetchall()
    return [
        (method or "", count, f"seed {seed}, task {task}", same, later)
        for method, count, seed, task, same, later in rows
    ]


def _scatter(title: str, points: list[tuple], place: int, counts: str, judged: str) -> Panel:
    series = []
    for name in data.ordered({point[0] for point in points}):
        mine = [point for point in points if point[0] == name]
        x, y = np.array([p[1] for p in mine]), np.array([p[place] for p in mine])
        notes = tuple(point[2] for point in mine)
        series.append(Series(name, name, x, y, kind="points", notes=notes))
    wide = _wide(np.array([point[1] for point in points]))
    across = Axis(f"{counts} at the start of the task", log=wide)
    return Panel(title, across, Axis(_words(judged)), tuple(series))


def _correlations(points: list[tuple], place: int) -> str:
    """Spearman's rho over all points, and within each method: the two can disagree."""
    overall = _spearman([point[1] for point in points], [point[place] for point in points])
    within = {}
    for name in data.ordered({point[0] for point in points}):
        mine = [point for point in points if point[0] == name]
        within[name] = _spearman([p[1] for p in mine], [p[place] for p in mine])
    said = [f"{name} {rho:.2f}" for name, rho in within.items() if rho is not None]
    pooled = "is not defined" if overall is None else f"is {overall:.2f}"
    inside = f"; within methods: {', '.join(said)}" if len(within) > 1 and said else ""
    return f"Spearman's ρ {pooled} over {len(points)} points{inside}."


def _spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rho, or None where there is none: too few points, or one side constant."""
    from neoteny.statistics import spearman

    rho = spearman(x, y) if len(x) > 1 else np.nan
    return None if np.isnan(rho) else float(rho)


def units(connection: duckdb.DuckDBPyConnection, section: Section) -> Figure:
    """Dead units and the effective rank of features, over the layers and in each."""
    names = {
        "dead": ("Dead units", "share of units"),
        "effective_rank": ("Effective rank of features", "effective rank"),
        "dormant": ("Dormant units", "share of units"),
        "saturated": ("Saturated units", "share of units"),
        "stable_rank": ("Stable rank of features", "stable rank"),
        "approximate_rank": ("Approximate rank of features", "approximate rank"),
    }
    suffixes = {"mean over layers": ""}
    suffixes |= {f"layer {layer}": f"_{layer}" for layer in data.layers(connection, *names)}
    views = [
        View(label, _panels(connection, section, {n + suffix: v for n, v in names.items()}))
        for label, suffix in suffixes.items()
    ]
    missing = "No probe of units or features was recorded."
    title = "Dead units and feature rank"
    return _figure("units", title, BAND + _blocks(connection, section), views, missing)


def norms(connection: duckdb.DuckDBPyConnection, section: Section) -> Figure:
    """Norms of weights and gradients, and how far a task moves the weights."""
    names = {
        "weight_norm": ("Norm of the weights", "Euclidean norm"),
        "gradient_norm": ("Norm of the gradient", "Euclidean norm"),
        "displacement": ("Displacement over the task", "Euclidean norm"),
    }
    view = View("", _panels(connection, section, names))
    missing = "No norms were recorded."
    caption = BAND + _blocks(connection, section)
    return _figure("norms", "Weights and gradients", caption, [view], missing)


_FIGURES = (accuracy, curvature, prediction, spectrum, signed_spectrum, units, norms)


def _panels(
    connection: duckdb.DuckDBPyConnection, section: Section, names: dict[str, tuple[str, str]]
) -> tuple[Panel, ...]:
    """A panel for each column of `names` that was measured and is not zero throughout."""
    found = [
        _panel(connection, section, column, axis, title) for column, (title, axis) in names.items()
    ]
    return tuple(panel for panel in found if any(np.any(s.y != 0) for s in panel.series))


def _panel(
    connection: duckdb.DuckDBPyConnection,
    section: Section,
    column: str,
    axis: str,
    title: str,
    level: bool = False,
) -> Panel:
    curves = data.curves(connection, section, column)
    series = _lines(curves)
    if all(np.all(curve.seeds == 1) for curve in curves.values()):
        series = _standard_errors(series, data.curves(connection, section, f"{column}_se"))
    panel = Panel(title, Axis("task"), Axis(axis), series)
    return panel if level else _level([panel], may_log="share" not in axis)[0]


def _lines(curves: dict[str, data.Curve]) -> tuple[Series, ...]:
    return tuple(
        Series(name, name, curves[name].task, curves[name].mean, *_band(curves[name]))
        for name in data.ordered(curves)
    )


def _band(curve: data.Curve) -> tuple[np.ndarray | None, np.ndarray | None]:
    return (curve.low, curve.high) if np.any(curve.seeds > 1) else (None, None)


def _standard_errors(
    series: tuple[Series, ...], errors: dict[str, data.Curve]
) -> tuple[Series, ...]:
    """With one seed, a band of one standard error of the estimate, where it was stored."""
    banded = []
    for line in series:
        error = errors.get(line.key)
        if error is not None and np.array_equal(error.task, line.x):
            line = line._replace(low=line.y - error.mean, high=line.y + error.mean)
        banded.append(line)
    return tuple(banded)


def _figure(name: str, title: str, caption: str, views: list[View], missing: str) -> Figure:
    drawn = tuple(view for view in views if view.panels)
    return Figure(name, title, caption if drawn else missing, drawn)


def _marked(panels: tuple[Panel, ...], epsilon: float | None) -> tuple[Panel, ...]:
    marks = () if epsilon is None else ((epsilon, f"ε = {epsilon:g}"),)
    return tuple(panel._replace(marks=marks) for panel in panels)


def _epsilon(connection: duckdb.DuckDBPyConnection, section: Section) -> float | None:
    value = data.setting(connection, section, "probes", "epsilon")
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _blocks(connection: duckdb.DuckDBPyConnection, section: Section) -> str:
    size = data.block(connection, section)
    return f" Each point is a mean over {size} consecutive tasks." if size > 1 else ""


def _words(column: str) -> str:
    return column.replace("heldout", "held-out").replace("_", " ")
