"""What a device has of its identity, without what it takes to make or read certificates.

Reading one loads a library of nine megabytes, a seventh of what a device's agent may have; so an
idle agent does not.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..core.disk import write_atomically
from ..core.errors import ConfigError
from ..core.types import DeviceId
from .protocol import digest_of

NEXT_KEY = "key.pem.next"
"""The file of a new key until its certificate is on disk."""
CHECK_BYTES = 4
"""A token ends with so many bytes of its digest, which say that it was copied whole."""
NO_TOKEN = (
    "this is no token, or not all of it; "  # noqa: S105
    "`distilfleet enrol create --device NAME` prints one"
)


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator carries to a device, once."""

    address: str
    """The address of the enrolment listener, HOST:PORT."""
    device: DeviceId
    kind: str
    """The device's row of the catalogue."""
    authority: bytes
    """The authority's certificate, DER."""
    secret: bytes
    expires_s: float

    def text(self) -> str:
        """The token as it is copied: URL-safe base64, a check at its end."""
        data = msgspec.msgpack.encode(self)
        return urlsafe_b64encode(data + digest_of(data)[:CHECK_BYTES]).decode().rstrip("=")

    @staticmethod
    def read(text: str) -> "Token":
        """Raises ConfigError."""
        try:
            whole = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            data = whole[:-CHECK_BYTES]
            check = whole[-CHECK_BYTES:]
            token = msgspec.msgpack.decode(data, type=Token)
        except (ValueError, msgspec.DecodeError):
            raise ConfigError(NO_TOKEN) from None
        if digest_of(data)[:CHECK_BYTES] != check:
            raise ConfigError(NO_TOKEN)
        return token

    def proof(self, request: bytes) -> bytes:
        """The HMAC of a certificate request, by which the authority knows that the secret is
        known."""
        return hmac.digest(self.secret, request, "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """What one end of a TLS connection shows and trusts; PEM."""

    key: bytes
    certificate: bytes
    authority: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, from a certificate that TLS has checked."""

    device: DeviceId
    expires_s: float
    instance: str = ""
    """The agent's process, by a name of its own choice: two agents with one identity have two.
    Empty if it has none."""


class Badge(msgspec.Struct, frozen=True, kw_only=True):
    """What an enrolled device is and where its server is."""

    address: str
    enrol_address: str
    device: DeviceId
    kind: str
    token: str = ""
    """The digest of the token that was used."""


def badge_of(folder: Path) -> Badge:
    """Raises ConfigError if this device is not enrolled."""
    try:
        return msgspec.json.decode((folder / "badge.json").read_bytes(), type=Badge)
    except (OSError, msgspec.DecodeError):
        raise ConfigError(
            f"{folder}: not enrolled; start once with --token, from `enrol create`"
        ) from None


def take_key(folder: Path) -> None:
    """The next key is the device's from now on; its certificate is on disk."""
    (folder / NEXT_KEY).replace(folder / "key.pem")


def write_private(file: Path, data: bytes) -> None:
    """For the owner's eyes; all of it or nothing."""
    write_atomically(file, data, 0o600)
