"""Claims as programs: measured once, resumed, judged by tolerances, shown; refused in words."""

import json

import numpy as np
import pytest

import neoteny
import tiny
from neoteny import claims, store
from neoteny.api import Results
from neoteny.claims import Claim, Part, Rows, Size, base, running, verdicts, within
from neoteny.errors import UserError

LIGHT = ("dwell-time", "critical-rate")


@pytest.fixture
def light():
    """A claim of which only the parts are measured that take a moment."""
    claim = claims.load("ghost-mechanism")
    return claim._replace(parts=tuple(part for part in claim.parts if part.name in LIGHT))


@pytest.fixture
def own(monkeypatch):
    """A claim of this test's own, whose measurements it can count and spoil."""
    calls = []

    def measure(seed, *, size=3, fails=()):
        calls.append(seed)
        if seed in fails:
            raise ValueError("no luck")
        return [{"x": float(x), "y": float(seed + x), "word": "w"} for x in range(size)]

    parts = (Part("one", measure, Size(2), Size(3, {"size": 4})), Part("two", measure))

    def judge(rows):
        return [
            within(
                "one", "y is at most 3", "mean y", rows["one"].by_seed("y"), high=3.0, every=True
            )
        ]

    claim = Claim("own", "Own", "It is so", "Somebody (2000), X", parts, judge, lambda rows: [])
    loaded = lambda _, name: claim if name == "own" else None
    monkeypatch.setattr(claims, "NAMES", {"own": "own"})
    monkeypatch.setattr(claims.CLAIMS.__class__, "__getitem__", loaded)
    return claim, calls


@pytest.mark.parametrize("name", claims.NAMES)
def test_a_claim_is_measured_judged_and_shown(measured, tmp_path, name):
    folder = measured(name)
    findings = Results(folder).findings()[name]
    assert findings and all(finding.value.count for finding in findings)
    assert {finding.outcome for finding in findings} <= {"holds", "fails", "undecided"}
    assert {finding.part for finding in findings} <= {part.name for part in claims.load(name).parts}
    page = Results(folder).report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert claims.load(name).title in page and "data:image/png;base64," in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert Results(folder).figures()
    assert [verdict.stream for verdict in Results(folder).verdict()] == [f.part for f in findings]


@pytest.mark.parametrize("name", claims.NAMES)
def test_a_claim_names_its_paper_and_says_what_is_published(name):
    claim = claims.load(name)
    assert claim.name == name and claim.sentence.endswith(".") and "(" in claim.source
    for part in claim.parts:
        for scale in claims.SCALES:
            assert json.loads(json.dumps(dict(part.size(scale).options))) is not None


def test_what_is_measured_stays_and_what_is_missing_is_measured(own, tmp_path):
    claim, calls = own
    claims.run(claim, tmp_path, scale="smoke")
    assert calls == [0, 1, 0]
    claims.run(claim, tmp_path, scale="smoke", seeds=3)  # of parts that have seeds at all
    assert calls == [0, 1, 0, 2]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    claims.run(claim, tmp_path, scale="desk")
    assert calls[4:] == [0, 1, 2, 0]
    assert all(path.read_bytes() == content for path, content in before.items())
    with store.asking():
        scale, rows = claims.found(store.connect(tmp_path), claim)
    assert scale == "desk" and len(rows["one"]) == 12
    np.testing.assert_array_equal(rows["one"].where(seed=1)["y"], [1, 2, 3, 4])
    assert rows["one"]["word"].tolist() == ["w"] * 12


def test_other_options_at_the_same_place_are_refused(own, tmp_path):
    claim, _ = own
    claims.run(claim, tmp_path, scale="smoke")
    part = claim.parts[0]._replace(smoke=Size(2, {"size": 5}))
    with pytest.raises(UserError, match="another configuration"):
        claims.run(claim._replace(parts=(part,)), tmp_path, scale="smoke")


def test_a_piece_that_fails_says_why_and_stops_no_other(own, tmp_path, monkeypatch):
    claim, calls = own
    broken = claim.parts[0]._replace(smoke=Size(2, {"fails": [0]}))
    claim = claim._replace(parts=(broken, claim.parts[1]))
    monkeypatch.setattr(claims.CLAIMS.__class__, "__getitem__", lambda *_: claim)
    first, second, third = claims.run(claim, tmp_path, scale="smoke")
    assert (first.status, second.status, third.status) == ("failed", "finished", "finished")
    assert "ValueError: no luck" in first.reason
    assert calls == [0, 1, 0]


