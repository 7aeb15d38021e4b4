import json
import math
import re
import sys
from html.parser import HTMLParser
from types import SimpleNamespace

import duckdb
import pytest

from neoteny import report, studies
from neoteny.report.facts import DASH

NASTY = "<!--<script>alert('x')</script>\"&$title ${data} %{x} </figure>"


def record(insert, method, seed, accuracies, *, status="finished", fresh=None, time=None, **run):
    """One run on stream "s" of study "t", with its accuracy on each task."""
    insert(
        "runs", study="t", stream="s", method=method, seed=seed, status=status,
        microseconds_per_step=time, **run,
    )  # fmt: skip
    for task, accuracy in enumerate(accuracies):
        newborn = None if fresh is None else fresh.get(task)
        insert(
            "tasks", study="t", stream="s", method=method, seed=seed, task=task,
            online_accuracy=accuracy, fresh_online_accuracy=newborn,
        )  # fmt: skip


def written(connection, path, **options):
    options = {"title": "A study", "verdict": None, "reproduce": "neoteny run t"} | options
    return report.write(connection, path / "report.html", **options).read_text(encoding="utf-8")


class Page(HTMLParser):
    """Every element with its attributes, every address, and the text outside scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text, self.raw, self._open = [], [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._open = dict(attrs).get("id", tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._open = None

    def handle_data(self, data):
        if self._open is None:
            self.text.append(data)
        else:
            self.raw.setdefault(self._open, []).append(data)

    def all(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


def test_the_table_of_methods_holds_the_numbers_worked_out_by_hand(tables, insert, monkeypatch):
    seen = {}

    def paired_difference(a, b):
        seen.update(a=a, b=b)
        return SimpleNamespace(mean=0.25, low=0.125, high=0.5)

    monkeypatch.setattr("neoteny.statistics.paired_difference", paired_difference)
    # Twenty tasks, so that the first and last two count.
    record(insert, "bp", 0, [0.9, 0.7] + [0.6] * 16 + [0.4, 0.2], fresh={18: 0.9}, time=100.0)
    record(insert, "bp", 1, [0.8, 0.6] + [0.6] * 16 + [0.5, 0.3], fresh={19: 0.7}, time=300.0)
    record(insert, "cbp", 0, [0.5, 0.7] + [0.6] * 16 + [0.6, 0.8], time=400.0)
    record(insert, "cbp", 1, [0.5, 0.5] + [0.6] * 16 + [0.7, 0.9], time=600.0)
    record(insert, "cbp", 2, [0.1, 0.3], status="diverged")
    bp, cbp = report.methods_table(tables, "s")
    assert (bp["method"], bp["metric"], bp["window"]) == ("bp", "online_accuracy", 2)
    assert bp["first"] == pytest.approx(0.75)
    assert bp["last"] == pytest.approx(0.35)
    assert bp["gap"] == pytest.approx(-(0.5 + 0.4) / 2)
    assert bp["difference"] is bp["low"] is bp["high"] is None
    assert (bp["microseconds"], bp["relative_time"]) == (200.0, 1.0)
    assert cbp["first"] == pytest.approx((0.6 + 0.5 + 0.2) / 3)
    assert cbp["last"] == pytest.approx(0.75)
    assert (cbp["seeds"], cbp["last_seeds"], cbp["pairs"], cbp["tasks"]) == (3, 2, 2, 20)
    assert cbp["statuses"] == {"diverged": 1, "finished": 2}
    assert cbp["gap"] is None
    assert (cbp["difference"], cbp["low"], cbp["high"]) == (0.25, 0.125, 0.5)
    assert cbp["relative_time"] == 2.5
    assert seen == {
        "a": pytest.approx({0: 0.7, 1: 0.8}),
        "b": pytest.approx({0: 0.3, 1: 0.4}),
    }


def test_a_run_that_reached_only_part_of_the_last_tasks_is_not_in_their_mean(tables, insert):
    record(insert, "bp", 0, [0.5] * 20)
    record(insert, "bp", 1, [0.9] * 19, status="running")
    (row,) = report.methods_table(tables, "s")
    assert (row["last"], row["last_seeds"], row["seeds"]) == (0.5, 1, 2)


def test_one_shared_seed_gives_a_difference_and_no_interval(tables, insert):
    record(insert, "bp", 0, [0.5])
    record(insert, "l2", 0, [0.75])
    record(insert, "l2", 1, [0.9])
    row = report.methods_table(tables, "s")[1]
    assert (row["difference"], row["low"], row["high"], row["pairs"]) == (0.25, None, None, 1)


def test_without_the_baseline_there_is_nothing_to_compare_with(tables, insert):
    record(insert, "l2", 0, [0.75, 0.5], time=10.0)
    (row,) = report.methods_table(tables, "s")
    assert (row["difference"], row["pairs"], row["relative_time"]) == (None, 0, None)
    assert (row["first"], row["last"], row["window"]) == (0.75, 0.5, 1)


def test_a_fresh_network_of_the_last_third_is_used_where_there_is_no_later_one(tables, insert):
    record(insert, "bp", 0, [0.5] * 30, fresh={0: 0.5, 20: 0.875})
    assert report.methods_table(tables, "s")[0]["gap"] == -0.375


@pytest.mark.parametrize(
    ("tasks", "fresh", "asked"),
    [(30, {0: 0.5, 19: 0.9}, 30), (30, {20: 0.9}, 40), (30, {}, 30)],
    ids=["fresh too early", "not all tasks done", "no fresh network"],
)
def test_table_and_verdict_alike_know_no_gap_where_none_was_measured(
    tables, insert, tasks, fresh, asked
):
    config = json.dumps({"tasks": asked, "setting": {"metric": "online_accuracy"}})
    record(insert, "bp", 0, [0.5] * tasks, fresh=fresh, config=config)
    tables.execute("ALTER TABLE tasks ADD COLUMN chance_accuracy DOUBLE")
    assert report.methods_table(tables, "s")[0]["gap"] is None
    loses, _ = studies.judge(tables)
    assert "last third not measured" in loses.evidence


def test_table_and_verdict_say_the_same_gap(study):
    study.execute("ALTER TABLE tasks ADD COLUMN chance_accuracy DOUBLE")
    said = {v.stream: v.evidence for v in studies.judge(study) if v.claim == "bp loses plasticity"}
    rows = [row for row in report.methods_summary(study) if row["method"] == "bp"]
    assert len(said) == len(rows) == 2
    for row in rows:
        assert f"last third {100 * row['gap']:+.1f} points" in said[row["stream"]]


@pytest.mark.parametrize(("tasks", "judged"), [(5, False), (6, True)])
def test_steps_are_compared_by_time_only_over_enough_tasks(tables, insert, tasks, judged):
    record(insert, "bp", 0, [0.5] * 20, time=100.0)
    record(insert, "l2", 0, [0.5] * tasks, time=150.0)
    row = report.methods_table(tables, "s")[1]
    assert (row["microseconds"], row["relative_time"]) == (150.0, 1.5 if judged else None)


def test_nan_is_as_good_as_not_measured(tables, insert):
    record(insert, "bp", 0, [0.5, math.nan], time=math.nan)
    (row,) = report.methods_table(tables, "s")
    assert (row["first"], row["last"], row["microseconds"]) == (0.5, None, None)


def test_the_configured_accuracy_is_the_one_that_counts(tables, insert):
    config = json.dumps({"setting": {"metric": "final_accuracy"}})
    record(insert, "bp", 0, [0.25], config=config)
    tables.execute("UPDATE tasks SET final_accuracy = 0.75")
    (row,) = report.methods_table(tables, "s")
    assert (row["metric"], row["last"]) == ("final_accuracy", 0.75)


def test_each_study_of_a_stream_has_rows_of_its_own(tables, insert):
    for study, accuracy in (("first", 0.25), ("second", 0.75)):
        insert(
            "tasks", study=study, stream="s", method="bp", seed=0, task=0,
            online_accuracy=accuracy,
        )  # fmt: skip
    assert [row["last"] for row in report.methods_table(tables, "s")] == [0.25, 0.75]
    (row,) = report.methods_table(tables, "s", study="second")
    assert row["last"] == 0.75


def test_the_summary_has_all_streams_with_the_numbers_of_the_tables(study):
    rows = report.methods_summary(study)
    tables = [
        row
        for stream in ("permuted_digits", "random_labels")
        for row in report.methods_table(study, stream)
    ]
    columns = ["stream", "method", "seeds", "first", "last", "gap", "difference", "low", "high"]
    columns.append("relative_time")
    assert [list(row) for row in rows] == [columns] * 8
    assert rows == [{column: row[column] for column in columns} for row in tables]
    assert [row["method"] for row in rows] == ["bp", "l2_er", "cbp", "l2"] * 2


def test_the_summary_names_the_study_where_there_are_several(tables, insert):
    for name in ("one", "two"):
        insert("runs", study=name, stream="s", method="bp", seed=0)
    assert [row["stream"] for row in report.methods_summary(tables)] == ["one: s", "two: s"]


def test_an_unknown_stream_is_named_beside_the_known_ones(tables, insert):
    record(insert, "bp", 0, [0.5])
    with pytest.raises(ValueError, match=r"`stream` is 'permuted'.*'s'"):
        report.methods_table(tables, "permuted")


def test_whatever_a_name_holds_it_stays_text(tables, insert, tmp_path):
    insert(
        "runs", study=NASTY, stream=NASTY, method=NASTY, seed=0, status=NASTY, reason=NASTY,
        folder=NASTY, config=json.dumps({NASTY: NASTY}), provenance=json.dumps({NASTY: NASTY}),
    )  # fmt: skip
    insert(
        "tasks", study=NASTY, stream=NASTY, method=NASTY, seed=0, task=0, online_accuracy=0.5,
        diverged_step=3,
    )  # fmt: skip
    card = {"claim": NASTY, "outcome": NASTY, "evidence": NASTY, "stream": NASTY}
    text = written(tables, tmp_path, title=NASTY, verdict=[card], reproduce=NASTY)
    for held in re.findall('id="data[^"]*">(.*?)</script>', text):
        assert not re.search("[<>&]", held)
    page = Page(text)
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    documents = ("data", "data-over-all", "data-0")
    held = [{"type": "application/json", "id": name} for name in documents]
    assert scripts == [*held, {}, {}]
    assert not [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    assert "alert" not in "".join(page.raw["script"][-1:])
    views = json.loads("".join(page.raw["data-0"]))["figures"]
    series = next(iter(views.values()))[0]["panels"][0]["series"]
    assert series[0]["key"] == NASTY
    assert "".join(page.text).count(NASTY) >= 10


def test_the_page_asks_nothing_of_anybody(study, tmp_path):
    page = Page(written(study, tmp_path))
    assert not page.all("src")
    assert all(address.startswith("#") for address in page.all("href"))
    assert not re.search(r"url\(|@import", "".join(page.raw["style"]))
    policy = next(a["content"] for _, a in page.elements if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline" not in policy.split("style-src")[0] and "unsafe-eval" not in policy


def test_every_link_of_the_contents_leads_somewhere_and_no_address_is_taken_twice(
    study, insert, tmp_path
):
    for stream in ("a b", "a-b", "data", "a"):
        insert("tasks", study="x", stream=stream, method="bp", seed=0, task=0, online_accuracy=0.5)
    page = Page(written(study, tmp_path))
    places = page.all("id")
    assert len(places) == len(set(places))
    assert {address[1:] for address in page.all("href")} <= set(places)
    drawn = {"compare"}
    for name, held in page.raw.items():
        drawn |= json.loads("".join(held))["figures"].keys() if "data-" in name else set()
    assert set(page.all("data-figure")) <= drawn


def test_verdict_configuration_versions_and_commands_are_on_the_page(study, tmp_path):
    card = {"claim": "bp fades", "outcome": "holds", "evidence": "0.2 [0.1, 0.3]", "stream": "s"}
    page = Page(written(study, tmp_path, verdict=[card], reproduce="neoteny run t --seeds 3"))
    text = "".join(page.text)
    for said in ("bp fades", "holds", "0.2 [0.1, 0.3]", "neoteny run t --seeds 3", "device.kind"):
        assert said in text
    assert text.count('"weight_decay": 0.0001') == 4, "l2 and l2_er, on two streams"
    assert "seeds 0, 1, 2" in text


def test_a_diverged_run_is_listed_with_its_task_step_and_reason(study, tmp_path):
    text = written(study, tmp_path)
    listed = re.search(r"<table class='stopped'>.*?<tbody>(.*?)</tbody>", text)[1]
    cells = re.findall(r"<td>(.*?)</td>", listed)
    assert cells == ["l2", "2", "diverged", "19", "137", "the loss became NaN"]


def test_a_pruned_run_is_listed_with_its_reason(tables, insert, tmp_path):
    insert(
        "runs", study="t", stream="s", method="bp", seed=4, status="pruned", config="{}",
        reason="worse than the median",
    )  # fmt: skip
    listed = re.search(r"<table class='stopped'>.*?<tbody>(.*?)</tbody>", written(tables, tmp_path))
    assert listed, "no table of runs that did not finish"
    cells = re.findall(r"<td>(.*?)</td>", listed[1])
    assert cells == ["bp", "4", "pruned", DASH, DASH, "worse than the median"]


def test_tables_without_any_run_make_a_page_that_says_so(tables, tmp_path):
    assert "There are no runs yet." in written(tables, tmp_path)
    assert "There are no runs yet." in written(duckdb.connect(), tmp_path / "new")


def test_a_running_run_without_tasks_or_configuration_makes_a_sensible_page(
    tables, insert, tmp_path
):
    insert("runs", study="t", stream="s", method="bp", seed=0, status="running", config="not {")
    text = "".join(Page(written(tables, tmp_path)).text)
    assert "1 running" in text
    assert "No accuracy was recorded." in text


def test_a_claim_that_lacks_its_parts_is_still_shown(tables, tmp_path):
    text = "".join(Page(written(tables, tmp_path, verdict=[{"claim": "c"}])).text)
    assert "undecided" in text
    assert "No claim was judged." in written(tables, tmp_path, verdict=[])


def test_the_same_tables_make_the_same_bytes(study, tmp_path):
    assert written(study, tmp_path / "a") == written(study, tmp_path / "b")


def test_the_data_are_plain_json_without_nan(study, tmp_path):
    raw = Page(written(study, tmp_path)).raw
    held = "".join("".join(text) for name, text in raw.items() if name.startswith("data"))
    assert len(held) > 1000 and not re.search(r"[<>&]", held)
    refuse = lambda name: pytest.fail(f"{name} is no JSON")
    for name in ("data", "data-0", "data-1"):
        json.loads("".join(raw[name]), parse_constant=refuse)


def test_the_report_does_not_need_matplotlib(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert written(study, tmp_path)
