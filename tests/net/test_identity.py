"""Who gets in: enrolment, certificates, and every way of not getting in, over real TLS on
loopback."""

import asyncio
import shutil
import ssl
import time
from contextlib import asynccontextmanager, closing
from dataclasses import asdict, replace

import pytest
from patience import HANGS_S

from distilfleet.core.errors import ConfigError, RecordError, WireError
from distilfleet.cost import catalogue
from distilfleet.net.agent import Agent
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.handshakes import take_failed
from distilfleet.net.identity import (
    DAY_S,
    LIFE_S,
    Authority,
    authority_pem,
    belongs,
    new_key,
    new_request,
    peer_of,
    renewal_s,
    request_for,
)
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.keys import Badge, Keys, Token, write_private
from distilfleet.net.renewal import renewal_due
from distilfleet.net.server_side import ServerSide
from distilfleet.net.session_server import SessionServer
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import call, connect, listen

NOW_S = 1_800_000_000.0


@pytest.fixture
def authority(tmp_path):
    made = Authority(tmp_path / "authority")
    yield made
    made.close()


def device_keys(authority: Authority, device: str, now_s: float) -> Keys:
    key, request = new_request(device)
    return Keys(
        key=key, certificate=authority.sign(device, request, now_s), authority=authority.pem
    )


def test_a_token_is_good_once(authority):
    token = Token.read(authority.token("pi-07", "rpi-5", "localhost:1", 3600.0, NOW_S).text())
    key, request = new_request("pi-07")
    certificate = authority.enrol("pi-07", request, token.proof(request), NOW_S)
    assert peer_of(certificate).device == "pi-07"
    assert peer_of(certificate).expires_s == NOW_S + LIFE_S
    assert authority_pem(token.authority) == authority.pem
    assert b"PRIVATE" in key
    _, other = new_request("pi-07")
    with pytest.raises(WireError, match="used already"):
        authority.enrol("pi-07", other, token.proof(other), NOW_S)


def test_who_did_not_hear_the_answer_asks_again_with_the_same_key(authority):
    token = authority.token("pi-07", "rpi-5", "localhost:1", 3600.0, NOW_S)
    key = new_key()
    for _ in range(2):
        request = request_for(key, "pi-07")
        assert belongs(key, authority.enrol("pi-07", request, token.proof(request), NOW_S))
    authority.deny("pi-07")
    with pytest.raises(WireError, match="no token"):
        authority.enrol("pi-07", request, token.proof(request), NOW_S)


def test_bad_tokens_are_refused_with_a_reason(authority):
    token = authority.token("pi", "rpi-5", "localhost:1", 60.0, NOW_S)
    _, request = new_request("pi")
    with pytest.raises(WireError, match="token expired"):
        authority.enrol("pi", request, token.proof(request), NOW_S + 61)
    with pytest.raises(WireError, match="wrong proof"):
        authority.enrol("pi", request, replaced(token).proof(request), NOW_S)
    with pytest.raises(WireError, match="no token"):
        authority.enrol("other", request, token.proof(request), NOW_S)
    with pytest.raises(WireError, match="unreadable certificate request"):
        authority.sign("pi", b"\x30\x01", NOW_S)
    with pytest.raises(ConfigError, match="this is no token"):
        Token.read("abc")


def replaced(token: Token) -> Token:
    fields = {name: getattr(token, name) for name in Token.__struct_fields__}
    return Token(**{**fields, "secret": bytes(16)})


def test_certificates_are_renewed_at_two_thirds_of_their_life(authority, tmp_path):
    for began_s in (NOW_S, NOW_S + 5 * DAY_S):
        certificate = device_keys(authority, "pi", began_s).certificate
        write_private(tmp_path / "certificate.pem", certificate)
        for _ in range(2):  # worked out, and remembered
            assert not renewal_due(tmp_path, began_s + 4.6 * DAY_S)
            assert renewal_due(tmp_path, began_s + 4.7 * DAY_S)
        assert renewal_s(certificate) == pytest.approx(began_s + 4.66 * DAY_S, abs=0.02 * DAY_S)


