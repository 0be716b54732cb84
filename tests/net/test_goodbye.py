"""Who stops says so: the other end knows at once, and why."""

import asyncio
import logging
import os
import signal
import time
from contextlib import closing, suppress

import pytest
from patience import HANGS_S
from test_one_identity import fleet, until

from distilfleet.net.identity import Authority, new_request
from distilfleet.net.keys import Keys
from distilfleet.net.observe import observe
from distilfleet.net.protocol import VERSIONS, Beat, Hello, Refuse
from distilfleet.net.server_side import BEAT_S, LEASE_BEATS, STOPPED, Drop, ServerSide
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import connect, listen
from distilfleet.service import agent as join

KINDS = {"pi": "rpi-4b"}


def test_a_device_that_says_that_it_stops_is_away_until_it_comes_back():
    one = ServerSide(uploads=FlowControl(1000))
    fence, _ = one.enter(Hello(VERSIONS, "pi"), 0.0, "a")
    assert one.receive("pi", fence, Refuse("stopped", 0.0), 1.0) == [Drop("pi", fence, STOPPED)]
    assert one.doing("pi", 1.5) == "away" and one.devices["pi"].stopped
    assert one.receive("pi", fence, Beat(), 2.0) == []
    assert one.enter(Hello(VERSIONS, "pi"), 3.0, "b")[0] == fence + 1
    assert not one.devices["pi"].stopped and one.clashes == {}


@pytest.mark.net
@pytest.mark.parametrize("politely", [True, False])
def test_the_server_knows_at_once_that_an_agent_is_gone(tmp_path, caplog, politely):
    """Also if its process just ends, which closes the connection."""
    caplog.set_level(logging.INFO)

    async def lived():
        async with fleet(tmp_path) as (session_server, (agent, _)):
            task = asyncio.create_task(agent.serve())
            await until(lambda: session_server.live and agent.side.open)
            began_s = time.monotonic()
            if politely:
                await agent.leave()
            else:
                task.cancel()
            await until(lambda: not session_server.live)
            gone_s = time.monotonic() - began_s
            with suppress(asyncio.CancelledError):
                await task
            return (
                gone_s,
                observe(session_server, KINDS, time.monotonic()).devices[0],
                session_server.refused,
            )

    gone_s, seen, refused = asyncio.run(lived())
    assert gone_s < LEASE_BEATS * BEAT_S / 2, "long before its lease is over"
    assert seen.doing == "away" and seen.stopped is politely
    assert refused == ({STOPPED: 1} if politely else {})
    assert ("pi leaves: 'stopped'" in caplog.text) is politely


@pytest.mark.net
def test_an_agent_that_leaves_before_it_is_welcomed_says_goodbye_too(tmp_path):
    """Whoever said hello has a session as soon as the server hears it, though it was told to stop
    in between."""

    async def lived():
        admitted = asyncio.Event()
        async with fleet(tmp_path, admitted) as (session_server, (agent, _)):
            task = asyncio.create_task(agent.serve())
            await until(lambda: not agent.over.is_set())
            leaving = asyncio.create_task(agent.leave())
            await asyncio.sleep(0)
            admitted.set()
            async with asyncio.timeout(HANGS_S):
                await asyncio.gather(leaving, task)
            await until(lambda: not session_server.live)
            return observe(session_server, KINDS, time.monotonic()).devices[
                0
            ], session_server.refused

    seen, refused = asyncio.run(lived())
    assert (seen.doing, seen.stopped, refused) == ("away", True, {STOPPED: 1})


@pytest.mark.net
def test_a_session_that_ends_while_its_first_words_are_on_the_way_ends_at_the_device(tmp_path):
    async def hangs_up(_peer, stream):
        writing = asyncio.create_task(stream.write(b"first words"))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)

    async def heard():
        with closing(Authority(tmp_path)) as authority:
            key, request = new_request("pi")
            mine = Keys(
                key=key,
                certificate=authority.sign("pi", request, time.time()),
                authority=authority.pem,
            )
            here = await listen(
                "127.0.0.1:0", authority.server_keys(["localhost"], time.time()), {}, hangs_up
            )
            connection = await connect(f"localhost:{here.port}", mine)
            try:
                async with asyncio.timeout(HANGS_S):
                    while await connection.read() is not None:
                        pass
            finally:
                await connection.shut()
                await here.close()

    asyncio.run(heard())


@pytest.mark.net
def test_devices_are_told_that_the_server_stops_and_come_back(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def lived():
        async with fleet(tmp_path) as (session_server, (agent, _)):
            task = asyncio.create_task(agent.serve())
            await until(lambda: agent.side.open)
            await session_server.farewell("this server stops")
            await until(lambda: "the server ends the session: this server stops" in caplog.text)
            await until(lambda: session_server.live and session_server.live["pi"].fence == 2)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(lived())


@pytest.mark.net
def test_an_agent_that_is_sent_sigterm_says_goodbye_before_it_ends(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
    }
    ended = []

    async def lived():
        async with fleet(tmp_path) as (session_server, (agent, _)):
            task = asyncio.create_task(
                join._until_stopped(agent, lambda: ended.append(dict(session_server.live)))
            )
            await until(lambda: agent.side.open)
            os.kill(os.getpid(), signal.SIGTERM)
            await task

    try:
        asyncio.run(lived())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert ended[0] == {}
    assert "pi leaves: 'stopped'" in caplog.text
