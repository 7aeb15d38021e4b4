"""The ghost mechanism: what its networks are told to be, and what would refute the remedies."""

import numpy as np
import pytest

from neoteny.claims import Rows, ghost_mechanism
from neoteny.claims.ghost_mechanism import _wider, critical_rate, dwell_time, threshold

RATES = (0.01, 0.02, 0.04, 0.08)


def deaths(plain, remedy):
    """Rows of two seeds in which networks die from these rates on."""
    return Rows(
        {"seed": seed, "gain": gain, "rate": rate, "dead": int(rate >= first)}
        for seed in (0, 1)
        for gain, first in ((10.0, plain), (2.0, remedy))
        for rate in RATES
    )


@pytest.mark.parametrize(
    ("plain", "remedy", "outcome"),
    [(0.02, 0.08, "holds"), (0.02, 1.0, "holds"), (0.04, 0.04, "fails"), (0.02, 0.01, "fails")],
)
def test_a_remedy_raises_the_rate_at_which_half_die_or_fails(plain, remedy, outcome):
    found = _wider(deaths(plain, remedy), "confidence", "gain", 10.0, 2.0, "low confidence")
    assert found.outcome == outcome


def test_the_threshold_lies_between_the_rates_that_half_survive():
    assert threshold(deaths(0.04, 1.0).where(gain=10.0)) == pytest.approx(np.sqrt(0.02 * 0.04))
    assert np.isnan(threshold(deaths(0.01, 1.0).where(gain=10.0)))


def test_the_dwell_time_is_that_of_the_closed_form():
    rows = Rows(dwell_time(0, rates=4))
    expected = np.arctan(10 / np.sqrt(rows["r"])) / np.sqrt(rows["r"])
    np.testing.assert_allclose(rows["time"], expected, rtol=0.02)


def test_the_critical_rate_lies_a_grid_step_above_the_derived_one():
    rows = Rows(critical_rate(0, horizons=[20], steps=2000))
    assert np.all((rows["ratio"] >= 0.95) & (rows["ratio"] <= 1.15))


def test_networks_tell_where_they_end():
    (row,) = ghost_mechanism.networks(0, horizons=[4], rates=[0.01], epochs=200, units=10)
    assert row["loss"] > 0 and row["dead"] == 0 and np.isfinite(row["gradient"])
