"""Radio: tables by hand, closed forms against SciPy, means against draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import exp1
from scipy.stats import ncx2

from distilfleet.core.chance import stream
from distilfleet.cost.radio import (
    ATTENUATED,
    CQI_1,
    CQI_2,
    FADING_DB,
    QUANTILES,
    Cqi,
    Shannon,
    direct_factor,
    fading,
    fading_quantiles_db,
    lost_share,
    mean_transmissions,
    noise_dbm,
    outage_share,
    ratio,
    shadow,
)

LAWS = {
    "cqi 1": CQI_1,
    "cqi 2": CQI_2,
    "cqi fading": Cqi(awgn_db=FADING_DB, margin_db=0.0),
    "shannon": Shannon(),
    "attenuated": ATTENUATED,
}
levels_db = st.floats(-30, 60)


@pytest.fixture(params=LAWS.values(), ids=LAWS)
def law(request):
    return request.param


@pytest.mark.parametrize("cqi", [CQI_1, CQI_2])
def test_indices_begin_at_their_thresholds(cqi):
    at = cqi.thresholds_db
    assert len(at) == len(cqi.efficiencies) == 15
    np.testing.assert_array_equal(cqi.index(at + 0.051), np.arange(1, 16))
    np.testing.assert_array_equal(cqi.index(at - 0.051), np.arange(15))
    np.testing.assert_array_equal(cqi.index(np.array([-200.0, -np.inf, 90.0])), [0, 0, 15])
    np.testing.assert_allclose(cqi.bps_per_hz(at + 0.051), cqi.efficiencies, rtol=1e-6)
    assert cqi.bps_per_hz(at - 9.0)[0] == 0


def test_the_tables_share_what_they_share():
    both = dict(zip(CQI_1.efficiencies, CQI_1.thresholds_db, strict=True))
    shared = [e for e in CQI_2.efficiencies if e in both]
    assert len(shared) == 12
    assert all(
        t == both[e]
        for e, t in zip(CQI_2.efficiencies, CQI_2.thresholds_db, strict=True)
        if e in both
    )
    assert (np.diff(CQI_1.thresholds_db) > 0).all() and (np.diff(CQI_2.thresholds_db) > 0).all()


def test_no_table_beats_shannon():
    level_db = np.linspace(-20, 40, 601)
    for name, law in LAWS.items():
        if name != "shannon":
            assert (law.bps_per_hz(level_db) <= Shannon().bps_per_hz(level_db) + 1e-9).all()


@given(levels_db, st.floats(0, 30))
def test_a_stronger_signal_never_carries_less(level_db, more_db):
    for law in LAWS.values():
        weak, strong = law.bps_per_hz(np.array([level_db, level_db + more_db]))
        assert 0 <= weak <= strong
        weak, strong = law.expected_bps_per_hz(np.array([level_db, level_db + more_db]))
        assert 0 <= weak <= strong + 1e-12


@pytest.mark.parametrize("mean_db", [-5.0, 5.0, 15.0, 25.0])
def test_expected_rate_is_the_mean_of_draws(law, mean_db):
    gain = stream(1, "gain").exponential(size=400_000)
    drawn = law.bps_per_hz(mean_db + 10 * np.log10(gain))
    expected = float(law.expected_bps_per_hz(np.array(mean_db)))
    grid_error = 0.012 if isinstance(law, Cqi) else 0.0
    assert expected == pytest.approx(
        drawn.mean(), abs=5 * drawn.std() / np.sqrt(len(gain)) + grid_error * expected
    )


@given(st.floats(-20, 50))
def test_expected_shannon_is_the_exponential_integral(mean_db):
    inverse = 1 / float(ratio(np.array(mean_db)))
    exact = np.exp(inverse) * exp1(inverse) / np.log(2)
    assert float(Shannon().expected_bps_per_hz(np.array(mean_db))) == pytest.approx(exact, rel=1e-7)


@given(st.floats(-30, 15), st.floats(-10, 15))
def test_outage_is_marcums(above_db, rician_db):
    direct = 10 ** (rician_db / 10)
    expected = ncx2.cdf(2 * (direct + 1) * 10 ** (above_db / 10), 2, 2 * direct)
    assert float(outage_share(np.array(above_db), np.array(0.0), rician_db)) == pytest.approx(
        expected, abs=1e-9
    )


def test_outage_under_rayleigh_by_hand():
    np.testing.assert_allclose(
        outage_share(np.array([0.0, 10.0]), np.array([10.0, 10.0])), 1 - np.exp([-0.1, -1])
    )


@pytest.mark.parametrize("direct", [0.0, 1.0, 8.0])
def test_fading_has_mean_one_and_rician_spread(direct):
    power = fading(np.array(direct), stream(2, "fading").standard_normal((2, 400_000)))
    assert power.mean() == pytest.approx(1, abs=0.01)
    assert power.var() == pytest.approx((2 * direct + 1) / (direct + 1) ** 2, rel=0.02)


@pytest.mark.parametrize("rician_db", [None, 0.0, 7.0, 9.0])
def test_quantiles_of_fading_are_those_of_its_draws(rician_db):
    quantiles_db = fading_quantiles_db(rician_db)
    assert quantiles_db.dtype == np.float32 and len(quantiles_db) == QUANTILES
    assert (np.diff(quantiles_db) > 0).all() and ratio(
        quantiles_db.astype(float)
    ).mean() == pytest.approx(1, abs=1e-3)
    drawn = fading(
        np.array(direct_factor(rician_db)), stream(4, "fading").standard_normal((2, 400_000))
    )
    parts = np.array([0.001, 0.01, 0.1, 0.5, 0.9, 0.99])
    got_db = quantiles_db[(parts * QUANTILES).astype(int)]
    np.testing.assert_allclose(got_db, 10 * np.log10(np.quantile(drawn, parts)), atol=0.35)
    np.testing.assert_allclose(outage_share(got_db, np.array(0.0), rician_db), parts, atol=1e-4)


def test_shadowing_keeps_its_spread_and_forgets_with_the_way():
    rng = stream(3, "shadow")
    before = rng.standard_normal(200_000)
    after = shadow(before, np.array(5.0), np.array(10.0), rng.standard_normal(200_000))
    assert after.std() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(before, after)[0, 1] == pytest.approx(np.exp(-0.5), abs=0.01)
    np.testing.assert_array_equal(shadow(before, np.array(0.0), np.array(10.0), before), before)


def test_noise_by_hand():
    assert noise_dbm(20e6, 5.0) == pytest.approx(-95.99, abs=0.01)
    assert noise_dbm(1.0, 0.0) == -174.0


def test_retransmissions_by_hand():
    assert mean_transmissions(0.1, 4) == pytest.approx(1.111)
    assert lost_share(0.1, 4) == pytest.approx(1e-4)
    assert mean_transmissions(0.0, 3) == 1 and lost_share(0.0, 3) == 0
    assert mean_transmissions(1.0, 3) == 3
