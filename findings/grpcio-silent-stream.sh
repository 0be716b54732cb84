#!/usr/bin/env bash
# gRPC's server ends an open stream for the keepalive pings that its own client was told to send.
#
# Versions: grpcio 1.85.1, Python 3.11.
# Guess:    a stream that both ends keep open, with the same keepalive time set at both, lives while its pings are answered; two
#           "strikes" are allowed, and pings of a call under way are not those of an idle connection.
# Seen:     the client's pings are answered, and after five of them the server ends the connection: "Too many pings". What it
#           allows is another option, five minutes between pings while no data flow, whatever its own keepalive time is. A
#           message of the server now and then hides it: the count begins anew. A keepalive time below a second is taken for one second.
# Meaning:  a session that is silent for five keepalive periods is lost, and comes back as if the network had failed. A server of
#           distilfleet is told to expect the pings of its devices (`net/transport.py`), and `beat_s` is bounded.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check grpcio==1.85.1
"$T/v/bin/python" - <<'P'
import asyncio, time
import grpc, grpc.aio

EXPECT = "grpc.http2.min_ping_interval_without_data_ms"

def both(keepalive_ms):
    return [("grpc.keepalive_time_ms", keepalive_ms), ("grpc.http2.max_pings_without_data", 0)]

async def silent_s(keepalive_ms, *more):
    """How long a stream lives on which nobody says anything, at most 12 s, and what ends it."""
    async def handle(_requests, context):
        await context.write(b"!")
        while await context.read() is not grpc.aio.EOF:
            pass
    server = grpc.aio.server(options=[*both(keepalive_ms), *more])
    own = {"S": grpc.stream_stream_rpc_method_handler(handle)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("T", own),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=both(keepalive_ms)) as channel:
        call = channel.stream_stream("/T/S")()
        assert await call.read() == b"!"
        began_s, why = time.monotonic(), "nothing"
        try:
            async with asyncio.timeout(12):
                await call.read()
        except grpc.aio.AioRpcError as fault:
            why = fault.details()
        except TimeoutError:
            pass
        lasted_s = time.monotonic() - began_s
        call.cancel()
    await server.stop(None)
    return lasted_s, why

async def main():
    cases = silent_s(1000), silent_s(100), silent_s(1000, (EXPECT, 500))
    second, tenth, told = await asyncio.gather(*cases)
    print(f"grpcio {grpc.__version__}: keepalive 1 s: ended after {second[0]:.1f} s by {second[1]!r}")
    print(f"keepalive 0.1 s: ended after {tenth[0]:.1f} s by {tenth[1]!r}; told to expect them: {told[0]:.1f} s, {told[1]!r}")
    assert second[1] == tenth[1] == "Too many pings" and told[1] == "nothing"
    assert second[0] < 8 and tenth[0] > 2

asyncio.run(main())
P
