"""The score against each setting: points, their spread, and what did not come through."""

import numpy as np
import pytest

from neoteny.report import sensitivity
from neoteny.report.sensitivity import Tried


def tried(method, scores, unfinished=0, **values):
    return Tried("digits", method, values, "final_accuracy", tuple(scores), unfinished)


RANDOM = [
    tried("bp", (0.5, 0.7), lr="0.1"),
    tried("bp", (0.2,), lr=0.001),
    tried("l2", (0.8, 0.9), lr=0.03, **{"l2.decay": 1e-4}),
    tried("l2", (0.4, 0.4), lr=0.02, **{"l2.decay": 2e-4}),
    tried("er", (0.4,), 1, lr=0.01, **{"er.decay": 3e-4}),
]


def panels(settings):
    (figure,) = sensitivity(settings)
    return {panel.title: panel for panel in figure.views[0].panels}


def of(panel, method, kind):
    return [one for one in panel.series if (one.key, one.kind) == (method, kind)]


def test_a_point_is_a_settings_mean_and_a_bar_its_seeds():
    panel = panels(RANDOM)["lr"]
    (points,) = of(panel, "bp", "points")
    np.testing.assert_allclose(points.x, [0.001, 0.1])
    np.testing.assert_allclose(points.y, [0.2, 0.6])
    bars, line = of(panel, "bp", "plain")
    np.testing.assert_allclose(bars.x, [0.001, 0.001, 0.001, 0.1, 0.1, 0.1])
    np.testing.assert_allclose(bars.y, [0.2, 0.2, np.nan, 0.5, 0.7, np.nan])
    np.testing.assert_allclose(line.y, points.y)  # nothing else was varied


def test_methods_share_the_panel_of_a_name_and_no_line_joins_what_differs_in_more():
    found = panels(RANDOM)
    assert list(found) == ["lr", "decay"]
    assert {one.key for one in found["decay"].series} == {"l2", "er"}
    assert len(of(found["lr"], "l2", "plain")) == 1  # the bars alone


def test_the_scale_is_logarithmic_where_decades_are_spanned():
    found = panels(RANDOM)
    assert found["lr"].x.log and not found["decay"].x.log
    assert not panels([tried("bp", (1.0,), lr=0.0), tried("bp", (1.0,), lr=1.0)])["lr"].x.log


def test_what_did_not_come_through_lies_on_a_line_below_all_else():
    panel = panels(RANDOM)["lr"]
    (level,) = panel.levels
    (fallen,) = of(panel, "er", "points")
    assert fallen.x == [0.01] and fallen.y == [level] and level < 0.2
    assert not panels(RANDOM[:4])["lr"].levels


def test_in_a_grid_a_line_joins_the_best_at_each_value():
    grid = [
        tried("bp", (score,), lr=rate, optimiser=name)
        for name, scores in {"sgd": (0.3, 0.6), "adam": (0.5, 0.4)}.items()
        for rate, score in zip(("0.1", "0.2"), scores, strict=True)
    ]
    found = panels(grid)
    (line,) = of(found["lr"], "bp", "plain")
    np.testing.assert_allclose(line.y, [0.5, 0.6])
    assert found["optimiser"].x.ticks == ((0.0, "adam"), (1.0, "sgd"))
    assert not of(found["optimiser"], "bp", "plain")


@pytest.mark.parametrize("settings", [[], RANDOM[:1], [tried("bp", (1.0,))] * 2])
def test_what_was_not_varied_has_no_figure(settings):
    assert sensitivity(settings) == []
