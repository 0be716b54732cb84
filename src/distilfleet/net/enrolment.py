"""How a device becomes one of a fleet, and stays one: tokens, certificates, renewals."""

from contextlib import suppress
from pathlib import Path

import msgspec

from ..core.errors import ConfigError, WireError
from ..core.failpoint import reached
from ..core.types import DeviceId
from .identity import authority_pem, new_key, request_for
from .keys import NEXT_KEY, Badge, Keys, Token, badge_of, take_key, write_private
from .protocol import digest_of
from .renewal import keys_of
from .transport import call

CALL_S = 20.0


class Enrol(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device's request at the enrolment listener."""

    device: DeviceId
    request: bytes
    proof: bytes


def read_request(data: bytes) -> Enrol:
    """Raises WireError; never anything else, whatever the bytes."""
    try:
        return msgspec.msgpack.decode(data, type=Enrol)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise WireError("unreadable request") from None


class Enrolled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer."""

    certificate: bytes
    address: str


async def enrol(token: Token, folder: Path) -> Badge:
    """Become the device of a token, once: with the same token again nothing changes.

    Raises WireError with the server's reason.
    """
    used = digest_of(token.secret).hex()
    with suppress(ConfigError):
        badge = badge_of(folder)
        if badge.token == used:
            return badge
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    authority = authority_pem(token.authority)
    enrolled = await _ask(token, authority, request_for(_next_key(folder), token.device))
    reached("agent.certified")
    badge = Badge(
        address=enrolled.address,
        enrol_address=token.address,
        device=token.device,
        kind=token.kind,
        token=used,
    )
    write_private(folder / "authority.pem", authority)
    write_private(folder / "certificate.pem", enrolled.certificate)
    write_private(folder / "badge.json", msgspec.json.encode(badge))
    reached("agent.enrolled")
    take_key(folder)
    return badge


async def _ask(token: Token, authority: bytes, request: bytes) -> Enrolled:
    asked = Enrol(device=token.device, request=request, proof=token.proof(request))
    nobody = Keys(key=b"", certificate=b"", authority=authority)
    answer = await call(token.address, nobody, "Enrol", msgspec.msgpack.encode(asked), CALL_S)
    return msgspec.msgpack.decode(answer, type=Enrolled)


async def renew(badge: Badge, folder: Path) -> None:
    """A new key and certificate over the session's own listener."""
    request = request_for(_next_key(folder), badge.device)
    certificate = await call(badge.address, keys_of(folder), "Renew", request, CALL_S)
    write_private(folder / "certificate.pem", certificate)
    reached("agent.renewed")
    take_key(folder)


def _next_key(folder: Path) -> bytes:
    """A key on disk before anybody is asked to certify it, so that asking again is asking for the
    same."""
    file = folder / NEXT_KEY
    if not file.exists():
        write_private(file, new_key())
        reached("agent.keyed")
    return file.read_bytes()