def test_processes_measure_the_same_bits(light, tmp_path):
    together = claims.run(light, tmp_path / "many", scale="smoke", jobs=2)
    assert [outcome.status for outcome in together] == ["finished"] * 4
    claims.run(light, tmp_path / "one", scale="smoke", seeds=1)
    for part in LIGHT:
        place = f"{part}/smoke/seed-0/tasks.parquet"
        read = lambda folder, place=place: store.query(folder / place.rpartition("/")[0], ROWS).rows
        assert read(tmp_path / "many") == read(tmp_path / "one")


ROWS = "SELECT * FROM tasks ORDER BY task"


@pytest.mark.parametrize(
    ("values", "low", "high", "options", "outcome"),
    [
        (1.0, 0, 2, {}, "holds"),
        (3.0, 0, 2, {}, "fails"),
        ([1.0], 0, 2, {}, "undecided"),
        ([0.0, 0.0, 0.0], 0, 2, {}, "undecided"),
        ([1.0, 1.0, 1.0], 0, 2, {}, "holds"),
        (-1e-12, 0, 2, {}, "holds"),
        ([1.0], 0, 2, {"every": True}, "holds"),
        ([1.0, 1.01, 0.99], 0, 2, {}, "holds"),
        ([3.0, 3.01, 2.99], 0, 2, {}, "fails"),
        ([1.0, 2.0, 3.0], 0, 2, {}, "undecided"),
        ([1.0, 1.5, 2.1], 0, 2, {"every": True}, "fails"),
        ([np.nan], 0, 2, {}, "undecided"),
        ([], 0, 2, {}, "undecided"),
    ],
)
def test_a_finding_goes_by_the_whole_interval(values, low, high, options, outcome):
    bounds = {"low": float(low), "high": float(high)}
    finding = within("part", "claim", "statistic", values, **bounds, **options)
    assert finding.outcome == outcome
    assert "from 0 to 2" in finding.tolerance


def test_a_claim_holds_where_all_it_says_does():
    holds = within("p", "c", "s", 1.0, low=0.0)
    fails, open_ = holds._replace(outcome="fails"), holds._replace(outcome="undecided")
    assert verdicts.overall([holds, holds]) == "holds"
    assert verdicts.overall([holds, open_]) == "undecided"
    assert verdicts.overall([holds, open_, fails]) == "fails"
    assert verdicts.overall([]) == "undecided"


def test_rows_are_asked_by_what_they_have():
    rows = Rows([{"seed": s, "x": x, "y": x * s if x else None} for s in (1, 2) for x in (0.1, 0)])
    assert len(rows.where(x=0.1)) == 2 and len(rows.where(x=0.1 * 3 / 3)) == 2
    np.testing.assert_allclose(rows.where(x=0.1).by_seed("y"), [0.1, 0.2])
    assert np.isnan(rows["y"][1]) and rows.values("x") == [0.1, 0]
    assert claims.slope(np.array([0, 1, 2]), np.array([1, 3, 5])) == pytest.approx(2)
    assert np.isnan(claims.slope(np.array([1]), np.array([1])))


def test_the_command_measures_prints_and_writes_the_page(call, tmp_path, own):
    answer = call("run", "own", "--scale", "smoke", "--jobs", 1, "--out", "out")
    assert answer.code == 0 and "y is at most 3" in answer.out and "Report: out" in answer.out
    assert (tmp_path / "out" / "report.html").exists()
    everything = call("run", "all-claims", "--jobs", 1, "--out", "all", "--format", "json")
    (row,) = json.loads(everything.out)
    assert (row["claim"], row["verdict"], row["paper"]) == ("own", "holds", "Somebody (2000)")
    judged = call("judge", "out", "--format", "csv")
    assert "own" not in judged.out and "y is at most 3" in judged.out
    assert "one" in call("status", "out").out
    assert call("list", "claims", "--format", "csv").out.splitlines()[1].startswith("own,Own")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--methods", "bp"), "takes no `methods`"),
        (("--grid", "lr=1,2"), "takes no `grid`"),
        (("--set", "tasks=3"), "takes no `set`"),
        (("--scale", "huge"), "huge"),
        (("--seeds", "0"), "seeds"),
        (("--jobs", "0"), "--jobs"),
    ],
)
def test_what_a_claim_does_not_take_is_refused(call, own, words, said):
    answer = call("run", "own", *words)
    assert answer.code == 2 and said in answer.err and answer.out == ""


