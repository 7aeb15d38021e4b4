"""Does what the main paper reports come out here? Its table of accuracies beside these runs.

Accuracies are not compared as numbers: data, sizes and lengths differ. Compared are differences
between methods late in the stream, seed by seed, with their intervals.
"""

from typing import NamedTuple

import numpy as np

from neoteny.statistics import Interval, bootstrap_mean, paired_difference
from neoteny.studies.plasticity import Outcome, Verdict, points

SAME = 0.02
"""Two methods of the paper that end within two points of each other are read as equal."""


class Published(NamedTuple):
    """What the paper reports of one benchmark: accuracy on the first and last of `tasks` tasks.

    `rule` and `dataset` are what it was measured on, by the names that they have here.
    """

    metric: str
    tasks: int
    ends: dict[str, tuple[float, float]]
    rule: str
    dataset: str


class Ends(NamedTuple):
    """Mean accuracy of one method on the first and on the last tenth of the tasks, by seed."""

    first: dict[int, float]
    last: dict[int, float]


def judge(connection, study: str, published: Published) -> list[Verdict]:
    """What of the published comparison the runs of `study` bear out; see `plasticity.judge`.

    Per stream: (1) each method ends above plain backprop, or level with it, as published; (2)
    `l2_er` ends above all others, those that the paper's table leaves out among them. Runs that
    have not come through all tasks leave open what they are needed for. Where runs learnt another
    stream or data set than the published ones, the evidence says so.
    """
    streams = connection.execute(
        "SELECT DISTINCT stream FROM tasks WHERE study = ? ORDER BY stream", [study]
    ).fetchall()
    verdicts = []
    for (stream,) in streams:
        found = _ends(connection, study, stream, published.metric)
        own = [
            _beside_bp(stream, method, found, published)
            for method in found
            if _original(method) in published.ends and method != "bp" and "bp" in found
        ]
        if "l2_er" in found and len(found) > 1:
            own.append(_best(stream, found, published))
        other = _another_problem(connection, study, stream, published)
        verdicts += [verdict._replace(evidence=verdict.evidence + other) for verdict in own]
    return verdicts


def _another_problem(connection, study: str, stream: str, published: Published) -> str:
    """What to say where these runs learnt something else than the published ones."""
    rows = connection.execute(
        "SELECT DISTINCT config ->> '$.setting.stream.rule', "
        "config ->> '$.setting.stream.dataset' FROM runs "
        "WHERE study = ? AND stream = ? ORDER BY ALL",
        [study, stream],
    ).fetchall()
    theirs = published.rule, published.dataset
    if not (others := [row for row in rows if row != theirs]):
        return ""
    rule, dataset = others[0]
    return (
        f"; but these runs learnt {rule or 'an unknown stream'} of {dataset or 'unknown data'}, "
        f"and the published ones {' of '.join(theirs)}: another problem"
    )


def _beside_bp(stream: str, method: str, found: dict[str, Ends], published: Published) -> Verdict:
    theirs, bp = published.ends[_original(method)], published.ends["bp"]
    lead = theirs[1] - bp[1]
    here = _difference(found[method], found["bp"])
    word = "level with" if abs(lead) < SAME else "above" if lead > 0 else "below"
    evidence = (
        f"published {_path(*theirs)} against {_path(*bp)} over {published.tasks} tasks "
        f"({100 * lead:+.1f} points); here {_path(*_means(found[method]))} against "
        f"{_path(*_means(found['bp']))}: {points(here)}, {_seeds(here)}"
    )
    return Verdict(stream, f"as published, {method} ends {word} bp", _as(lead, here), evidence)


def _as(lead: float, here: Interval) -> Outcome:
    """Whether a difference lies where `lead` says: level is within `SAME` of zero, all of it."""
    if not np.isfinite(here.low):
        return "undecided"
    if abs(lead) >= SAME:
        sign = 1 if lead > 0 else -1
        ends = sorted((sign * here.low, sign * here.high))
        return "holds" if ends[0] > 0 else "fails" if ends[1] < 0 else "undecided"
    level = max(-here.low, here.high) < SAME
    apart = here.low > SAME or here.high < -SAME
    return "holds" if level else "fails" if apart else "undecided"


def _best(stream: str, found: dict[str, Ends], published: Published) -> Verdict:
    """`l2_er` against every other method, and the order in which all of them end."""
    rivals = {
        method: _difference(found["l2_er"], ends)
        for method, ends in found.items()
        if method not in ("l2_er", "reset")
    }
    low = {method: interval.low for method, interval in rivals.items()}
    if any(interval.high < 0 for interval in rivals.values()):
        outcome: Outcome = "fails"
    else:
        outcome = "holds" if rivals and min(low.values()) > 0 else "undecided"
    against = "; ".join(
        f"{method} {points(interval)}"
        for method, interval in sorted(rivals.items(), key=lambda item: item[1].mean)[:3]
    )
    order = sorted(found, key=lambda method: -np.nan_to_num(_means(found[method])[1], nan=-1))
    theirs = sorted(published.ends, key=lambda method: -published.ends[method][1])
    return Verdict(
        stream,
        "l2_er ends above every other method",
        outcome,
        f"its lead over the nearest: {against}; order here {' > '.join(order)}, published "
        f"{' > '.join(theirs)}",
    )


def _ends(connection, study: str, stream: str, metric: str) -> dict[str, Ends]:
    """Of the runs that came through all their tasks, methods in the order of their names."""
    rows = connection.execute(
        f"""SELECT t.method, t.seed, any_value((r.config ->> '$.tasks')::INTEGER),
            list(t.{metric} ORDER BY t.task)
        FROM tasks t JOIN runs r USING (study, stream, method, seed)
        WHERE t.study = ? AND t.stream = ? GROUP BY ALL ORDER BY t.method, t.seed""",
        [study, stream],
    ).fetchall()
    found: dict[str, Ends] = {}
    for method, seed, tasks, values in rows:
        ends, window = found.setdefault(method, Ends({}, {})), max(1, tasks // 10)
        values = np.array(values, float)
        if len(values) == tasks and np.isfinite(values).all():
            ends.first[seed] = float(values[:window].mean())
            ends.last[seed] = float(values[-window:].mean())
    return found


def _original(method: str) -> str:
    """The paper's `cbp` is its code's, and the method of that name is what both stand for."""
    return method.removeprefix("published_")


def _difference(one: Ends, other: Ends) -> Interval:
    if not one.last.keys() & other.last.keys():
        return Interval(np.nan, np.nan, np.nan, 0, "no run of both came through all tasks")
    return paired_difference(one.last, other.last)


def _means(ends: Ends) -> tuple[float, float]:
    mean = lambda values: bootstrap_mean([*values.values()]).mean if values else np.nan
    return mean(ends.first), mean(ends.last)


def _path(first: float, last: float) -> str:
    if not np.isfinite(last):
        return "no run to the end"
    return f"{first:.3f} to {last:.3f}"


def _seeds(interval: Interval) -> str:
    return f"{interval.count} seed{'' if interval.count == 1 else 's'}"
