"""The one file that knows gRPC: streams of bytes over mutual TLS 1.3, and single calls.

Another transport would be another such file: `listen`, `connect`, `call`, and a stream with `read`,
`write`, `close`.

What a stranger can take is limited: connections, seconds for a handshake, streams, headers, and at
the listener for those without a certificate the bytes of a request.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from . import handshakes  # first: it sets what gRPC reads when it is imported

# isort: split
import grpc
import grpc.aio

from ..core.errors import ConfigError, WireError
from .address import TAKEN, Address, all_of, why_not
from .keys import Keys, Peer
from .protocol import MOST_MESSAGE_BYTES
from .proxies import proxy_for

log = logging.getLogger(__name__)
SERVICE = "distilfleet.Fleet"
INSTANCE = "distilfleet-instance"
"""Header of a session: a random name of the agent's process."""
MOST_INSTANCE = 64
"""At most so many characters of it count."""
KEEPALIVE_S = 60
"""Either end pings a connection that has been silent for so long. By itself a server of gRPC takes
more than one ping in five minutes for a flood and ends the connection (`too_many_pings`), so it is
told to expect them."""
OPTIONS = (
    ("grpc.max_send_message_length", MOST_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_S * 1000),
    ("grpc.http2.max_pings_without_data", 0),
)
MOST_REQUEST_BYTES = 4096
"""The largest request of whoever shows no certificate."""
LISTENING = (
    ("grpc.so_reuseport", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_S * 1000 // 2),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_concurrent_streams", 8),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    ("grpc.max_connection_idle_ms", 60_000),
    ("grpc.absolute_max_metadata_size", 8192),
)
"""A stream that nobody reads any more holds a window of bytes; gRPC's own would grow to many
megabytes each."""
MOST_CONNECTIONS = 4096
PLAIN = {
    "certificate is not yet valid": "its certificate is not valid yet; is the clock right, here "
    "and there?",
    "certificate has expired": "its certificate has expired; is the clock right, here and there?",
    "Hostname Verification": "its certificate is for another name: the server's fleet file has the "
    "one to use",
    "CERTIFICATE_VERIFY_FAILED": "it is not the server that this device enrols or has enrolled at",
    "BAD_SIGNATURE": "it is not the server that this device enrols or has enrolled at",
    "Connection refused": "nobody listens there",
    "WRONG_VERSION_NUMBER": "whoever listens there speaks no TLS",
    "Domain name not found": "there is no such name",
    "Socket closed": "it hung up. If that goes on, this device's certificate may be too old, or "
    "the clock wrong here: a new token helps, from `enrol create`",
}
"""What gRPC says of a connection that did not come about -> what that means to a device."""


class Stream(Protocol):
    """One connection's bytes, message by message."""

    async def read(self) -> bytes | None:
        """The next message; None at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more; OSError if the connection is over."""
        ...

    def close(self) -> None:
        """End the connection; nothing that was written is waited for."""
        ...


OnStream = Callable[[Peer, Stream], Awaitable[None]]
OnCall = Callable[[Peer | None, bytes], Awaitable[bytes]]
"""Answers a call; raises WireError to refuse it."""


@dataclass(slots=True)
class Listening:
    """A listener that is open."""

    server: grpc.aio.Server
    port: int

    async def close(self) -> None:
        """Stop listening, and end all streams and calls."""
        await self.server.stop(None)


async def listen(
    address: Address | str,
    keys: Keys,
    calls: dict[str, OnCall],
    stream: OnStream | None = None,
    most_connections: int = MOST_CONNECTIONS,
) -> Listening:
    """With `stream`, for devices that show a certificate; without, for those that have none yet.

    Raises ConfigError if the address cannot be had.
    """
    mutual = stream is not None
    server = grpc.aio.server(options=(*OPTIONS, *LISTENING, *_limits(mutual, most_connections)))
    handlers = _handlers(calls, stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    authority = keys.authority if mutual else None
    pair = [(keys.key, keys.certificate)]
    credentials = grpc.ssl_server_credentials(pair, authority, require_client_auth=mutual)
    port = _bound(server, Address.read(str(address), least_port=0), credentials)
    await server.start()
    return Listening(server, port)


def _limits(mutual: bool, most_connections: int) -> tuple[tuple[str, int], ...]:
    return (
        ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES if mutual else MOST_REQUEST_BYTES),
        ("grpc.max_allowed_incoming_connections", most_connections),
    )


def _handlers(calls: dict[str, OnCall], stream: OnStream | None) -> dict[str, Any]:
    handlers: dict[str, Any] = {}
    for name, on in calls.items():
        handlers[name] = grpc.unary_unary_rpc_method_handler(_called(on))
    if stream is not None:
        handlers["Session"] = grpc.stream_stream_rpc_method_handler(_streamed(stream))
    return handlers


def _bound(server: grpc.aio.Server, address: Address, credentials: grpc.ServerCredentials) -> int:
    """The port, at all addresses of the name that this machine has. Raises ConfigError if one is
    taken, or none there.

    gRPC by itself is content with one of several, and says nothing of the others.
    """
    ports = list[int]()
    lacking = list[str]()
    for one in all_of(address):
        where = replace(one, port=ports[0]) if ports else one
        try:
            ports.append(server.add_secure_port(str(where), credentials))
        except RuntimeError:
            why = why_not(where) or f"{where} cannot be had, and gRPC says no more"
            if TAKEN in why:
                raise _no_listening(address, why) from None
            lacking.append(why)
    if not ports:
        raise _no_listening(address, "; ".join(lacking))
    for why in lacking:
        log.warning("not listening at one address of %s: %s", address.host, why)
    return ports[0]


def _no_listening(address: Address, why: str) -> ConfigError:
    remedy = "Stop that one, or change the ports, or `listen`, in the fleet file"
    return ConfigError(f"{address} cannot be listened on: {why}. {remedy}")


@dataclass(slots=True)
class Connection:
    """A device's own."""

    channel: grpc.aio.Channel
    calling: Any
    via: str = ""
    """What a fault begins with if a proxy is in between."""
    fault: str = ""
    """Why it is over, as far as the transport knows."""

    async def read(self) -> bytes | None:
        """The next message; None if the connection is over, and `fault` says why."""
        try:
            data = await self.calling.read()
        except grpc.RpcError as fault:
            self.fault = self.via + _plain_words(fault)
            return None
        return data if isinstance(data, bytes) else None

    async def write(self, data: bytes) -> None:
        """Send a message. Raises ConnectionError if the connection is over."""
        try:
            await self.calling.write(data)
        except (grpc.RpcError, grpc.aio.UsageError) as fault:
            self.fault = self.via + _plain_words(fault)
            raise ConnectionError(self.fault) from None

    def close(self) -> None:
        """End the stream."""
        self.calling.cancel()

    async def shut(self) -> None:
        """Let go of the channel too."""
        self.calling.cancel()
        await self.channel.close()


async def connect(address: str, keys: Keys, instance: str = "") -> Connection:
    """Returns at once; the first read or write says whether there is a server."""
    where = Address.read(address)
    channel = _channel(where, keys)
    calling = channel.stream_stream(f"/{SERVICE}/Session")(metadata=((INSTANCE, instance),))
    return Connection(channel, calling, _via(where))


async def call(address: str, keys: Keys, name: str, data: bytes, timeout_s: float) -> bytes:
    """One request and its answer. Raises WireError if it is refused, ConnectionError if there is no
    server."""
    where = Address.read(address)
    async with _channel(where, keys) as channel:
        try:
            answer = await channel.unary_unary(f"/{SERVICE}/{name}")(data, timeout=timeout_s)
        except grpc.aio.AioRpcError as fault:
            if fault.code() == grpc.StatusCode.PERMISSION_DENIED:
                raise WireError(fault.details() or "refused") from None
            raise ConnectionError(f"{where}: {_via(where)}{_plain_words(fault)}") from None
    assert isinstance(answer, bytes)
    return answer


def _plain_words(fault: Exception) -> str:
    """In a line, and in plain words where gRPC's are known."""
    words = str(fault.details() or "") if isinstance(fault, grpc.aio.AioRpcError) else str(fault)
    for known, plain in PLAIN.items():
        if known in words:
            return plain
    return words


def _via(address: Address) -> str:
    """That it is perhaps not the server which does not answer."""
    proxy = proxy_for(address)
    return (
        "" if proxy is None else f"through {proxy}, which no_proxy={address.host} would leave out: "
    )


def _channel(address: Address, keys: Keys) -> grpc.aio.Channel:
    """Said as a DNS name, since gRPC takes a host called `unix` or `dns` for something else."""
    proxy = proxy_for(address)
    way = ("grpc.enable_http_proxy", 0) if proxy is None else ("grpc.http_proxy", proxy.url)
    options = (*OPTIONS, ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES), way)
    return grpc.aio.secure_channel(f"dns:///{address}", _credentials(keys), options=options)


