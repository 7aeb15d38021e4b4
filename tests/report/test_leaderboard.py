"""The leaderboard: ranks over streams, pairs won against the baseline, and its page."""

import numpy as np
import pytest
from scipy import stats

from neoteny import api
from neoteny.errors import UserError
from neoteny.report import leaderboard


def test_methods_stand_by_rank_and_by_pairs_won(study):
    found = leaderboard.standing(study)
    names = [row["method"] for row in found.rows]
    assert names[0] == "l2_er" and names[-1] == "bp"
    rows = {row["method"]: row for row in found.rows}
    assert (rows["bp"]["beats_bp"], rows["bp"]["p"]) == (None, None)
    assert rows["l2_er"]["beats_bp"] == rows["l2_er"]["low"] == 1
    assert rows["l2"]["unfinished"] == 1 and rows["l2"]["runs"] == 5
    # six pairs, all won, one of three methods beside the baseline
    assert rows["l2_er"]["p"] == pytest.approx(3 * 2 / 2**6)
    assert found.ranks is not None and len(found.ranks.streams) == 2
    assert rows["l2_er"]["rank"] == found.ranks.mean["l2_er"]


def test_scores_are_means_over_all_tasks_of_what_the_stream_is_judged_by(study):
    found = leaderboard._scores(study, ["bp"])
    ((expected,),) = study.execute(
        "SELECT avg(final_accuracy) FROM tasks WHERE stream = 'random_labels' AND method = 'bp' "
        "AND seed = 1"
    ).fetchall()
    assert found["bp"]["collapse: random_labels"][1] == pytest.approx(expected)


def test_ranks_are_those_of_the_means_over_seeds(study):
    scores = leaderboard._scores(study, ["bp", "cbp", "l2_er"])
    streams = sorted(scores["bp"])
    table = [[np.mean(list(scores[m][s].values())) for m in sorted(scores)] for s in streams]
    expected = np.mean([stats.rankdata(-np.array(row)) for row in table], axis=0)
    found = leaderboard.standing(study, ["bp", "cbp", "l2_er"]).ranks
    assert found is not None and list(found.mean.values()) == pytest.approx(expected)


def test_methods_that_never_met_have_no_ranks_and_that_is_said(tables, insert):
    for stream, method in (("one", "bp"), ("two", "l2")):
        insert("runs", study="s", stream=stream, method=method, seed=0, status="finished")
        insert("tasks", study="s", stream=stream, method=method, seed=0, task=0,
               online_accuracy=0.5)  # fmt: skip
    found = leaderboard.standing(tables)
    assert found.ranks is None and all(row["beats_bp"] is None for row in found.rows)
    assert "--methods" in leaderboard.summary(found)
    assert "alone" in leaderboard.summary(leaderboard.standing(tables, ["bp"]))


def test_methods_named_are_still_compared_with_the_baseline(study):
    found = leaderboard.standing(study, ["cbp", "l2_er"])
    assert [row["method"] for row in found.rows] == ["l2_er", "cbp"]
    assert found.rows[0]["beats_bp"] == 1


def test_a_method_without_runs_is_refused_by_name(study):
    with pytest.raises(UserError, match="l2_er"):
        leaderboard.standing(study, ["l2er"])


def test_what_else_is_shown_changes_no_evidence(study):
    scores = leaderboard._scores(study, ["bp", "l2", "cbp"])
    few = {name: scores[name] for name in ("bp", "l2")}
    assert leaderboard._against(scores, "l2") == leaderboard._against(few, "l2")


def test_a_run_that_is_there_twice_is_refused(study):
    study.execute("INSERT INTO runs SELECT * REPLACE ('elsewhere' AS folder) FROM runs LIMIT 1")
    with pytest.raises(UserError, match="is there twice, in `elsewhere` and"):
        leaderboard.standing(study)


def test_one_stream_says_nothing_of_others(study):
    study.execute("DELETE FROM runs WHERE stream = 'random_labels'")
    study.execute("DELETE FROM tasks WHERE stream = 'random_labels'")
    assert "One stream" in leaderboard.summary(leaderboard.standing(study))


def test_the_page_is_whole_and_escapes_what_it_is_given(study, tmp_path):
    study.execute("UPDATE runs SET method = '<b>x</b>' WHERE method = 'cbp'")
    study.execute("UPDATE tasks SET method = '<b>x</b>' WHERE method = 'cbp'")
    found = leaderboard.standing(study)
    text = leaderboard.write(study, tmp_path / "page.html", found).read_text(encoding="utf-8")
    assert "<b>x</b>" not in text and "&lt;b&gt;x&lt;/b&gt;" in text
    assert "<svg" in text and "collapse: random_labels" in text and "$" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_from_python_a_standing_leaves_its_page(study, tmp_path, monkeypatch):
    monkeypatch.setattr(api.store, "connect", lambda folder, spectra: study)
    found = api.Results(tmp_path).leaderboard(methods=["bp", "l2_er"])
    assert [row["method"] for row in found.rows] == ["l2_er", "bp"]
    assert (tmp_path / "leaderboard.html").is_file()
