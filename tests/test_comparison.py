"""Comparisons of many methods, against SciPy, closed forms and simulations."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from neoteny.comparison import holm, mean_ranks, probability_of_improvement, sign_flip


def test_the_probability_of_improvement_is_the_share_of_pairs_won():
    a = {"one": [1.0, 2.0, 5.0], "two": [3.0, 3.0]}
    b = {"one": [2.0, 4.0], "two": [3.0, 3.0], "three": [9.0]}
    found = probability_of_improvement(a, b)
    # on "one": 5 beats both, 2 ties with 2: 2.5 of 6; on "two" a tie
    assert found.mean == pytest.approx((2.5 / 6 + 0.5) / 2) and found.count == 2
    assert found.low <= found.mean <= found.high
    reverse = probability_of_improvement(b, a)
    assert found.mean + reverse.mean == pytest.approx(1)


def test_it_is_mann_whitneys_statistic():
    draw = np.random.default_rng(1)
    ours, theirs = draw.normal(size=12), draw.normal(size=9) - 0.4
    found = probability_of_improvement({"s": ours.tolist()}, {"s": theirs.tolist()})
    assert found.mean == pytest.approx(stats.mannwhitneyu(ours, theirs).statistic / (12 * 9))


def test_its_interval_holds_the_truth_about_as_often_as_it_says():
    draw, held = np.random.default_rng(2), 0
    truth = stats.norm.cdf(0.5 / math.sqrt(2))
    for _ in range(300):
        a = {name: draw.normal(0.5, 1, 15).tolist() for name in "uvw"}
        b = {name: draw.normal(0.0, 1, 15).tolist() for name in "uvw"}
        found = probability_of_improvement(a, b, resamples=300)
        held += found.low <= truth <= found.high
    assert 0.88 < held / 300 < 0.99


def test_one_run_on_a_side_gives_no_interval():
    found = probability_of_improvement({"s": [1.0], "t": [1.0, 2.0]}, {"s": [0.0], "t": [0.0, 3.0]})
    assert found.mean == 0.75 and math.isnan(found.low) and math.isnan(found.high)


def test_clear_superiority_is_certain_and_nothing_in_common_is_refused():
    assert probability_of_improvement({"s": [3.0, 4.0]}, {"s": [1.0, 2.0]})[:3] == (1, 1, 1)
    with pytest.raises(ValueError, match="none in common"):
        probability_of_improvement({"s": [1.0]}, {"t": [1.0]})
    with pytest.raises(ValueError, match="finite"):
        probability_of_improvement({"s": [math.nan]}, {"s": [1.0]})


@pytest.mark.parametrize("count", [2, 3, 8])
def test_flipping_signs_agrees_with_scipys_permutation_test(count):
    values = np.random.default_rng(count).normal(0.7, 1, count)
    expected = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(values) == pytest.approx(expected.pvalue)


def test_few_pairs_cannot_convince_and_many_are_drawn():
    assert sign_flip([1.0, 2.0, 3.0]) == 0.25
    assert sign_flip([0.0, 0.0]) == 1
    assert sign_flip(np.array([5, -3, -2, 2, -2]) * 0.1) == 1  # a sum that is only rounding
    many = np.random.default_rng(0).normal(0, 1, 40)
    assert sign_flip(many) == pytest.approx(stats.ttest_1samp(many, 0).pvalue, abs=0.03)
    assert sign_flip(many + 5) < 0.001


def test_chance_alone_is_called_significant_as_seldom_as_said():
    draw = np.random.default_rng(3)
    p_values = np.array([sign_flip(draw.normal(size=6)) for _ in range(2000)])
    for level in (0.05, 0.1, 0.25):
        assert np.mean(p_values <= level) <= level + 3 * math.sqrt(level / 2000)


def test_holms_adjustment_by_hand():
    found = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert found == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(found) == ["a", "b", "c", "d"]
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1, "b": 1} and holm({}) == {}
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm({"a": math.nan, "b": 0.01})


def test_holm_rejects_as_the_step_down_rule_does():
    draw = np.random.default_rng(4)
    for _ in range(100):
        p_values = {str(place): value for place, value in enumerate(draw.uniform(0, 0.1, 5))}
        rejected, left = set(), sorted(p_values, key=p_values.__getitem__)
        while left and p_values[left[0]] <= 0.05 / len(left):
            rejected.add(left.pop(0))
        assert {name for name, value in holm(p_values).items() if value <= 0.05} == rejected


def test_ranks_friedman_and_nemenyi():
    draw = np.random.default_rng(5)
    table = draw.normal(size=(6, 4)) + np.array([0, 1, 0, 2])
    table[0, 0] = table[0, 1]  # a tie
    scores = {
        f"stream {row}": dict(zip("wxyz", values, strict=True)) for row, values in enumerate(table)
    }
    found = mean_ranks(scores)
    by_hand = np.mean([stats.rankdata(-row) for row in table], axis=0)
    assert list(found.mean.values()) == pytest.approx(by_hand)
    assert found.p == pytest.approx(stats.friedmanchisquare(*table.T).pvalue)
    assert found.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 6)), rel=1e-3)
    assert found.streams == tuple(scores)


def test_streams_that_lack_a_method_are_left_out():
    scores = {"s": {"a": 1.0, "b": 2.0}, "t": {"a": 1.0}, "u": {"a": 3.0, "b": 2.0}}
    found = mean_ranks(scores)
    assert found.streams == ("s", "u") and found.mean == {"a": 1.5, "b": 1.5}
    one = mean_ranks({"s": scores["s"]})
    assert one.critical == math.inf and math.isnan(one.p)
    for few in ({}, {"s": {"a": 1.0}}, {"s": {"a": 1.0}, "t": {"b": 1.0}}):
        with pytest.raises(ValueError, match="at least two"):
            mean_ranks(few)


def test_all_alike_is_no_evidence():
    same = {stream: dict.fromkeys("ab", 1.0) for stream in "st"}
    assert mean_ranks(same).p == 1
    rounded = {stream: {"a": 0.1 + 0.2, "b": 0.3} for stream in "st"}
    assert mean_ranks(rounded).mean == {"a": 1.5, "b": 1.5}


def test_the_enumeration_is_of_all_flips():
    values = np.array([1.0, 2.0, 4.0, -0.5])
    sums = [abs(np.dot(signs, values)) for signs in product((1, -1), repeat=4)]
    assert sign_flip(values) == np.mean(np.array(sums) >= abs(values.sum()) - 1e-12)
