"""What TCP and the protocol make of a link: `transfer_s` takes a link as its rate, this says what
arrives of it.

For links whose loss and round trip somebody has measured; `slow_link.py` holds it to such links. It
is not part of the product, since no row of the catalogue states a loss and rates there are of what
an application gets. Hand devices with `over_tcp(link, tcp)` to a fleet or planner that should
reckon with headers, lost packets, slow start and the wait for a grant after each chunk.

Loss-based congestion control (Reno, and CUBIC at such windows, RFC 9438 section 4.3) is held to the
rate of Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance
algorithm", CCR 27(3), 1997, eq. 3 with C = sqrt(3/2). BBR (Cardwell et al., "BBR: congestion-based
congestion control", ACM Queue 14(5), 2016) does not take a loss for congestion: what is lost is
sent again, and no more.
"""

from dataclasses import dataclass, replace
from math import log2, sqrt

from distilfleet.core.types import Link
from distilfleet.core.units import BITS_PER_BYTE

CHUNK_BYTES = 1 << 20
"""After which the protocol waits for a grant, on links that take longer than half a second for
it."""
FIRST_SEGMENTS = 10
"""Sent before the first acknowledgement, RFC 6928."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tcp:
    """One connection."""

    loss_share: float = 0.0
    """Of packets, by chance."""
    loss_is_congestion: bool = True
    """Reno and CUBIC; not BBR."""
    segment_bytes: int = 1448
    header_bytes: int = 66
    """Ethernet 14, IP 20, TCP with time stamps 32."""

    def goodput_bps(self, rate_bps: float, round_trip_s: float) -> float:
        """Of the payload, once under way."""
        sent = (
            self.segment_bytes / (self.segment_bytes + self.header_bytes) * (1.0 - self.loss_share)
        )
        if not self.loss_is_congestion or self.loss_share == 0.0 or round_trip_s == 0.0:
            return rate_bps * sent
        mathis_bps = BITS_PER_BYTE * self.segment_bytes / round_trip_s * sqrt(1.5 / self.loss_share)
        return min(rate_bps * sent, mathis_bps)

    def start_s(self, goodput_bps: float, round_trip_s: float) -> float:
        """What slow start loses: the window doubles each round trip until it fills the link."""
        window_bytes = goodput_bps * round_trip_s / BITS_PER_BYTE
        return round_trip_s * max(
            0.0, log2(max(window_bytes / (FIRST_SEGMENTS * self.segment_bytes), 1.0))
        )


def over_tcp(link: Link, tcp: Tcp) -> Link:
    """The link as frames of a chunk or more find it: lower rates, and a delay with the offer and
    slow start in it."""
    round_trip_s = 2.0 * link.latency_s
    up_bps, down_bps = (
        tcp.goodput_bps(rate_bps, round_trip_s) for rate_bps in (link.up_bps, link.down_bps)
    )
    start_s = tcp.start_s(min(up_bps, down_bps), round_trip_s)
    return replace(
        link,
        up_bps=_with_waits_bps(up_bps, round_trip_s),
        down_bps=_with_waits_bps(down_bps, round_trip_s),
        latency_s=link.latency_s + round_trip_s + start_s,
    )


def _with_waits_bps(goodput_bps: float, round_trip_s: float) -> float:
    """A round trip after each chunk, but for links that have more than one under way."""
    chunk_s = BITS_PER_BYTE * CHUNK_BYTES / goodput_bps
    ahead = max(1.0, min(4.0, 0.5 / (chunk_s + round_trip_s)))
    return BITS_PER_BYTE * CHUNK_BYTES / max(chunk_s, (chunk_s + round_trip_s) / ahead)
