"""One reader of addresses for all that people write, and sessions at every kind of them."""

import asyncio
import socket
import time
from contextlib import closing, suppress
from pathlib import Path

import pytest
from patience import HANGS_S

from distilfleet.core.errors import ConfigError
from distilfleet.net.address import Address, all_of, host_of, why_not
from distilfleet.net.enrolment import Enrolled, enrol
from distilfleet.net.identity import Authority, new_request
from distilfleet.net.keys import Keys, Token
from distilfleet.net.proxies import PROXIES, proxy_for
from distilfleet.net.transport import call, connect, listen
from distilfleet.service.fleet_file import fleet_folder

SPELLINGS = {
    "server.example:7443": "server.example:7443",
    "Server.Example.:7443": "server.example:7443",
    " localhost:1 ": "localhost:1",
    "my_server:07443": "my_server:7443",
    "b\u00fccher.example:7443": "xn--bcher-kva.example:7443",
    "BU\u0308cher.example:7443": "xn--bcher-kva.example:7443",
    "xn--bcher-kva.example:7443": "xn--bcher-kva.example:7443",
    "192.0.2.7:65535": "192.0.2.7:65535",
    "[::1]:7443": "[::1]:7443",
    "[0:0:0:0:0:0:0:1]:7443": "[::1]:7443",
    "[2001:DB8::00A:1]:7443": "[2001:db8::a:1]:7443",
    "[::ffff:192.0.2.7]:7443": "192.0.2.7:7443",
    "unix:7443": "",
    "dns:7443": "dns:7443",
}
REFUSED = {
    "": "no port",
    "server": "no port",
    "server:": "port is missing",
    ":7443": "host is missing",
    "server:0": "'0' is no port",
    "server:65536": "'65536' is no port",
    "server:-1": "no port",
    "server:+7": "no port",
    "server:\u0667": "no port",
    "server:" + "9" * 5000: "no port",
    "server:https": "'https' is no port",
    "::1:7443": "brackets",
    "2001:db8::1": "brackets",
    "::": "brackets",
    "[::1]": "no port",
    "[::1": "bracket",
    "[::1]7443": "no port",
    "[::1]:": "port is missing",
    "[server]:7443": "no IPv6 address",
    "[127.0.0.1]:7443": "no IPv6 address",
    "[fe80::1%eth0]:7443": "zone, %eth0",
    "fe80::1%eth0:7443": "brackets",
    "http://server:7443": "URL; leave out http://",
    "https://server:7443/": "URL",
    "grpc://[::1]:7443": "URL",
    "dns:///server:7443": "URL",
    "unix:/run/fleet.sock": "URL|path",
    "unix:7443": "path",
    "/run/fleet.sock": "path",
    "server:7443/fleet": "path",
    "me@server:7443": "user",
    "my server:7443": "no name",
    "server..example:7443": "no name",
    "-server:7443": "no name",
    "*:7443": "no name",
    "a" * 64 + ".example:7443": "no name",
    "127.1:7443": "no IPv4",
    "192.168.001.010:7443": "no IPv4",
    "999.0.0.1:7443": "no IPv4",
    "0x7F000001:7443": "no IPv4",
    "server\x00:7443": "no name",
    "stra\u00dfe.example:7443": "several names",
    "ser\u200bver:7443": "several names",
    "\uff45xample.com:7443": "several names",
}


@pytest.mark.parametrize(("written", "spelled"), [pair for pair in SPELLINGS.items() if pair[1]])
def test_an_address_has_one_spelling(written, spelled):
    assert str(Address.read(written)) == spelled
    assert str(Address.read(spelled)) == spelled


@pytest.mark.parametrize(("written", "why"), REFUSED.items())
def test_what_is_no_address_is_told_with_the_reason(written, why):
    with pytest.raises(ConfigError, match=why) as told:
        Address.read(written)
    assert len(str(told.value)) < 300 and str(told.value).isprintable()


@pytest.mark.parametrize(
    ("listens", "found"),
    [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("box.example:80", "box.example:80")],
)
def test_what_listens_everywhere_is_found_nearby(listens, found):
    assert str(Address.read(listens).nearby) == found


