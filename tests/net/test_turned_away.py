"""Everyone who must not get in, at a real server: each is refused, and the operator reads the
reason and how often."""

import asyncio
import json
import math
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
import trustme
from fleets import kill
from patience import HANGS_S
from ports import free_ports

from distilfleet.core.errors import StorageError, WireError
from distilfleet.net import handshakes
from distilfleet.net.coordinator import Coordinator
from distilfleet.net.enrolment import Enrol, enrol, renew
from distilfleet.net.identity import LIFE_S, Authority, new_request
from distilfleet.net.journal import SqliteJournal
from distilfleet.net.keys import Badge, Keys, Peer, Token, write_private
from distilfleet.net.protocol import VERSIONS, Beat, Hello, Numbering, Refuse, Welcome
from distilfleet.net.server_side import ServerSide
from distilfleet.net.session_server import SessionServer
from distilfleet.net.transfer import FlowControl
from distilfleet.net.transport import call, connect

HANDSHAKE_S = 10.0
ASKED_LAST = "enrolment: unreadable request"


class Served:
    """A server process for three devices, its authority, and what it says."""

    def __init__(self, folder):
        self.ports, self.asked = free_ports(2), 0
        file = folder / "fleet.toml"
        devices = "".join(f'pi-{n} = "rpi-4b"\n' for n in range(3))
        addresses = (
            f'address = "localhost:{self.ports[0]}"\nenrol_address = "localhost:{self.ports[1]}"\n'
        )
        file.write_text(f'{addresses}page = ""\n[devices]\n{devices}')
        self.log = folder / "server.log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "distilfleet.cli", "serve", str(file)]
            own = {
                name: value for name, value in os.environ.items() if not name.startswith("GRPC_")
            }
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=own)
        self.until(lambda: "serving 3 devices" in self.log.read_text())
        self.authority = Authority(folder / "fleet-state" / "authority")

    @property
    def address(self):
        return f"localhost:{self.ports[0]}"

    @property
    def enrolment(self):
        return f"localhost:{self.ports[1]}"

    @property
    def told(self):
        """Reason -> times, as last told."""
        found = re.findall(r"refused: (.*) \((\d+) so far\)", self.log.read_text())
        return {reason: int(times) for reason, times in found}

    @property
    def refused(self):
        """Reason -> times, of all that was refused before: the server tells this request after
        those."""
        before = self.told.get(ASKED_LAST, 0)
        nobody = Keys(key=b"", certificate=b"", authority=self.authority.pem)
        with pytest.raises(WireError, match="unreadable request"):
            asyncio.run(call(self.enrolment, nobody, "Enrol", b"", HANGS_S))
        self.asked += 1
        self.until(lambda: self.told.get(ASKED_LAST, 0) > before)
        return {**self.told, ASKED_LAST: self.told[ASKED_LAST] - self.asked}

    def until(self, ready):
        end_s = time.monotonic() + HANGS_S
        while not ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end_s, self.log.read_text()
            time.sleep(0.05)

    def keys(self, device="pi-0", now_s=None, authority=None):
        key, request = new_request(device)
        signed = (authority or self.authority).sign(
            device, request, time.time() if now_s is None else now_s
        )
        return Keys(key=key, certificate=signed, authority=self.authority.pem)

    def stop(self):
        self.authority.close()
        kill(self.process)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("served"))
    yield served
    served.stop()


def news(server, before, wanted):
    """Waits for these reasons to be told, and says how often each was since."""
    known = {reason: before.get(reason, 0) for reason in wanted}
    server.until(
        lambda: all(
            server.told.get(reason, 0) >= known[reason] + wanted[reason] for reason in wanted
        )
    )
    after = server.refused
    return {
        reason: after[reason] - before.get(reason, 0)
        for reason in after
        if after[reason] != before.get(reason, 0)
    }


# --- handshakes -----------------------------------------------------------------------------------


