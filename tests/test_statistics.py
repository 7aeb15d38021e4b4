"""Intervals that hold what they promise, and ranks compared with other routes."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from neoteny.statistics import (
    Interval,
    _drawn_means,
    _student_quantile,
    bootstrap_mean,
    interquartile_mean,
    paired_difference,
    spearman,
)

ROUNDING = 1e-12
numbers = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=12)
check = settings(max_examples=40, deadline=None, derandomize=True)


# ------------------------------------------------------------------ the interval


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_the_plain_interval_of_few_values_is_that_of_all_resamples(count):
    values = np.random.default_rng(count).normal(size=count)
    means = sorted(np.mean(chosen) for chosen in itertools.product(values, repeat=count))
    outside = int(0.1 * len(means))  # of 10 % a side, none of these counts is a multiple
    found = bootstrap_mean(values, confidence=0.8, stretch=False)
    expected = [values.mean(), means[outside], means[-1 - outside]]
    np.testing.assert_allclose(found[:3], expected, rtol=0, atol=ROUNDING)
    assert found.count == count and found.method == "exact percentile bootstrap"


def test_three_values_have_their_own_range_as_the_plain_95_percent_interval():
    """All three resampled values are the lowest 1 time in 27, more than 2.5 % of the time."""
    assert bootstrap_mean([1.0, 5.0, 3.0], stretch=False)[:3] == (3.0, 1.0, 5.0)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_stretching_moves_both_ends_away_from_the_mean_by_the_factor_it_states(count):
    values = np.random.default_rng(count).exponential(size=count)
    plain, stretched = bootstrap_mean(values, stretch=False), bootstrap_mean(values)
    factor = math.sqrt(count / (count - 1)) * stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975)
    for end in ("low", "high"):
        ratio = (getattr(stretched, end) - plain.mean) / (getattr(plain, end) - plain.mean)
        assert ratio == pytest.approx(factor, rel=1e-9)
    assert "stretched" in stretched.method


@pytest.mark.parametrize(
    "count, plain, stretched", [(3, (0.69, 0.81), (0.92, 0.98)), (5, (0.78, 0.90), (0.92, 0.98))]
)
def test_stretched_intervals_hold_a_normal_mean_as_often_as_they_say(count, plain, stretched):
    """Of 800 simulations a share of 0.95 is known to 0.008: the bands are 4 errors to a side."""
    samples = np.random.default_rng(7).normal(size=(800, count))
    for stretch, (least, most) in ((False, plain), (True, stretched)):
        intervals = [bootstrap_mean(sample, stretch=stretch) for sample in samples]
        share = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
        assert least < share < most


def test_many_normal_values_have_the_interval_of_the_central_limit():
    values = np.random.default_rng(0).normal(size=400)
    found = bootstrap_mean(values)
    half = 1.96 * values.std(ddof=1) / 20
    # The ends are quantiles of 10,000 draws: known to 2.7 % of the half-width (one error).
    np.testing.assert_allclose(
        found[1:3], values.mean() + half * np.array([-1, 1]), atol=0.1 * half
    )
    assert found.method.startswith("resampled")


@given(values=numbers, scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
@check
def test_intervals_move_with_their_values(values, scale, shift):
    before = np.array(bootstrap_mean(values, resamples=200)[:3])
    after = bootstrap_mean(scale * np.array(values) + shift, resamples=200)[:3]
    np.testing.assert_allclose(after, scale * before + shift, rtol=0, atol=1e-9 * (1 + scale * 50))
    mirrored = bootstrap_mean(-np.array(values), resamples=200)[:3]
    np.testing.assert_allclose(mirrored, -before[[0, 2, 1]], rtol=0, atol=1e-9 * 50)


@given(values=numbers)
@check
def test_intervals_hold_their_mean_and_grow_with_confidence(values):
    narrow, wide = (
        bootstrap_mean(values, confidence=confidence, resamples=500) for confidence in (0.5, 0.9)
    )
    assert wide.low <= narrow.low <= narrow.mean <= narrow.high <= wide.high


def test_the_same_call_gives_the_same_numbers_and_another_seed_others():
    values = np.random.default_rng(0).normal(size=9)
    assert bootstrap_mean(values) == bootstrap_mean(values) != bootstrap_mean(values, seed=1)
    assert bootstrap_mean(values[:5]) == bootstrap_mean(values[:5], seed=1)  # nothing is drawn


def test_drawing_in_parts_gives_as_many_resamples_as_asked_for():
    values = np.arange(300_000.0)  # three resamples at a time
    assert len(_drawn_means(values, resamples=7, seed=0)) == 7


def test_one_value_has_no_interval():
    found = bootstrap_mean([2.0])
    assert found.mean == 2.0 and math.isnan(found.low) and math.isnan(found.high)
    assert found.count == 1 and "no interval" in found.method


def test_equal_values_have_an_interval_of_no_width():
    assert bootstrap_mean([0.5] * 3)[:3] == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("degrees", [*range(1, 12), 40, 101])
@pytest.mark.parametrize("confidence", [0.5, 0.8, 0.95, 0.99])
def test_quantiles_of_student_are_those_of_scipy(degrees, confidence):
    exact = stats.t.ppf((1 + confidence) / 2, degrees)
    assert _student_quantile(degrees, confidence) == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize(
    "values, options, words",
    [
        ([], {}, "`values` has shape"),
        ([[1.0]], {}, "`values` has shape"),
        ([1.0, float("nan")], {}, r"`values\[1\]` is nan"),
        ([1.0], {"confidence": 95.0}, "`confidence` is 95.0"),
        ([1.0], {"resamples": 0}, "`resamples` is 0"),
    ],
)
def test_what_has_no_interval_is_refused(values, options, words):
    with pytest.raises(ValueError, match=words):
        bootstrap_mean(values, **options)


# ------------------------------------------------------------------ pairs


def test_a_paired_difference_is_over_common_seeds_only():
    a, b = {0: 0.9, 1: 0.8, 2: 0.7, 7: 0.0}, {2: 0.5, 1: 0.7, 0: 0.6, 9: 1.0}
    assert paired_difference(a, b) == bootstrap_mean([0.9 - 0.6, 0.8 - 0.7, 0.7 - 0.5])


def test_pairing_removes_what_the_seeds_share():
    luck = np.random.default_rng(0).normal(size=6)
    a = dict(enumerate(luck + 0.1))
    b = dict(enumerate(luck))
    found = paired_difference(a, b)
    np.testing.assert_allclose(found[:3], 0.1, rtol=0, atol=ROUNDING)


def test_the_order_of_the_dictionaries_decides_nothing():
    values = np.random.default_rng(0).normal(size=12)
    a = dict(enumerate(values))
    backwards = dict(reversed(a.items()))
    zero = dict.fromkeys(a, 0.0)
    assert paired_difference(a, zero) == paired_difference(backwards, zero, seed=0)


def test_one_common_seed_has_a_difference_without_interval():
    found = paired_difference({0: 1.0, 1: 0.0}, {0: 0.25})
    assert isinstance(found, Interval) and found.mean == 0.75 and math.isnan(found.low)


def test_seeds_without_pairs_are_refused():
    with pytest.raises(ValueError, match=r"`a` has seeds \[0\] and `b` has \[1\]"):
        paired_difference({0: 1.0}, {1: 1.0})


# ------------------------------------------------------------------ ranks, middle half


@given(pairs=st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 3)), min_size=2, max_size=30))
@check
def test_rank_correlation_is_that_of_scipy_ties_included(pairs):
    x, y = np.array(pairs, float).T
    found = spearman(x, y)
    if len(set(x)) == 1 or len(set(y)) == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_rank_correlation_sees_order_alone():
    x = np.array([0.1, 0.5, 0.7, 2.0])
    assert spearman(x, np.exp(x)) == 1.0 and spearman(x, -(x**3)) == -1.0


def test_pairs_that_do_not_match_are_refused():
    for x, y in (([1.0, 2.0], [1.0]), ([1.0], [1.0])):
        with pytest.raises(ValueError, match="pass 2 or more pairs"):
            spearman(x, y)
    with pytest.raises(ValueError, match=r"`y\[0\]` is inf"):
        spearman([1.0, 2.0], [float("inf"), 1.0])


@pytest.mark.parametrize("count", [4, 8, 40])
def test_the_interquartile_mean_of_whole_quarters_is_the_trimmed_mean(count):
    values = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25), abs=ROUNDING)


@given(values=numbers)
@check
def test_the_interquartile_mean_is_that_of_each_value_four_times_over(values):
    assert interquartile_mean(values) == pytest.approx(
        stats.trim_mean(np.repeat(values, 4), 0.25), abs=1e-9
    )


def test_the_interquartile_mean_ignores_one_outlier_of_five():
    assert interquartile_mean([1.0, 1.0, 1.0, 1.0, 1e9]) == 1.0
