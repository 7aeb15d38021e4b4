"""How well each task was learnt, beside a fresh network on the same task."""

from neoteny.report import data, palette
from neoteny.report.data import ordered
from neoteny.report.figures.lines import lines
from neoteny.report.figures.shapes import Axis, Figure, Panel, Series, View, figure
from neoteny.report.figures.words import BAND, blocks, words
from neoteny.report.recorded import Recorded


def accuracy(recorded: Recorded) -> Figure:
    """Accuracy or return on each task, beside that of a fresh network on the same task."""
    judged, window = recorded.metric, smoothing(recorded)
    views = [accuracy_view(recorded, judged, 1)]
    if window >= 3:
        views.append(accuracy_view(recorded, judged, window))
    views.append(_gap_view(recorded, judged))
    others = [name for name in data.alike(judged) if name != judged]
    views += [accuracy_view(recorded, name, 1) for name in others]
    fresh = any(s.kind == "marks" for view in views for p in view.panels for s in p.series)
    caption = f"{BAND} A run that diverged leaves the mean after its last task."
    if fresh:
        caption += (
            " Dashed: a fresh network trained on the same task in the same way (measured where "
            "there is a dot), which is what the learner would reach had it lost nothing."
        )
    caption += blocks(recorded)
    what = "return" if judged in data.RETURNS else "accuracy"
    title = f"{what.capitalize()} on each task"
    return figure(what, title, caption, views, f"No {what} was recorded.")


def smoothing(recorded: Recorded) -> int:
    """Over how many tasks the moving mean runs: an odd number, 1 for a short stream."""
    return 2 * (recorded.length // 40) + 1


def accuracy_view(recorded: Recorded, name: str, window: int) -> View:
    """The accuracy `name` over tasks as a moving mean, with fresh networks as measured."""
    label, note = words(name), ""
    if window > 1:
        series = lines(recorded.smoothed(name, window))
        label = f"moving mean over {window} tasks"
        note = (
            f"Smoothed: each seed's {words(name)} is averaged over {window} tasks, centred, "
            "before means and bands are taken; the window is cut at both ends."
        )
    else:
        series = lines(recorded.curves(name), name)
    if series:
        series += _fresh(recorded, data.reference(name))
    panel = Panel("", Axis("task"), Axis(words(name)), series)
    return View(label, (panel,) if series else (), note)


def _gap_view(recorded: Recorded, name: str) -> View:
    """Loss of plasticity as a number: how far the learner is below a fresh network."""
    series = lines(recorded.differences(name, data.reference(name)))
    axis = Axis(f"{words(name)}, learner minus fresh")
    panel = Panel("", Axis("task"), axis, series, levels=(0.0,))
    note = "Learner minus fresh network, seed by seed: below zero, plasticity was lost."
    return View("below a fresh network", (panel,) if series else (), note)


def _fresh(recorded: Recorded, column: str) -> tuple[Series, ...]:
    """One neutral line where all methods share their fresh networks, else one for each."""
    shared = recorded.shared(column)
    if shared is not None:
        name = palette.REFERENCE
        return (Series(name, name, shared.task, shared.mean, kind="marks"),)
    curves = recorded.curves(column)
    return tuple(
        Series(key, f"{key}, fresh network", curves[key].task, curves[key].mean, kind="marks")
        for key in ordered(curves)
    )