def shaken(server, tmp_path, keys=None, name="localhost", version=ssl.TLSVersion.TLSv1_3):
    """What comes of a TLS connection: the server's first bytes, none if it hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2"])
    if keys is not None:
        file = tmp_path / "both.pem"
        file.write_bytes(keys.key + keys.certificate)
        context.load_cert_chain(file)
    try:
        plain = socket.create_connection(("127.0.0.1", server.ports[0]), timeout=HANGS_S)
        with plain, context.wrap_socket(plain, server_hostname=name) as secure:
            return secure.recv(100)
    except (ssl.SSLError, ConnectionError):
        return b""


def stranger(tmp_path, server):
    """A device's certificate of an authority with another name."""
    issued = trustme.CA().issue_cert("pi-0")
    pem = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return Keys(key=issued.private_key_pem.bytes(), certificate=pem, authority=b"")


@pytest.mark.net
@pytest.mark.slow
def test_handshakes_that_fail_are_counted_by_reason(server, tmp_path):
    before, now_s = server.refused, time.time()
    impostor = Authority(tmp_path / "impostor")  # of the same name
    assert shaken(server, tmp_path, server.keys()) != b""
    assert shaken(server, tmp_path, stranger(tmp_path, server)) == b""
    assert shaken(server, tmp_path, server.keys(authority=impostor)) == b""
    assert shaken(server, tmp_path, server.keys(now_s=now_s - LIFE_S - 1)) == b""
    assert shaken(server, tmp_path, server.keys(now_s=now_s + 3600.0)) == b""
    assert shaken(server, tmp_path, server.authority.server_keys(["localhost"], now_s)) == b""
    assert shaken(server, tmp_path) == b""
    assert shaken(server, tmp_path, server.keys(), version=ssl.TLSVersion.TLSv1_2) == b""
    assert shaken(server, tmp_path, server.keys(), name="elsewhere.example") != b""
    with socket.create_connection(("127.0.0.1", server.ports[0]), timeout=HANGS_S) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert plain.recv(100) == b""
    impostor.close()
    expected = {
        "handshake: unknown authority": 2,
        "handshake: expired certificate": 1,
        "handshake: certificate not yet valid": 1,
        "handshake: wrong purpose": 1,
        "handshake: no certificate": 1,
        "handshake: TLS below 1.3": 1,
        "handshake: another server's name": 1,
        "handshake: no TLS": 1,
    }
    assert news(server, before, expected) == expected


@pytest.mark.net
@pytest.mark.slow
def test_a_device_tells_why_it_turns_away_from_a_server(server, tmp_path):
    other = Authority(tmp_path / "other")
    mine = server.keys()

    async def fault(address, keys):
        connection = await connect(address, keys)
        assert await connection.read() is None
        await connection.shut()
        return connection.fault

    async def faults():
        misnamed = await fault(f"127.0.0.1:{server.ports[0]}", mine)
        return misnamed, await fault(server.address, replace(mine, authority=other.pem))

    misnamed, unknown = asyncio.run(faults())
    other.close()
    assert "for another name" in misnamed
    assert "not the server that this device" in unknown