def test_hosts_alone():
    assert [host_of(text) for text in ("::", "[::]", "0.0.0.0", "LocalHost.")] == [
        "::",
        "::",
        "0.0.0.0",
        "localhost",
    ]
    for text in ("", "*", "localhost:7443", "[::]:7443", "http://x"):
        with pytest.raises(ConfigError, match="is no host"):
            host_of(text)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('address = "0.0.0.0:7443"', "`listen`"),
        ('enrol_address = "[::]:7444"', "`listen`"),
        ('address = "::1:7443"', "address = '::1:7443' is no address; write HOST:PORT: .*brackets"),
        ('enrol_address = "http://server:7444"', "leave out http://"),
        ('listen = "0.0.0.0:7443"', "a HOST alone"),
        ('listen = "*"', "0.0.0.0 or ::"),
        ('page = "7480"', "page = '7480' is no address"),
        ('page = "https://localhost:7480"', "page = .*URL"),
        ("beat_s = 200", "0.1 to 120 seconds"),
        ("beat_s = nan", "beat_s"),
        ("beat_s = inf", "0.1 to 120 seconds"),
        ("beat_s = 0.01", "0.1 to 120 seconds"),
    ],
)
def test_a_fleet_file_says_which_address_is_none(tmp_path: Path, line, why):
    file, name = tmp_path / "fleet.toml", line.split(" ")[0]
    lines = ['address = "server:7443"', 'enrol_address = "server:7444"', line]
    own = [one for one in lines[:2] if not one.startswith(f"{name} ")]
    file.write_text("\n".join([*own, line, '[devices]\npi = "rpi-4b"']))
    with pytest.raises(ConfigError, match=why):
        fleet_folder(file)


def test_why_an_address_cannot_be_listened_on():
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        busy = Address(host="127.0.0.1", port=taken.getsockname()[1])
        assert "127.0.0.1:" in why_not(busy) and "in use by another program" in why_not(busy)
    assert "no address of this machine" in why_not(Address(host="192.0.2.1", port=7443))
    with pytest.raises(ConfigError, match="no name or address"):
        all_of(Address(host="nobody.invalid", port=7443))
    assert why_not(Address(host="::1", port=0)) == ""


# --- enrolling and sessions at addresses ----------------------------------------------------------


@pytest.mark.net
@pytest.mark.parametrize(
    ("listened", "written"),
    [
        ("[::1]:0", "[::1]"),
        ("[::]:0", "[0:0:0:0:0:0:0:1]"),
        ("[::]:0", "127.0.0.1"),
        ("0.0.0.0:0", "[::ffff:127.0.0.1]"),
        ("localhost:0", "LocalHost."),
    ],
)
def test_a_device_enrols_and_has_a_session_at_any_kind_of_address(tmp_path, listened, written):
    async def echo(_peer, stream) -> None:
        while (data := await stream.read()) is not None:
            await stream.write(data)

    async def lived() -> bytes | None:
        with closing(Authority(tmp_path / "authority")) as authority:
            keys = authority.server_keys([str(Address.read(f"{written}:1").host)], time.time())

            async def sign(_peer, data) -> bytes:
                certificate = authority.sign("pi", new_request("pi")[1], time.time())
                return b"" if not data else certificate

            enrolment = await listen(listened, keys, {"Enrol": sign})
            sessions = await listen(listened, keys, {}, echo)
            nobody = Keys(key=b"", certificate=b"", authority=authority.pem)
            assert await call(f"{written}:{enrolment.port}", nobody, "Enrol", b"!", 10.0)
            key, request = new_request("pi")
            mine = Keys(
                key=key,
                certificate=authority.sign("pi", request, time.time()),
                authority=authority.pem,
            )
            connection = await connect(f"{written}:{sessions.port}", mine)
            try:
                await connection.write(b"!")
                return await asyncio.wait_for(connection.read(), HANGS_S)
            finally:
                await connection.shut()
                await sessions.close()
                await enrolment.close()

    assert asyncio.run(lived()) == b"!"


def test_a_name_is_listened_on_at_all_its_addresses_and_none_may_be_another_servers(
    tmp_path, monkeypatch
):
    """As where localhost has two: gRPC is content with one."""
    real = socket.getaddrinfo
    both = ("127.0.0.1", "::1", "192.0.2.1")

    def several(host, port, *rest, **more):
        hosts = both if host == "localhost" else (host,)
        return [found for one in hosts for found in real(one, port, *rest, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", several)

    async def lived() -> None:
        with closing(Authority(tmp_path / "authority")) as authority:
            keys = authority.server_keys(["localhost"], time.time())
            here = await listen("localhost:0", keys, {})
            for host in both[:2]:
                socket.create_connection((host, here.port), timeout=HANGS_S).close()
            with pytest.raises(
                ConfigError, match=rf"127.0.0.1:{here.port} is in use by another program"
            ):
                await listen(f"localhost:{here.port}", keys, {})
            await here.close()
            with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)) as taken:
                port = taken.getsockname()[1]
                with pytest.raises(
                    ConfigError, match=rf"\[::1\]:{port} is in use by another program"
                ):
                    await listen(f"localhost:{port}", keys, {})

    asyncio.run(lived())


# --- proxies --------------------------------------------------------------------------------------

FAR = Address(host="server.example", port=7443)


