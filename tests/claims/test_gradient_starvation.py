"""Gradient starvation: the theory against other routes, and a judge that can say no."""

import numpy as np
import pytest

from neoteny.claims import CLAIMS, Rows
from neoteny.claims import gradient_starvation as claim

CLAIM = CLAIMS["gradient-starvation"]
TINY = {"hidden": 4, "before": 2, "plain": 2, "after": 4, "full": 2, "look": 2}


def of_seed(rows, seed=0):
    return Rows(row | {"seed": seed} for row in rows)


@pytest.fixture(scope="module")
def linear():
    return claim.linear(0, strengths=(2.0, 4.0, 6.0), penalties=(0.01,), steps=50)


def test_at_rest_no_other_point_has_a_smaller_loss(linear):
    """By the losses as they are written, at random points about the one that was found."""
    random = np.random.RandomState(0)
    for row in linear:
        if row["when"] != "rest" or row["coupling"] != 0.5:
            continue
        s, size = row["coupling"], row["size"]
        turn = np.array([[np.sqrt(1 - s**2), -s], [s, np.sqrt(1 - s**2)]])
        phi = turn @ np.diag([row["strength"], 2.0])
        best = np.linalg.solve(phi, turn @ [row["z1"], row["z2"]])

        def loss(theta, phi=phi, size=size, decay=row["loss"] == "decay"):
            u = phi @ theta
            return np.log1p(np.exp(-u)).sum() + size / 2 * np.sum((theta if decay else u) ** 2)

        others = best[None] + 0.01 * random.randn(50, 2)
        assert all(loss(best) < loss(other) for other in others)


def test_the_decoupled_response_is_the_root_by_the_sums_of_the_coupling(linear):
    rows = Rows(linear).where(when="rest", loss="decoupling", coupling=0.5)
    sums = np.sqrt(0.75) + 0.5, np.sqrt(0.75) - 0.5  # of the columns of U
    root = rows["z1"] / sums[0]
    np.testing.assert_allclose(rows["z2"] / sums[1], root, rtol=1e-10)
    np.testing.assert_allclose(1 / (1 + np.exp(root)), 0.01 * root, rtol=1e-10)


def test_a_boundary_is_found_where_a_known_function_is_zero():
    assert np.isclose(claim._crossing(claim._ACROSS - 0.123), 0.123)
    assert np.isclose(claim._crossing((claim._ACROSS - 0.5) * (claim._ACROSS + 1.5)), 0.5)
    assert claim._crossing(claim._ACROSS + 3) == -2.0


def test_the_moons_measure_the_same_again_and_know_their_boundary():
    first, again = (claim.two_moons(1, steps=20, settings=("gap",)) for _ in range(2))
    assert first == again
    (end,), places = [r for r in first if r["kind"] == "end"], Rows(first).where(kind="boundary")
    assert np.isclose(end["spread"], places["across"].std())
    assert 0 <= end["share"] <= 1 and 0.5 <= end["accuracy"] <= 1
    assert 0 < end["residual_probability"] < 1 <= end["response_participation"]


def test_the_ways_go_on_from_one_point_and_the_scaled_loss_moves_far_less():
    rows = of_seed(claim.coloured_digits(0, **TINY))
    assert rows.values("how") == ["before", "plain", "published", "full"]
    assert rows.where(how="published")["step"].tolist() == [4, 6]
    size = lambda how: rows.where(how=how)["logit"][0]
    start = rows.where(how="before")["logit"][-1]
    assert abs(size("published") - start) < abs(size("plain") - start)
    assert rows.values("step") == [2, 4, 6]
    for column in ("train", "shifted"):
        assert ((rows[column] >= 0) & (rows[column] <= 1)).all()


MADE_UP = {
    "linear": of_seed(claim.linear(0, steps=5_000)),
    "two-moons": Rows(
        {"seed": seed, "setting": setting, "kind": "end", "accuracy": 1.0, "spread": spread,
         "share": share, "residual_probability": 0.01}
        for seed in range(3)
        for setting, spread, share in (("gap", 0.02, 0.01), ("decoupled", 0.2, 0.5))
    ),
    "coloured-digits": Rows(
        {"seed": seed, "how": how, "step": 100, "shifted": shifted, "train": train}
        for seed in range(3)
        for how, shifted, train in (
            ("plain", 0.24, 0.91), ("published", 0.68, 0.7), ("full", 0.66, 0.71),
        )
    ),
    "coloured-mnist": Rows([]),
}  # fmt: skip


def outcomes(rows):
    return [finding.outcome for finding in CLAIM.judge(rows)]


def test_the_judge_is_content_with_rows_as_published_and_leaves_out_what_was_not_measured():
    assert set(outcomes(MADE_UP)) == {"holds"}
    assert len(outcomes(MADE_UP)) == 12
    with_mnist = MADE_UP | {"coloured-mnist": MADE_UP["coloured-digits"]}
    assert len(outcomes(with_mnist)) == 16


@pytest.mark.parametrize(
    ("part", "where", "column", "value"),
    [
        ("linear", {"loss": "decay", "strength": 6.0, "coupling": 0.5}, "z2", 1.6),
        ("linear", {"loss": "decay", "strength": 4.0, "coupling": 0.5}, "z2", 2.0),
        ("linear", {"loss": "decay", "strength": 6.0, "coupling": 0.0}, "z2", 3.0),
        ("linear", {"loss": "decoupling", "strength": 6.0, "coupling": 0.2}, "z2", 3.0),
        ("linear", {"when": "rest"}, "solved", 1e-3),
        ("two-moons", {"setting": "decoupled"}, "spread", 0.03),
        ("two-moons", {"setting": "decoupled"}, "share", 0.1),
        ("two-moons", {"setting": "gap"}, "share", 0.1),
        ("coloured-digits", {"how": "published"}, "shifted", 0.3),
        ("coloured-digits", {"how": "published"}, "train", 0.9),
        ("coloured-digits", {"how": "plain"}, "shifted", 0.5),
        ("coloured-digits", {"how": "full"}, "shifted", 0.2),
    ],
)
def test_the_judge_says_no_to_rows_that_do_not_show_it(part, where, column, value):
    doctored = Rows(
        row | {column: value} if all(row[k] == v for k, v in where.items()) else row
        for row in MADE_UP[part]
    )
    assert "fails" in outcomes(MADE_UP | {part: doctored})


def test_figures_draw_what_there_is():
    edge = [{"seed": 0, "setting": "gap", "kind": "boundary", "along": 0.0, "across": 0.1}]
    before = [{"seed": 0, "how": "before", "step": 50, "shifted": 0.1, "train": 0.8}]
    rows = MADE_UP | {
        "two-moons": Rows([*MADE_UP["two-moons"], *edge]),
        "coloured-digits": Rows([*before, *MADE_UP["coloured-digits"]]),
    }
    assert [figure.name for figure in CLAIM.figures(rows) if figure.views] == [
        "linear", "boundary", "colours",
    ]  # fmt: skip
