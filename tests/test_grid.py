"""Grids: every combination a stream of its own, methods' own axes theirs alone."""

import json
from pathlib import Path

import pytest

import neoteny
import tiny
from neoteny import grid, slurm, store, sweep
from neoteny.config import Setting, Study
from neoteny.errors import UserError

pytestmark = pytest.mark.usefixtures("compiled_once")

STUDY = Study(name="s", methods=("bp", "l2"), seeds=2, streams={"digits": Setting()})


def test_every_combination_is_a_stream_of_its_own():
    runs, points = grid.expand(STUDY, {"lr": ["0.1", "0.01"], "batch": [8]})
    assert len(runs) == 2 * 2 * 2
    assert set(points) == {"digits--lr-0.1--batch-8", "digits--lr-0.01--batch-8"}
    for run in runs:
        values = points[run.stream].values
        assert run.setting.training.learning_rate == float(values["lr"])
        assert run.setting.training.batch == 8
    places = {sweep.folder_of(Path("x"), run) for run in runs}
    assert len(places) == len(runs)


def test_a_methods_own_axis_varies_it_alone():
    runs, _ = grid.expand(STUDY, {"tasks": [3], "l2.weight_decay": ["1e-4", "1e-3"]})
    by_method = {name: [run for run in runs if run.method == name] for name in ("bp", "l2")}
    assert len(by_method["bp"]) == 2 and len(by_method["l2"]) == 4
    assert {run.stream for run in by_method["bp"]} == {"digits--tasks-3"}
    decays = {run.stream: run.hyperparameters["weight_decay"] for run in by_method["l2"]}
    assert decays == {
        "digits--tasks-3--weight_decay-1e-4": 1e-4,
        "digits--tasks-3--weight_decay-1e-3": 1e-3,
    }
    assert all(run.tasks == 3 for run in runs)


def test_no_axis_is_the_study_itself():
    runs, points = grid.expand(STUDY, {})
    assert runs == sweep.expand(STUDY) and list(points) == ["digits"]


def test_lists_and_words_are_values_too():
    runs, points = grid.expand(STUDY, {"network.widths": ["[8, 8]", "[16]"], "optimiser": ["adam"]})
    assert {run.setting.network.widths for run in runs} == {(8, 8), (16,)}
    assert "digits--widths-_8_8_--optimiser-adam" in points


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"learning_rat": [1]}, "no field `learning_rat`. Did you mean `training.learning_rate`"),
        ({"options": [1]}, "may be stream.options or network.options"),
        ({"lr": []}, "one or more, each once"),
        ({"lr": ["0.1", "0.1"]}, "one or more, each once"),
        ({"lr": ["-1"]}, "learning_rate"),
        ({"l2.decay": [1]}, "no hyperparameter of `l2` called `decay`"),
        ({"l2.weight_decay": ["x"]}, "`l2.weight_decay` is 'x'"),
        ({"cbp.replacement_rate": [1e-4]}, "varies `cbp`, which is not run"),
        ({"network.widths": ["[8, 8]", "[8,8]"]}, "would be called"),
    ],
)
def test_what_is_no_grid_is_refused(axes, words):
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        grid.expand(STUDY, axes)


@pytest.fixture(scope="module")
def swept(tmp_path_factory, compiled_once):
    """A grid of two rates, done in two parts; one rate is hopeless."""
    out = tmp_path_factory.mktemp("swept")
    axes = {"lr": ["0.05", "1e300"]}
    for place in range(2):
        results = neoteny.run(
            tiny.study(), methods=["bp"], seeds=1, out=out, grid=axes, part=(place, 2)
        )
        assert len(results.outcomes) == 1
    return results


def test_parts_make_the_whole_and_the_best_comes_first(swept):
    states = {row["stream"]: row["status"] for row in store.status(swept.folder)}
    assert sorted(states.values()) == ["diverged", "finished"]
    first, last = swept.settings()
    assert (first["lr"], first["seeds"], first["unfinished"]) == ("0.05", 1, 0)
    assert (last["score"], last["unfinished"]) == (None, 1)
    ((mean,),) = store.query(
        swept.folder, f"SELECT avg({first['metric']}) FROM tasks WHERE stream LIKE '%0.05'"
    ).rows
    assert first["score"] == pytest.approx(mean)


def test_what_streams_mean_is_kept_with_the_runs(swept):
    kept = json.loads((swept.folder / "study.json").read_text())["grid"]
    assert {point["values"]["lr"] for point in kept.values()} == {"0.05", "1e300"}


@pytest.mark.parametrize("part", [(2, 2), (0, 0), (5, 9)])
def test_a_part_that_there_is_not_is_refused(part, tmp_path):
    with pytest.raises(UserError, match="`part` is"):
        neoteny.run(tiny.study(), methods=["bp"], seeds=2, out=tmp_path, part=part)


def test_a_job_array_does_each_part_and_keeps_the_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "my study", "--on", "slurm", "--grid", "lr=1,2", "--jobs=2", "--parts", "4"]
    script = slurm.job_array(words, 4)
    assert "#SBATCH --array=0-3\n" in script and f"cd {tmp_path}" in script
    assert script.endswith(
        """neoteny sweep 'my study' --grid lr=1,2 --jobs 1 --part "$SLURM_ARRAY_TASK_ID/4\""""
    )
    with pytest.raises(UserError, match="one job at least"):
        slurm.job_array(words, 0)


def test_a_failed_run_keeps_its_reasons_when_it_is_tried_again(tmp_path):
    config = {"study": "s", "stream": "t", "method": "m", "seed": 0, "tasks": 1}
    for reason in ("first", "second"):
        with store.Run.open(tmp_path, config) as run:
            run.finish("failed", reason)
    with store.Run.open(tmp_path, config) as run:
        (row,) = store.status(tmp_path)
        assert (row["status"], row["failures"]) == ("running", ["first", "second"])
        assert run.tasks_done == 0