@pytest.mark.parametrize("first", ["session_server", "handshakes", "transport", "agent"])
def test_grpc_is_set_before_it_is_imported_whatever_comes_first(first):
    script = (
        f"import distilfleet.net.{first}, os, sys\n"
        "print('grpc' in sys.modules, os.environ.get('GRPC_SSL_CIPHER_SUITES'), "
        "os.environ.get('GRPC_VERBOSITY'))"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", handshakes.CIPHERS, "None"]
    late = subprocess.run(
        [sys.executable, "-c", f"import grpc\n{script}"], env=clean, capture_output=True, text=True
    )
    assert "would allow TLS 1.2" in late.stderr


def test_lines_that_are_not_about_handshakes_are_left_alone():
    handshakes.take_failed()
    assert not handshakes.count_line(b"OMP: Warning #96\n")
    assert handshakes.count_line(
        b"W1121 06:34:05.141325 518 log.cc:102] Log level INFO is not suitable\n"
    )
    assert handshakes.take_failed() == {}
    assert handshakes.count_line(
        b"I1121 06:34:05.148425 5 ssl.cc:2563] Handshake failed with error SSL: NOBODY_KNOWS\n"
    )
    assert handshakes.take_failed() == {"other fault": 1}


FORKED = """
import os
from distilfleet.net import handshakes
with handshakes._lock:  # as a thread of the parent may have it
    child = os.fork()
    if not child:
        assert handshakes.take_failed() == {}
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""


def test_a_process_that_is_forked_counts_for_itself():
    done = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.returncode == 0, done.stderr


# --- enrolment ------------------------------------------------------------------------------------


def altered(token, **changes):
    return Token(**{name: getattr(token, name) for name in Token.__struct_fields__} | changes)


@pytest.mark.net
@pytest.mark.slow
def test_enrolments_that_fail_are_counted_by_reason(server, tmp_path):
    before, nobody = server.refused, Keys(key=b"", certificate=b"", authority=server.authority.pem)

    def issue(device, lasting_s=60.0):
        return server.authority.token(device, "rpi-4b", server.enrolment, lasting_s, time.time())

    async def ask(data):
        return await call(server.enrolment, nobody, "Enrol", data, 10.0)

    def refused(data, reason):
        with pytest.raises(WireError, match=reason):
            asyncio.run(ask(data))

    def request(token, device=None, tamper=False):
        _, csr = new_request(token.device)
        proof = token.proof(csr)
        csr = new_request(token.device)[1] if tamper else csr
        return msgspec.msgpack.encode(
            Enrol(device=device or token.device, request=csr, proof=proof)
        )

    token = issue("pi-0")
    asyncio.run(enrol(token, tmp_path / "pi-0"))
    refused(request(token), "used already")
    refused(request(issue("pi-1", -1.0)), "expired")
    token = issue("pi-1")
    refused(request(token, device="pi-2"), "no token")
    issue("pi-2")
    refused(request(token, device="pi-2"), "wrong proof")
    refused(request(altered(token, secret=bytes(16))), "wrong proof")
    refused(request(token, tamper=True), "wrong proof")
    refused(
        msgspec.msgpack.encode(Enrol(device="pi-1", request=b"0", proof=token.proof(b"0"))),
        "certificate request",
    )
    refused(b"\x91" * 4000, "unreadable request")
    with pytest.raises(ConnectionError, match="larger than max"):
        asyncio.run(ask(bytes(5000)))
    asyncio.run(enrol(token, tmp_path / "pi-1"))  # none of that used it up
    expected = {
        "enrolment: no token, or used already": 2,
        "enrolment: token expired": 1,
        "enrolment: wrong proof": 3,
        "enrolment: unreadable certificate request": 1,
        "enrolment: unreadable request": 1,
    }
    assert news(server, before, expected) == expected


# --- sessions -------------------------------------------------------------------------------------


@asynccontextmanager
async def session(server, device="pi-0", words=None):
    """A connection on which these bytes were said first."""
    connection = await connect(server.address, server.keys(device))
    try:
        if words is not None:
            await connection.write(words)
        yield connection
    finally:
        await connection.shut()


def hello(device="pi-0", versions=VERSIONS):
    return Numbering().write(Hello(versions, device))


async def heard(connection):
    """The first message, None if the server hangs up."""
    data = await asyncio.wait_for(connection.read(), HANGS_S)
    return None if data is None else next(Numbering().messages(data))


async def ends(connection):
    async with asyncio.timeout(HANGS_S):
        while await connection.read() is not None:
            pass
    return True


@pytest.mark.net
@pytest.mark.slow
def test_sessions_that_must_not_be_are_counted_by_reason(server):
    before = server.refused

    async def attempts():
        began_s = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[0])
        async with session(server, "pi-0") as silent:
            async with session(server, words=hello("pi-1")) as other:
                assert await heard(other) is None
            async with session(server, words=b"\1\0\0\0\xc1") as garbage:
                assert await heard(garbage) is None
            async with session(server, words=Numbering().write(Beat())) as beat:
                assert await heard(beat) is None
            async with session(server, words=bytes(5000)) as large:
                assert await heard(large) is None
            async with session(server, words=hello(versions=(99,))) as future:
                assert isinstance(await heard(future), Refuse)
            async with session(server, "stranger", hello("stranger")) as unknown:
                assert isinstance(await heard(unknown), Refuse)
            assert await heard(silent) is None
        assert await reader.read(10) == b""
        assert time.monotonic() - began_s > HANDSHAKE_S - 2
        writer.close()
        await writer.wait_closed()

    asyncio.run(attempts())
    expected = {
        "hello from another device than the certificate's": 1,
        "unreadable hello": 2,
        "oversized hello": 1,
        "version": 1,
        "denied": 1,
        "no hello in time": 1,
    }
    assert news(server, before, expected) == expected


class HangsUp:
    """A device that ends its stream at the first word, so that the server's side is cancelled while
    it writes."""

    async def read(self):
        return hello("stranger")

    async def write(self, data):
        raise asyncio.CancelledError

    def close(self):
        pass


def test_who_hangs_up_at_once_is_counted_too(tmp_path):
    with closing(SqliteJournal(tmp_path / "journal.sqlite")) as journal:
        session_server = SessionServer(
            Coordinator(ServerSide(FlowControl(1)), journal), (), lambda device: False
        )
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(session_server.stream(Peer("stranger", math.inf), HangsUp()))
    assert session_server.refused == {"denied": 1}


def test_a_fault_of_the_disk_in_a_session_is_heard_by_whoever_waits_for_a_round(tmp_path):
    journal = SqliteJournal(tmp_path / "journal.sqlite")

    def denied(device):
        raise StorageError("identity.sqlite cannot be read")

    session_server = SessionServer(
        Coordinator(ServerSide(FlowControl(1)), journal), {"stranger"}, denied
    )
    with closing(journal), pytest.raises(StorageError):
        asyncio.run(session_server.stream(Peer("stranger", math.inf), HangsUp()))
    for ask in (session_server.check, lambda: asyncio.run(session_server.collect(1))):
        with pytest.raises(StorageError, match=r"identity.sqlite cannot be read"):
            ask()


@pytest.mark.net
@pytest.mark.slow
def test_a_denied_device_is_cut_off_at_once_and_stays_out(server, tmp_path):
    before = server.refused

    async def attempts():
        async with session(server, "pi-2", hello("pi-2")) as open_one:
            assert isinstance(await heard(open_one), Welcome)
            server.authority.deny("pi-2")
            assert await ends(open_one)
        async with session(server, "pi-2", hello("pi-2")) as again:
            assert isinstance(await heard(again), Refuse)

    asyncio.run(attempts())
    badge = Badge(
        address=server.address, enrol_address=server.enrolment, device="pi-2", kind="rpi-4b"
    )
    keys = server.keys("pi-2")
    for name in ("key", "certificate", "authority"):
        write_private(tmp_path / f"{name}.pem", getattr(keys, name))
    with pytest.raises(WireError, match="denied"):
        asyncio.run(renew(badge, tmp_path))
    expected = {"denied": 2, "renewal: denied": 1}
    assert news(server, before, expected) == expected


@pytest.mark.net
@pytest.mark.slow
def test_a_new_session_ends_the_old_one_and_raises_the_fence(server):
    async def attempts():
        async with session(server, words=hello()) as first:
            one = await heard(first)
            async with session(server, words=hello()) as second:
                two = await heard(second)
                assert await ends(first)
                await second.write(b"\2" + Numbering().write(Beat())[1:])
                assert await asyncio.wait_for(second.read(), HANGS_S) is not None
        return one.fence, two.fence

    first, second = asyncio.run(attempts())
    assert second == first + 1


@pytest.mark.net
@pytest.mark.slow
def test_a_run_goes_on_beside_hostile_clients():
    script = Path(__file__).parents[2] / "benchmarks" / "hostile.py"
    command = [sys.executable, script, "--clients", "100", "--waves", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGS_S, check=True)
    told = json.loads(done.stdout)
    assert told["missed"] == []
    assert told["median_s"]["beside"] < 1.0 + 10 * told["median_s"]["alone"]
    assert told["growth_mb"] < 200
    assert {"oversized hello", "handshake: no TLS", "slow reader"} <= set(told["refused"])
