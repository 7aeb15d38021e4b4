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
        "digits--tasks-3--l2.weight_decay-1e-4": 1e-4,
        "digits--tasks-3--l2.weight_decay-1e-3": 1e-3,
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
        ({"lr": ["0.1", " 0.10"]}, "one or more, each once"),
        ({"lr": ["0.1"], "learning_rate": ["0.2"]}, "`lr` and `learning_rate` are one field"),
        ({"l2.weight_decay": [1], "hyperparameters.l2.weight_decay": [2]}, "are one field"),
        ({"lr": ["-1"]}, "learning_rate"),
        ({"l2.decay": [1]}, "no hyperparameter of `l2` called `decay`"),
        ({"l2.weight_decay": ["x"]}, "`l2.weight_decay` is 'x'"),
        ({"cbp.replacement_rate": [1e-4]}, "varies `cbp`, which is not run"),
        ({"network.widths": ["[8, 8]", "[8,8]"]}, "each once"),
        ({"stream.options": ["{a = 1}", "{a=1 }"]}, "each once"),
        ({"network.widths": ["[8, 8]"], "stream.rule": ["a b", "a_b"]}, "would be called"),
    ],
)
def test_what_is_no_grid_is_refused(axes, words):
    with pytest.raises(UserError, match=words.replace("[", r"\[")):
        grid.expand(STUDY, axes)


def test_a_method_with_a_rate_of_its_own_is_not_swept_in_name_alone():
    setting = Setting(training_of={"l2": {"learning_rate": 0.5}})
    study = STUDY.model_copy(update={"streams": {"digits": setting}})
    with pytest.raises(UserError, match=r"training_of\.l2\.learning_rate"):
        grid.expand(study, {"lr": [0.1, 0.2]})


def test_one_hyperparameter_of_two_methods_is_swept_together():
    study = STUDY.model_copy(update={"methods": ("l2", "l2_er")})
    axes = {f"{method}.weight_decay": ["1e-4", "1e-3"] for method in study.methods}
    runs, _ = grid.expand(study, axes)
    assert len(runs) == 8 and len({(run.stream, run.method, run.seed) for run in runs}) == 8


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


def test_another_sweep_in_the_same_place_forgets_nothing(swept, compiled_once):
    results = neoteny.run(
        tiny.study(), methods=["bp"], seeds=1, out=swept.folder, grid={"lr": ["0.01"]}
    )
    assert {row["lr"] for row in results.settings()} == {"0.05", "1e300", "0.01"}


def test_the_estimate_is_of_the_grid():
    asked = {"methods": ["bp"], "seeds": 1, "grid": {"lr": [0.1, 0.2, 0.3]}}
    assert neoteny.api.estimate(tiny.study(), **asked).runs == 3
    assert neoteny.api.estimate(tiny.study(), **asked, part=(1, 2)).runs == 1


def test_what_streams_mean_is_kept_with_the_runs(swept):
    kept = json.loads((swept.folder / "study.json").read_text())["grid"]
    assert {point["values"]["lr"] for point in kept.values()} >= {"0.05", "1e300"}


@pytest.mark.parametrize("part", [(2, 2), (0, 0), (5, 9)])
def test_a_part_that_there_is_not_is_refused(part, tmp_path):
    with pytest.raises(UserError, match="`part` is"):
        neoteny.run(tiny.study(), methods=["bp"], seeds=2, out=tmp_path, part=part)


def test_a_job_array_does_each_part_and_keeps_the_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["sweep", "my study", "--on", "slurm", "--grid", "lr=1,2", "--jobs=2", "--parts", "4"]
    script = slurm.job_array("/my env/neoteny", words, 4)
    assert "#SBATCH --array=0-3\n" in script and f"cd {tmp_path}" in script
    last = script.splitlines()[-1]
    assert last.startswith("exec '/my env/neoteny' sweep 'my study' --grid lr=1,2 --jobs 1 ")
    assert last.endswith('--part "$SLURM_ARRAY_TASK_ID/4"')
    with pytest.raises(UserError, match="one job at least"):
        slurm.job_array("neoteny", words, 0)


def test_a_failed_run_keeps_its_reasons_when_it_is_tried_again(tmp_path):
    config = {"study": "s", "stream": "t", "method": "m", "seed": 0, "tasks": 1}
    for reason in ("first", "second"):
        with store.Run.open(tmp_path, config) as run:
            run.finish("failed", reason)
    with store.Run.open(tmp_path, config) as run:
        (row,) = store.status(tmp_path)
        assert (row["status"], row["failures"]) == ("running", ["first", "second"])
        assert run.tasks_done == 0
