"""When a device's certificate is renewed, and the keys that it has until then."""

from pathlib import Path

import msgspec

from .keys import NEXT_KEY, Keys, take_key, write_private
from .protocol import digest_of

RENEWAL = "renewal.json"


class Renewal(msgspec.Struct, frozen=True, kw_only=True):
    """When a certificate is to be renewed."""

    certificate: str
    """The digest of the certificate."""
    due_s: float


def keys_of(folder: Path) -> Keys:
    """The key is the one that the certificate is for: power may have failed between the two
    files."""
    certificate, authority = (
        (folder / f"{name}.pem").read_bytes() for name in ("certificate", "authority")
    )
    if (folder / NEXT_KEY).exists():
        from .identity import belongs

        if belongs((folder / NEXT_KEY).read_bytes(), certificate):
            take_key(folder)
    return Keys(key=(folder / "key.pem").read_bytes(), certificate=certificate, authority=authority)


def renewal_due(folder: Path, now_s: float) -> bool:
    """Whether it is time for a new certificate. The answer is worked out once for each, and kept
    beside it."""
    certificate = (folder / "certificate.pem").read_bytes()
    digest = digest_of(certificate).hex()
    try:
        renewal = msgspec.json.decode((folder / RENEWAL).read_bytes(), type=Renewal)
    except (OSError, msgspec.DecodeError):
        renewal = None
    if renewal is None or renewal.certificate != digest:
        from .identity import renewal_s

        renewal = Renewal(certificate=digest, due_s=renewal_s(certificate))
        write_private(folder / RENEWAL, msgspec.json.encode(renewal))
    return now_s >= renewal.due_s