@pytest.mark.parametrize("variable", [*PROXIES, *(name.upper() for name in PROXIES)])
def test_a_proxy_is_named_with_where_it_comes_from_and_without_its_password(variable):
    found = proxy_for(FAR, {variable: "http://me:secret@proxy.example:3128"})
    assert str(found) == f"the proxy proxy.example:3128 (from {variable})"
    assert found.url == "http://me:secret@proxy.example:3128"


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"https_proxy": ""},
        {"https_proxy": "socks5://proxy:1080"},
        *(
            {"https_proxy": "proxy:3128", name: listed}
            for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy")
            for listed in (
                "server.example",
                "a.b, .example",
                "*",
                "*.example",
                "SERVER.example:7443",
                "example",
            )
        ),
    ],
)
def test_what_is_left_out_goes_without_a_proxy(own):
    assert proxy_for(FAR, own) is None


@pytest.mark.parametrize(
    "listed", ["erver.example", "server.example:80", "other", "10.0.0.0/8", "[::1]:x", ""]
)
def test_what_is_not_left_out_goes_through_it(listed):
    assert proxy_for(FAR, {"https_proxy": "proxy:3128", "no_proxy": listed}).place == "proxy:3128"


def test_networks_are_left_out_and_this_machine_always_is():
    given = {"http_proxy": "proxy:3128", "no_proxy": "10.0.0.0/8,fd00::/8,[2001:db8::1]:7443"}
    hosts = {
        "10.1.2.3": False,
        "11.1.2.3": True,
        "fd00::2": False,
        "2001:db8::1": False,
        "2001:db8::2": True,
    }
    hosts |= dict.fromkeys(("localhost", "a.localhost", "127.0.0.1", "127.8.8.8", "::1"), False)
    found = {host: proxy_for(Address(host=host, port=7443), given) is not None for host in hosts}
    assert found == hosts


@pytest.mark.net
def test_an_agent_behind_a_proxy_that_fails_does_not_blame_the_server(tmp_path, monkeypatch):
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{port}")

    async def asked() -> str:
        with closing(Authority(tmp_path / "authority")) as authority:
            key, request = new_request("pi")
            mine = Keys(
                key=key,
                certificate=authority.sign("pi", request, time.time()),
                authority=authority.pem,
            )
            token = authority.token("pi", "rpi-4b", "192.0.2.7:7444", 60.0, time.time())
            with pytest.raises(
                ConnectionError, match=rf"through the proxy 127.0.0.1:{port} \(from HTTPS_PROXY\)"
            ):
                await enrol(Token.read(token.text()), tmp_path / "pi")
            connection = await connect("192.0.2.7:7443", mine)
            assert await connection.read() is None
            await connection.shut()
            return connection.fault

    fault = asyncio.run(asked())
    assert (
        f"the proxy 127.0.0.1:{port}" in fault
        and "no_proxy=192.0.2.7" in fault
        and "nobody listens" in fault
    )
    assert "secret" not in fault


@pytest.mark.net
def test_a_proxy_that_opens_connections_carries_a_session(tmp_path, monkeypatch):
    """To an address of this machine that is not loopback by its spelling."""

    async def echo(_peer, stream) -> None:
        while (data := await stream.read()) is not None:
            await stream.write(data)

    async def lived() -> tuple[bytes | None, list[bytes]]:
        asked, relays = list[bytes](), list["asyncio.Task[None]"]()
        with closing(Authority(tmp_path / "authority")) as authority:
            here = await listen(
                "127.0.0.1:0", authority.server_keys(["far.example"], time.time()), {}, echo
            )

            async def relay(reader, writer) -> None:
                relays.append(asyncio.current_task())
                asked.append(await reader.readuntil(b"\r\n\r\n"))
                there = await asyncio.open_connection("127.0.0.1", here.port)
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                try:
                    await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
                finally:
                    for one in (there[1], writer):
                        one.close()
                        with suppress(ConnectionError):
                            await one.wait_closed()

            proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
            monkeypatch.setenv(
                "https_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
            )
            key, request = new_request("pi")
            mine = Keys(
                key=key,
                certificate=authority.sign("pi", request, time.time()),
                authority=authority.pem,
            )
            connection = await connect("far.example:7443", mine)
            try:
                await connection.write(b"!")
                return await asyncio.wait_for(connection.read(), HANGS_S), asked
            finally:
                await connection.shut()
                await here.close()
                proxy.close()
                await asyncio.gather(*relays)

    said, asked = asyncio.run(lived())
    assert said == b"!" and asked[0].startswith(b"CONNECT far.example:7443 ")


async def _pump(reader, writer) -> None:
    """Carry what comes until either side goes, which may be in the midst of a write."""
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def test_what_an_enrolled_device_is_told_is_the_one_spelling():
    assert (
        Enrolled(certificate=b"", address=str(Address.read("[::0:1]:7443"))).address == "[::1]:7443"
    )
