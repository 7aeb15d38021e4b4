"""Episodes of agents as strips of drawings."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

_SIDE = 100.0
_HUES = 7


def strips(shown: Sequence[Any]) -> str:
    """A figure with a strip for each of `shown`, or nothing where there is none.

    Each has a `method`, `seed`, `task` and an `episode` of `frames`, `steps` and `total`; see
    `neoteny.episodes`.
    """
    if not shown:
        return ""
    rows = "".join(_strip(one) for one in shown)
    return (
        f'<figure class="episodes"><h3>Episodes</h3>{rows}<figcaption>What each method\'s first '
        "seed does once it has learnt its last task, in that task's world, from the beginning of "
        "an episode to its end.</figcaption></figure>"
    )


def _strip(one: Any) -> str:
    episode, name = one.episode, escape(one.method)
    drawings = "".join(
        f"<div>{_board(frame.board) if frame.board is not None else _lines(frame.lines, box)}"
        f"<small>step {frame.step}</small></div>"
        for box in [_box(episode.frames)]
        for frame in episode.frames
    )
    return (
        f'<p><i data-ink="{name}"></i> <b>{name}</b>, seed {one.seed}, task {one.task}: return '
        f"{episode.total:.4g} in {episode.steps} steps</p>"
        f'<div class="strip">{drawings}</div>'
    )


def _box(frames: Sequence[Any]) -> tuple[np.ndarray, float]:
    """Where drawings of several moments have their middle, and how much of the plane they need.

    Each moment is centred from left to right, so that what walks away stays in sight.
    """
    spans = [_span(frame.lines) for frame in frames if frame.lines]
    if not spans:
        return np.zeros(2), 1.0
    low = np.min([span[0] for span in spans], axis=0)
    high = np.max([span[1] for span in spans], axis=0)
    wide = max(span[1][0] - span[0][0] for span in spans)
    return (low + high) / 2, float(max(wide, high[1] - low[1], 1e-6)) * 1.1


def _span(lines: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    points = np.concatenate(lines)
    return points.min(0), points.max(0)


def _lines(lines: Sequence[np.ndarray], box: tuple[np.ndarray, float]) -> str:
    middle, size = box
    low, high = _span(lines)
    centre = np.array([(low[0] + high[0]) / 2, middle[1]])
    drawn = ""
    for line in lines:
        placed = (line - centre) / size * _SIDE * (1, -1) + _SIDE / 2
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        drawn += f'<polyline points="{points}"/>'
    return _svg(drawn, _SIDE, _SIDE)


def _board(board: np.ndarray) -> str:
    height, width = board.shape
    drawn = "".join(
        f'<rect x="{x}" y="{y}" width="1" height="1" '
        f'style="fill:hsl({360 * int(board[y, x]) / _HUES:.0f} 60% 50%)"/>'
        for y, x in np.argwhere(board > 0)
    )
    edge = f'<rect class="edge" x="0" y="0" width="{width}" height="{height}"/>'
    return _svg(edge + drawn, width, height)


def _svg(inside: str, width: float, height: float) -> str:
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img">{inside}</svg>'