def test_a_denied_device_needs_a_new_token(authority):
    authority.deny("pi")
    assert authority.denied("pi")
    authority.token("pi", "rpi-5", "localhost:1", 60.0, NOW_S)
    assert not authority.denied("pi")


def test_the_authority_outlives_its_process_and_hides_its_key(authority, tmp_path):
    again = Authority(tmp_path / "authority")
    assert again.fingerprint == authority.fingerprint
    assert (tmp_path / "authority" / "authority.key").stat().st_mode & 0o077 == 0
    again.close()


@asynccontextmanager
async def echoing(authority, names=("localhost",)):
    async def echo(peer, stream):
        while (message := await stream.read()) is not None:
            await stream.write(peer.device.encode() + message)

    listening = await listen("127.0.0.1:0", authority.server_keys(names, time.time()), {}, echo)
    try:
        yield f"localhost:{listening.port}"
    finally:
        await listening.close()


async def said(address: str, keys: Keys) -> bytes | None:
    connection = await connect(address, keys)
    try:
        await connection.write(b"!")
        return await asyncio.wait_for(connection.read(), HANGS_S)
    except ConnectionError:
        return None
    finally:
        await connection.shut()


@pytest.mark.net
def test_only_devices_of_this_authority_get_in(authority, tmp_path):
    now_s = time.time()
    mine, stranger = device_keys(authority, "pi", now_s), Authority(tmp_path / "stranger")
    foreign = device_keys(stranger, "pi", now_s)
    server = authority.server_keys(["localhost"], now_s)
    cases = {
        "another authority": replace(foreign, authority=authority.pem),
        "expired": replace(device_keys(authority, "pi", now_s - LIFE_S - 1), key=b""),
        "no certificate": Keys(key=b"", certificate=b"", authority=authority.pem),
        "a server's certificate": replace(server, authority=authority.pem),
        "a server of another authority": replace(mine, authority=stranger.pem),
    }
    key, request = new_request("pi")
    expired = Keys(
        key=key,
        certificate=authority.sign("pi", request, now_s - LIFE_S - 1),
        authority=authority.pem,
    )
    cases["expired"] = expired

    async def attempts():
        async with echoing(authority) as address:
            assert await said(address, mine) == b"pi!"
            return {name: await said(address, keys) for name, keys in cases.items()}

    assert asyncio.run(attempts()) == dict.fromkeys(cases)
    stranger.close()


@pytest.mark.net
def test_a_server_under_another_name_is_refused(authority):
    mine = device_keys(authority, "pi", time.time())

    async def attempt():
        async with echoing(authority, ["elsewhere.example"]) as address:
            return await said(address, mine)

    assert asyncio.run(attempt()) is None


@pytest.mark.net
@pytest.mark.parametrize(("version", "welcome"), [("TLSv1_2", False), ("TLSv1_3", True)])
def test_nothing_below_tls_1_3(authority, tmp_path, version, welcome):
    mine = device_keys(authority, "pi", time.time())
    for name in ("key", "certificate", "authority"):
        (tmp_path / f"{name}.pem").write_bytes(getattr(mine, name))
    context = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_alpn_protocols(["h2"])

    async def attempt():
        async with echoing(authority) as address:
            host, _, port = address.partition(":")
            try:
                _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            except (ssl.SSLError, ConnectionResetError):
                return False
            writer.transport.abort()
            return True

    assert asyncio.run(attempt()) is welcome


@pytest.mark.net
def test_single_calls_tell_why_they_are_refused(authority):
    async def refuse(peer, data):
        raise WireError("not today")

    async def attempt():
        listening = await listen(
            "127.0.0.1:0", authority.server_keys(["localhost"], time.time()), {"Enrol": refuse}
        )
        keys = Keys(key=b"", certificate=b"", authority=authority.pem)
        try:
            await call(f"localhost:{listening.port}", keys, "Enrol", b"", HANGS_S)
        finally:
            await listening.close()

    with pytest.raises(WireError, match="not today"):
        asyncio.run(attempt())


