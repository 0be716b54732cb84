"""Two agents with one identity, and agents that begin session after session: bounded, counted, and
told by name."""

import asyncio
import logging
import shutil
import time
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from random import Random

import pytest
from patience import HANGS_S

from distilfleet.cost import catalogue
from distilfleet.net.agent import Agent
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.identity import Authority, new_request
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.keys import Badge, Keys, write_private
from distilfleet.net.metrics import Totals, exposition
from distilfleet.net.observe import observe
from distilfleet.net.protocol import VERSIONS, Hello, Refuse
from distilfleet.net.server_side import CLASH, MOST_CLASH_S, MOST_SESSIONS, SESSIONS_S, ServerSide
from distilfleet.net.session_server import SessionServer
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import listen

HELLO = Hello(VERSIONS, "pi")


def server() -> ServerSide:
    return ServerSide(uploads=FlowControl(1000))


def pause_s(out) -> float:
    (said,) = [one.message for one in out]
    assert isinstance(said, Refuse)
    return said.retry_s


# --- the state machine ----------------------------------------------------------------------------


def test_who_was_displaced_by_another_agent_does_not_take_its_place_again():
    one = server()
    assert one.enter(HELLO, 0.0, "a")[0] == 1
    assert one.enter(HELLO, 1.0, "b")[0] == 2
    assert one.superseded("pi") == Refuse(CLASH, 5.0)
    pauses_s = []
    for _ in range(10):
        fence, out = one.enter(HELLO, 2.0, "a")
        assert fence == 0
        pauses_s.append(pause_s(out))
    assert pauses_s[:4] == [10.0, 20.0, 40.0, 80.0] and pauses_s[-1] == MOST_CLASH_S
    assert one.clashes == {"pi": 10}
    assert one.devices["pi"].live and one.devices["pi"].fence == 2


def test_who_was_displaced_comes_back_when_the_other_is_gone():
    one = server()
    one.enter(HELLO, 0.0, "a")
    one.enter(HELLO, 1.0, "b")
    one.leave("pi", 2)
    assert one.enter(HELLO, 2.0, "a")[0] == 3
    assert one.clashes == {}


@pytest.mark.parametrize(
    "instances", ["aaaaaaaa", "abcdefgh", ["", "a", "", "b"], ["a", "", "", ""]]
)
def test_an_agent_that_is_started_again_or_whose_link_broke_is_let_in_at_once(instances):
    """Although the server has not noticed yet that the session before is dead."""
    one = server()
    fences = [
        one.enter(HELLO, 0.1 * at, instance)[0]
        for at, instance in enumerate(instances)
        if instance or at
    ]
    assert 0 not in fences[:2] and one.devices["pi"].live


def test_sessions_of_one_identity_are_bounded_in_a_minute_and_of_others_not():
    one, began_s = server(), []
    now_s = 0.0
    while now_s < 10 * SESSIONS_S:
        fence, out = one.enter(HELLO, now_s, f"agent {now_s}")
        if fence:
            began_s.append(now_s)
        else:
            assert 0.0 < pause_s(out) <= SESSIONS_S
        now_s += 0.25
    most = max(sum(start <= other < start + SESSIONS_S for other in began_s) for start in began_s)
    assert most == MOST_SESSIONS
    assert one.enter(Hello(VERSIONS, "other"), now_s, "x")[0] == 1


# --- over TLS -------------------------------------------------------------------------------------


@asynccontextmanager
async def fleet(folder, admitted=None):
    """A hub with two agents that have copies of one folder; it hears nobody before `admitted` is
    set."""

    async def stream(peer, one):
        if admitted is not None:
            await admitted.wait()
        await session_server.stream(peer, one)

    authority, journal = Authority(folder / "authority"), SqliteJournal(folder / "journal.sqlite")
    one = ServerSide(uploads=FlowControl(1 << 20), now_s=time.monotonic(), clash_s=0.1)
    session_server = SessionServer(
        coordinator=Coordinator(server=one, journal=journal),
        enrolled={"pi"},
        denied=authority.denied,
    )
    here = await listen(
        "127.0.0.1:0", authority.server_keys(["localhost"], time.time()), {}, stream
    )
    key, request = new_request("pi")
    keys = Keys(
        key=key, certificate=authority.sign("pi", request, time.time()), authority=authority.pem
    )
    (folder / "first").mkdir()
    for name, data in asdict(keys).items():
        write_private(folder / "first" / f"{name}.pem", data)
    shutil.copytree(folder / "first", folder / "second")
    badge = Badge(address=f"localhost:{here.port}", enrol_address="", device="pi", kind="rpi-4b")
    device = catalogue.device("rpi-4b", "pi")
    agents = [
        Agent(badge, folder / name, device, build=None, rng=Random(name))
        for name in ("first", "second")
    ]
    ticking = asyncio.create_task(session_server.tick())
    try:
        yield session_server, agents
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        await here.close()
        for agent in agents:
            agent.store.close()
        authority.close()
        journal.close()


async def until(ready):
    async with asyncio.timeout(HANGS_S):
        while not ready():
            await asyncio.sleep(0.02)


@pytest.mark.net
def test_two_agents_of_one_image_are_told_apart_counted_and_named(tmp_path, caplog):
    caplog.set_level(logging.INFO)

    async def lived():
        async with fleet(tmp_path) as (session_server, agents):
            clashes, tasks = session_server.coordinator.server.clashes, []
            for number, agent in enumerate(agents, 1):
                tasks.append(asyncio.create_task(agent.serve()))
                await until(
                    lambda number=number: (
                        session_server.live and session_server.live["pi"].fence == number
                    )
                )
            await until(lambda: clashes.get("pi", 0) >= 3)
            kept, moment = (
                session_server.live["pi"].fence,
                observe(session_server, {"pi": "rpi-4b"}, time.monotonic()),
            )
            tasks[1].cancel()
            await until(
                lambda: "pi" in session_server.live and session_server.live["pi"].fence == 3
            )
            tasks[0].cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            return kept, moment, session_server.refused

    kept, moment, refused = asyncio.run(lived())
    assert kept == 2
    assert moment.clashes["pi"] >= 3 and refused["another agent uses this identity"] >= 3
    assert (
        f'distilfleet_identity_clashes_total{{device="pi"}} {moment.clashes["pi"]}'
        in exposition(replace(moment, refused={}), Totals()).decode()
    )
    told = [record.getMessage() for record in caplog.records]
    assert (
        sum(
            line.startswith("pi gets no session: another agent uses this identity") for line in told
        )
        == 1
    )
    assert sum(line.startswith("refused: another agent uses this identity") for line in told) >= 3
