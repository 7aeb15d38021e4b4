"""How long a study would take: counts by their closed form, and a word for the person."""

import pytest

from neoteny import api, estimate
from neoteny.errors import UserError
from neoteny.estimate import duration, sentence
from neoteny.sweep import expand
from tiny import neoteny, study


def test_steps_are_those_of_all_tasks_and_fresh_networks():
    runs = expand(study(methods=["bp", "cbp"], seeds=2))
    found = estimate.estimate(runs, jobs=2)
    assert (found.runs, found.tasks) == (4, 12)
    assert found.steps == 4 * (3 + 2) * (60 // 10)  # fresh networks on tasks 0 and 2
    assert found.training > 0
    assert found.spectra > 0
    assert found.seconds == pytest.approx((found.training + found.spectra) / 2)
    without = estimate.estimate(expand(study(probes__spectrum_every=0, probes__fresh_every=0)))
    assert without.spectra == 0
    assert without.steps == 3 * 6


def test_tasks_that_grow_count_with_the_rows_they_have():
    growing = study(
        tasks=4,
        metric="heldout_accuracy",
        stream={"rule": "incremental-classes", "rows": 200, "options": {"start": 5, "step": 5}},
        training__head="masked",
        training__batch=10,
        probes__fresh_every=0,
        probes__spectrum_every=0,
    )
    # classes of 20 rows: 100 and 200 rows in turn
    assert estimate.estimate(expand(growing)).steps == 4 * 15


def test_what_a_person_reads():
    found = estimate.Estimate(3, 60, 12_000, 90.0, 30.0, 7_300.0)
    assert sentence(found).startswith("About 2 hours for 3 runs, 60 tasks and 12,000 steps")
    assert "25% of it for spectra" in sentence(found)
    assert [duration(s) for s in (0.2, 90, 300, 90_000, 900_000)] == [
        "0 seconds",
        "90 seconds",
        "5 minutes",
        "25 hours",
        "10 days",
    ]


def test_the_command_says_it_and_trains_nothing(tmp_path):
    done = neoteny(
        tmp_path, "run", "permuted-mnist", "--scale", "smoke", "--estimate", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("About ")
    assert not (tmp_path / "runs").exists()


def test_what_cannot_run_is_refused_as_by_the_run_itself():
    with pytest.raises(UserError, match="no data set `nothing`"):
        api.estimate(study(), changes={"stream.dataset": "nothing"})