def _credentials(keys: Keys) -> grpc.ChannelCredentials:
    if not keys.key:
        return grpc.ssl_channel_credentials(keys.authority)
    return grpc.ssl_channel_credentials(keys.authority, keys.key, keys.certificate)


@dataclass(slots=True)
class _Accepted:
    """A server's end of a stream."""

    context: Any

    async def read(self) -> bytes | None:
        data = await self.context.read()
        return data if isinstance(data, bytes) else None

    async def write(self, data: bytes) -> None:
        try:
            await self.context.write(data)
        except (grpc.RpcError, grpc.aio.UsageError, RuntimeError) as fault:
            raise ConnectionError(str(fault)) from None

    def close(self) -> None:
        """The handler ends the stream by returning."""


def _streamed(on: OnStream) -> Callable[[Any, Any], Awaitable[None]]:
    async def handle(_requests: Any, context: Any) -> None:
        try:
            # else with the first message, and if sending that is cancelled, gRPC sends them again
            # at the end, which fails: the stream would stay open at the device
            await context.send_initial_metadata(())
            await on(replace(_peer(context), instance=_instance(context)), _Accepted(context))
        except asyncio.CancelledError:
            # which ends the stream at both ends; what is cancelled stays open at the device's
            return
        except WireError as fault:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(fault))

    return handle


def _called(on: OnCall) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def handle(request: bytes, context: Any) -> bytes:
        try:
            return await on(_peer(context) if _certificate(context) else None, request)
        except WireError as fault:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(fault))
            raise

    return handle


def _peer(context: Any) -> Peer:
    from .identity import peer_of  # a device that listens to nobody does without

    try:
        return peer_of(_certificate(context))
    except WireError:
        handshakes.count("no device's certificate")
        raise


def _instance(context: Any) -> str:
    """Of the agent, as far as it says so: bytes where text is expected are none."""
    name = dict(context.invocation_metadata()).get(INSTANCE, "")
    return name[:MOST_INSTANCE] if isinstance(name, str) else ""


def _certificate(context: Any) -> bytes:
    shown = context.auth_context().get("x509_pem_cert", [b""])
    return bytes(shown[0])
