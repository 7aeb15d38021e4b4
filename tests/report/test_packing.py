"""What a page holds of many runs, so that it stays small enough to open."""

import json

import numpy as np
import pytest

from neoteny import report
from neoteny.report import measures, packing
from neoteny.report.about import described
from neoteny.report.figures import Axis, Figure, Panel, Series, View
from neoteny.report.recorded import every


def test_single_seeds_are_kept_while_there_is_room_first_of_what_is_judged_by(study, monkeypatch):
    study.execute(
        "CREATE OR REPLACE TABLE tasks AS SELECT study, stream, method, seed, task, dead, dormant, "
        "* EXCLUDE (study, stream, method, seed, task, dead, dormant) FROM tasks"
    )
    streams = every(study)
    rows = study.execute("SELECT count(*) FROM tasks").fetchall()[0][0]
    assert packing.columns_with_seeds(streams) >= {"dead", "final_accuracy", "effective_rank_2"}
    monkeypatch.setattr(packing, "MOST_OF_SEEDS", 2 * rows)
    chosen = packing.columns_with_seeds(streams)
    assert {"online_accuracy", "final_accuracy"} <= chosen and "dead" not in chosen


def test_lines_of_a_large_page_have_fewer_points_and_still_reach_every_extreme(study, monkeypatch):
    whole = every(study)[0].curves("dead")["bp"]
    monkeypatch.setattr(packing, "FEWEST_POINTS", 10)
    monkeypatch.setattr(packing, "MOST_NUMBERS", 1)
    streams = every(study)
    packing.fit(streams)
    thin = streams[0].curves("dead")["bp"]
    assert (len(whole.task), len(thin.task)) == (40, 10)
    np.testing.assert_allclose(thin.low, whole.low.reshape(10, 4).min(1))
    np.testing.assert_allclose(thin.high, whole.high.reshape(10, 4).max(1))


def test_a_measure_is_listed_once_with_its_layers_and_in_words(study):
    listed = {one["name"]: one for one in measures.measures(every(study))}
    assert next(iter(listed)) == "online_accuracy"
    assert listed["dead"]["layers"] == [1, 2] and "dead_1" not in listed
    assert listed["ggn_rank_start"]["label"] == "GGN rank at the start of the task"
    assert listed["dead"]["group"] == "Units" and "ggn_rank_start_se" not in listed


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (
            {
                "hyperparameters": {"weight_decay": 1e-4, "deep": {"no": 1}},
                "setting": {
                    "training": {"learning_rate": 0.01, "batch": 16, "optimiser": "adam"},
                    "training_of": {"l2": {"learning_rate": 0.003}},
                    "network": {"kind": "mlp", "widths": [100, 50], "layer_norm": True},
                },
            },
            ["learning rate 0.003, batch 16, adam", "network mlp, 100–50, layer norm",
             "weight_decay 0.0001"],
        ),
        ({"setting": {"training": "x", "network": {"widths": 3}}, "hyperparameters": None}, []),
        ({}, []),
    ],
)  # fmt: skip
def test_a_configuration_is_told_in_words_whatever_it_lacks(configuration, said):
    assert described(configuration, "l2") == said


def test_a_figure_over_all_streams_has_its_place_in_page_and_contents(study, tmp_path):
    line = Series("bp", "bp", np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    panel = Panel("", Axis("learning rate", log=True), Axis("score"), (line,))
    figure = Figure("sensitivity", "Score by setting", "Said.", (View("", (panel,)),))
    empty = Figure("none", "Nothing", "", ())
    said = {"title": "", "verdict": None, "reproduce": ""}
    path = report.write(study, tmp_path / "r.html", **said, settings=[figure, empty])
    text = path.read_text(encoding="utf-8")
    assert '<a href="#over-all--sensitivity">Score by setting</a>' in text
    held = json.loads(text.split('id="data-over-all">')[1].split("</script>")[0])
    assert list(held["figures"]) == ["over-all--sensitivity"] and "Nothing" not in text
