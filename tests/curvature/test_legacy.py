"""The published epsilon-rank, and the spectrum that shows what it measures."""

import numpy as np
import pytest

from neoteny.curvature import Spectrum, epsilon_rank
from neoteny.curvature.legacy import legacy_smoothed_epsilon_rank

EPSILON = 0.03
TABLE = [(1, "0.010"), (10, "0.013"), (100, "0.264"), (1000, "0.288"), (6000, "0.030")]


def collapsed(top):
    """99.0 % of the eigenvalues at zero, 0.9 % at one half, and 0.1 % that move."""
    return Spectrum(np.array([[0.0, 0.5, top]]), np.array([[0.99, 0.009, 0.001]]))


@pytest.mark.parametrize(("top", "published"), TABLE)
def test_the_published_recipe_reads_what_it_is_known_to_read(top, published):
    reading = legacy_smoothed_epsilon_rank(collapsed(top), EPSILON).value
    assert f"{reading:.3f}" == published


@pytest.mark.parametrize("top", [1, 10, 100, 1000, 6000])
def test_the_true_share_of_the_same_spectra_is_one_percent_at_every_top_eigenvalue(top):
    assert epsilon_rank(collapsed(top), 1, EPSILON).value == pytest.approx(0.01, abs=1e-12)


def test_without_grid_points_between_the_epsilons_it_reads_one():
    # Mass at zero alone, but for one eigenvalue in a million at each end; grid points at +-0.3.
    spectrum = Spectrum(np.array([[-160.0, 0.0, 5912.0]]), np.array([[1e-6, 1 - 2e-6, 1e-6]]))
    assert epsilon_rank(spectrum, 1, EPSILON).value == pytest.approx(2e-6)
    assert legacy_smoothed_epsilon_rank(spectrum, EPSILON).value == pytest.approx(1, abs=1e-4)


def test_the_bridged_gap_adds_area_so_that_a_share_may_exceed_one():
    spectrum = Spectrum(np.array([[-0.031, 0.031]]), np.array([[0.5, 0.5]]))
    assert legacy_smoothed_epsilon_rank(spectrum, EPSILON).value > 1.5


def test_on_a_small_spectrum_far_from_epsilon_it_is_the_share():
    spectrum = Spectrum(np.array([[-0.5, 0.0, 0.2]]), np.array([[0.25, 0.5, 0.25]]))
    assert legacy_smoothed_epsilon_rank(spectrum, 0.1).value == pytest.approx(0.5, abs=1e-3)


def test_probes_are_averaged_and_an_array_of_epsilons_gives_a_curve():
    first, second = collapsed(10), collapsed(100)
    both = Spectrum(*map(np.concatenate, zip(first[:2], second[:2], strict=True)))
    epsilons = np.array([0.01, 0.03, 0.1])
    curve = legacy_smoothed_epsilon_rank(both, epsilons)
    apart = [legacy_smoothed_epsilon_rank(each, epsilons).value for each in (first, second)]
    np.testing.assert_allclose(curve.value, np.mean(apart, axis=0))
    np.testing.assert_allclose(curve.standard_error, np.abs(apart[0] - apart[1]) / 2)
    alone = [legacy_smoothed_epsilon_rank(first, epsilon).value for epsilon in epsilons]
    np.testing.assert_array_equal(apart[0], alone)


def test_padding_does_not_widen_the_grid_and_nan_stays_nan():
    padded = Spectrum(np.array([[5.0, 6.0, 0.0]]), np.array([[0.5, 0.5, 0.0]]))
    plain = Spectrum(np.array([[5.0, 6.0]]), np.array([[0.5, 0.5]]))
    reading = legacy_smoothed_epsilon_rank(padded, 5.5).value
    assert reading == legacy_smoothed_epsilon_rank(plain, 5.5).value
    assert reading == pytest.approx(0.5, abs=1e-3)
    lost = Spectrum(np.full((1, 2), np.nan), np.full((1, 2), np.nan))
    assert np.isnan(legacy_smoothed_epsilon_rank(lost, EPSILON).value)


def test_a_zero_hessian_reads_zero_beyond_its_own_margin():
    flat = Spectrum(np.zeros((1, 1)), np.ones((1, 1)))
    assert legacy_smoothed_epsilon_rank(flat, EPSILON).value == 0


def test_a_negative_epsilon_is_refused():
    with pytest.raises(ValueError, match="`epsilon` is -1"):
        legacy_smoothed_epsilon_rank(collapsed(1), -1)
