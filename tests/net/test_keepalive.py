"""A session on which nobody says anything for long is not ended by gRPC for its own pings."""

import asyncio
import time
from contextlib import closing

import pytest

from distilfleet.net import transport
from distilfleet.net.identity import Authority, new_request
from distilfleet.net.keys import Keys
from distilfleet.service.fleet_file import MOST_BEAT_S

PING_MS = 1000
"""gRPC pings no more often than this."""
EXPECTED = "grpc.http2.min_ping_interval_without_data_ms"


def faster(options):
    """The same share of the time between pings."""
    share = PING_MS / (1000 * transport.KEEPALIVE_S)
    scaled = {
        name: int(share * value)
        for name, value in options
        if name in (EXPECTED, "grpc.keepalive_time_ms")
    }
    return tuple((dict(options) | scaled).items())


@pytest.mark.net
def test_a_silent_session_outlives_many_pings_where_the_server_was_told(tmp_path, monkeypatch):
    """Beside one whose server was not told of them, which gRPC ends after five."""
    as_it_is = faster(transport.LISTENING)
    monkeypatch.setattr(transport, "OPTIONS", faster(transport.OPTIONS))

    async def silent(_peer, stream) -> None:
        await stream.write(b"!")
        while await stream.read() is not None:
            pass

    async def lived() -> tuple[str, bool]:
        with closing(Authority(tmp_path / "authority")) as authority:
            key, request = new_request("pi")
            mine = Keys(
                key=key,
                certificate=authority.sign("pi", request, time.time()),
                authority=authority.pem,
            )
            servers, ends = [], []
            for listening in (as_it_is, tuple(pair for pair in as_it_is if pair[0] != EXPECTED)):
                monkeypatch.setattr(transport, "LISTENING", listening)
                keys = authority.server_keys(["localhost"], time.time())
                servers.append(await transport.listen("127.0.0.1:0", keys, {}, silent))
                ends.append(await transport.connect(f"localhost:{servers[-1].port}", mine))
                assert await ends[-1].read() == b"!"
            told, untold = (asyncio.create_task(one.read()) for one in ends)
            assert await asyncio.wait_for(untold, 30.0) is None
            await asyncio.sleep(2 * PING_MS / 1000)
            alive = not told.done()
            for one in (*ends, *servers):
                await (one.shut() if one in ends else one.close())
            await asyncio.gather(told, return_exceptions=True)
            return ends[1].fault, alive

    assert asyncio.run(lived()) == ("Too many pings", True)


def test_pings_are_expected_more_often_than_they_come_and_beats_come_before_links_are_cut():
    assert dict(transport.LISTENING)[EXPECTED] < dict(transport.OPTIONS)["grpc.keepalive_time_ms"]
    assert MOST_BEAT_S <= 120.0