def test_runs_of_a_study_beside_a_claim_are_reported_without_it(own, tmp_path):
    claim, _ = own
    claims.run(claim, tmp_path / "claim", scale="smoke")
    plain = {"probes__spectrum_every": 0, "probes__names": []}
    neoteny.run(tiny.study(**plain), out=tmp_path / "study")
    results = Results(tmp_path)
    page = results.report().read_text(encoding="utf-8")
    assert "y is at most 3" in page and 'id="stream-labels"' in page
    assert 'id="stream-one"' not in page
    assert {row["stream"] for row in results.table()} == {"labels"}


def test_sizes_fall_back_to_the_desk():
    part = Part("p", lambda seed: [], Size(1), Size(5))
    assert part.size("paper").seeds == 5 and base.SCALES == ("smoke", "desk", "paper")


def test_pieces_are_named_as_runs_are(own):
    claim, _ = own
    names = [(piece.study, piece.stream, piece.method, piece.seed)
             for piece in running.pieces(claim, "smoke")]  # fmt: skip
    assert names == [("own", "one", "smoke", 0), ("own", "one", "smoke", 1),
                     ("own", "two", "smoke", 0)]  # fmt: skip


def test_what_is_for_networks_says_that_a_claim_has_none(own, tmp_path, call):
    claim, _ = own
    claims.run(claim, tmp_path / "runs", scale="smoke")
    for words, said in (
        (("leaderboard", "runs"), "no methods compete"),
        (("export", "runs", "--table", "methods", "--out", "x.csv"), "no methods compete"),
        (("probe", "runs/one/smoke/seed-0"), "no network to diagnose"),
        (("tune", "own"), "is a claim of the literature"),
        (("run", "owm"), "no study `owm`"),
    ):
        answer = call(*words)
        assert answer.code == 2 and said in answer.err


def test_claims_whose_columns_are_words_here_and_numbers_there_are_judged_together(own, tmp_path):
    claim, _ = own
    claims.run(claim, tmp_path / "own", scale="smoke")
    alone = [finding.value for finding in Results(tmp_path).findings()["own"]]
    words = {"study": "other", "stream": "s", "method": "m", "seed": 0, "tasks": 1}
    with store.Run.open(tmp_path / "other", words) as run:
        run.append({"y": "a word", "x": "another"})
        run.commit({}, seconds=0.0, microseconds_per_step=None)
        run.finish("finished")
    assert [finding.value for finding in Results(tmp_path).findings()["own"]] == alone


def test_a_part_that_is_still_to_be_measured_is_said_and_nothing_else(own, tmp_path):
    claim, _ = own
    claims.run(claim._replace(parts=claim.parts[1:]), tmp_path, scale="smoke")
    (finding,) = Results(tmp_path).findings()["own"]
    assert (finding.part, finding.outcome) == ("one", "undecided")
    assert "neoteny run own --scale smoke" in finding.said()
    assert "this part is measured" in Results(tmp_path).report().read_text(encoding="utf-8")


def test_a_piece_killed_between_its_rows_and_its_end_is_stored_once(own, tmp_path, monkeypatch):
    claim, _ = own
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store.Run, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        claims.run(claim, tmp_path, scale="smoke")
    claims.run(claim, tmp_path, scale="smoke")
    with store.asking():
        _, rows = claims.found(store.connect(tmp_path), claim)
    assert rows["one"].where(seed=0)["x"].tolist() == [0, 1, 2]


def test_the_scale_that_was_asked_for_is_printed(own, call):
    call("run", "own", "--jobs", 1, "--out", "out")
    answer = call("run", "own", "--scale", "smoke", "--jobs", 1, "--out", "out")
    assert "Own, smoke" in answer.out


def test_a_place_that_cannot_be_written_is_refused_before_anything_is_measured(own, call, tmp_path):
    _, calls = own
    (tmp_path / "file").write_text("")
    answer = call("run", "own", "--scale", "smoke", "--out", "file/x")
    assert answer.code == 2 and "--out" in answer.err and calls == []
