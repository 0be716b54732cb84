"""The model of TCP that `benchmarks/slow_link.py` is held against."""

import sys
from pathlib import Path

import pytest

from distilfleet.core.types import Link
from distilfleet.cost.link import transfer_s
from distilfleet.net import protocol, transfer

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from tcp import CHUNK_BYTES, Tcp, over_tcp

SLOW = Link(up_bps=5e6, down_bps=5e6, latency_s=0.05, transmit_w=0.0)


def seconds(size_mib: int, tcp: Tcp, link: Link = SLOW) -> float:
    carried = over_tcp(link, tcp)
    return float(transfer_s(size_mib << 20, carried.down_bps, carried.latency_s))


def test_without_headers_losses_and_delay_a_link_stays_what_it_is():
    link = Link(up_bps=2e6, down_bps=5e6, latency_s=0.0, transmit_w=1.0)
    assert over_tcp(link, Tcp(header_bytes=0)) == link


def test_what_the_slow_link_was_measured_to_take_is_predicted_within_a_fifth():
    """`benchmarks/slow_link.py`; figures in RESULTS.md."""
    assert seconds(2, Tcp(loss_share=0.01, loss_is_congestion=False)) == pytest.approx(
        4.13, rel=0.2
    )


def test_lost_packets_hold_a_long_path_to_the_rate_of_mathis():
    """1448 bytes in 0.1 s times sqrt(1.5 / 0.01) are 1.42 Mbit/s."""
    tcp = Tcp(loss_share=0.01)
    assert tcp.goodput_bps(5e6, 0.1) == pytest.approx(1.4187e6, rel=1e-3)
    assert tcp.goodput_bps(1e6, 0.1) == pytest.approx(1e6 * 0.99 * 1448 / 1514)
    assert tcp.goodput_bps(5e6, 0.0) == pytest.approx(5e6 * 0.99 * 1448 / 1514)


def test_each_chunk_waits_for_its_grant_unless_the_link_is_fast():
    tcp = Tcp(header_bytes=0)
    waits_s = seconds(16, tcp) - seconds(8, tcp) - 8 * (8 << 20) / 5e6
    assert waits_s == pytest.approx(8 * 0.1)
    fast = Link(up_bps=1e9, down_bps=1e9, latency_s=0.01, transmit_w=0.0)
    assert over_tcp(fast, tcp).down_bps == pytest.approx(1e9)


def test_slow_start_doubles_from_ten_segments():
    tcp = Tcp()
    assert tcp.start_s(8 * 40 * 1448 / 0.1, 0.1) == pytest.approx(0.2)
    assert tcp.start_s(1e5, 0.1) == 0.0


def test_the_model_has_the_chunks_of_the_protocol():
    assert CHUNK_BYTES == protocol.CHUNK_BYTES
    assert (transfer.AHEAD_S, transfer.WINDOW) == (0.5, 4)