LIFE_OF_A_TEST_S = 3.0


@pytest.mark.net
@pytest.mark.slow
def test_an_agent_outlives_its_certificates(tmp_path):
    """The session ends with the certificate that it came with; the agent has another one by
    then."""
    authority, journal = (
        Authority(tmp_path / "a", LIFE_OF_A_TEST_S),
        SqliteJournal(tmp_path / "journal.sqlite"),
    )
    server = ServerSide(uploads=FlowControl(1 << 20), now_s=time.monotonic(), beat_s=0.5)
    take_failed()  # of other tests
    session_server = SessionServer(
        coordinator=Coordinator(server=server, journal=journal),
        enrolled={"pi"},
        denied=authority.denied,
    )

    async def renew(peer, request):
        return authority.sign(peer.device, request, time.time())

    async def live_for(lasting_s):
        here = await listen(
            "127.0.0.1:0",
            authority.server_keys(["localhost"], time.time()),
            {"Renew": renew},
            session_server.stream,
        )
        badge = Badge(
            address=f"localhost:{here.port}", enrol_address="", device="pi", kind="rpi-4b"
        )
        for name, data in asdict(device_keys(authority, "pi", time.time())).items():
            write_private(tmp_path / f"{name}.pem", data)
        agent = Agent(badge, tmp_path, catalogue.device("rpi-4b", "pi"), build=None)
        tasks = [asyncio.create_task(session_server.tick()), asyncio.create_task(agent.serve())]
        began_s, sessions = time.time(), {}
        while time.time() < began_s + lasting_s:
            sessions |= {own.fence: own.expires_s for own in session_server.live.values()}
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await here.close()
        return sessions

    sessions = asyncio.run(live_for(3 * LIFE_OF_A_TEST_S))
    assert len(sessions) >= 3
    assert sorted(sessions.values()) == list(sessions.values())
    assert "handshake: expired certificate" not in session_server.refused
    assert session_server.refused["expired"] >= 2
    authority.close()
    journal.close()


# --- an authority that is not whole ---------------------------------------------------------------


def lost(file):
    file.unlink()


def emptied(file):
    file.write_bytes(b"")


def scrambled(file):
    file.write_bytes(b"no such thing" * 400)


@pytest.mark.parametrize("name", ["authority.key", "authority.pem", "identity.sqlite"])
@pytest.mark.parametrize("damage", [lost, emptied, scrambled])
def test_an_authority_that_is_not_whole_is_not_begun_anew(tmp_path, name, damage):
    with closing(Authority(tmp_path)) as authority:
        authority.deny("pi")
    damage(tmp_path / name)
    with pytest.raises(RecordError, match=rf"{name}.* Restore the server's folder"):
        Authority(tmp_path)


def test_an_authority_of_two_halves_is_refused(tmp_path):
    for half in ("one", "other"):
        Authority(tmp_path / half).close()
    (tmp_path / "one" / "authority.key").replace(tmp_path / "other" / "authority.key")
    with pytest.raises(RecordError, match="is not the key of"):
        Authority(tmp_path / "other")


def test_an_authority_that_died_while_it_was_founded_is_founded_again(tmp_path):
    (tmp_path / "authority.key").write_bytes(b"half")
    with closing(Authority(tmp_path)) as authority:
        pem = authority.pem
    (tmp_path / "identity.sqlite").replace(tmp_path / "identity.sqlite.new")
    with closing(Authority(tmp_path)) as authority:
        assert authority.pem == pem


def test_who_was_denied_stays_so_in_a_copy_without_the_write_ahead_log(tmp_path):
    with closing(Authority(tmp_path / "here")) as authority:
        authority.deny("pi")
        shutil.copytree(
            tmp_path / "here", tmp_path / "copy", ignore=shutil.ignore_patterns("*-wal", "*-shm")
        )
    with closing(Authority(tmp_path / "copy")) as copy:
        assert copy.denied("pi")
