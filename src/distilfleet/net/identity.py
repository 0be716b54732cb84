"""Who is who: a certificate authority, one-time tokens, certificates of seven days, and a list of
who is denied.

A device makes its own key. Its token holds the authority's certificate, so that the device knows
the server before it says a word, and a secret that is never sent: the request carries its HMAC.
Only elliptic-curve keys are issued, which `transport` relies on to refuse TLS 1.2.
"""

import hmac
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..core.disk import write_atomically
from ..core.errors import RecordError, WireError
from ..core.types import DeviceId
from .address import host_of, is_ip
from .database import asking, open_database, storing_whole
from .keys import Keys, Peer, Token, write_private

DAY_S = 86_400.0
LIFE_S = 7 * DAY_S
SERVER_LIFE_S = 90 * DAY_S
AUTHORITY_LIFE_S = 3650 * DAY_S
RENEW_AT_SHARE = 2 / 3
SKEW_S = 300.0
"""The clock of a device may be behind by so much."""
URN = "urn:distilfleet:device:"
RESTORE = (
    "It says which devices are of this fleet and which are shut out. Restore the server's folder "
    "from a copy that `distilfleet backup` made; or move `authority` away: then every device needs "
    "a new token, see docs/operations.md."
)
SCHEMA = """
create table if not exists tokens (
    device text primary key, secret blob, expires_s real
) without rowid;
create table if not exists used (
    device text primary key, secret blob, expires_s real, key blob
) without rowid;
create table if not exists denied (device text primary key) without rowid;
"""


# --- the authority --------------------------------------------------------------------------------


class Authority:
    """Issues and denies. One folder, readable by its owner alone."""

    def __init__(self, folder: Path, life_s: float = LIFE_S) -> None:
        """Certificates of devices are good for `life_s`. Raises RecordError if the folder is
        damaged."""
        self._life_s = life_s
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        base = folder / "identity.sqlite"
        founded = folder / "identity.sqlite.new"
        if not (folder / "authority.pem").exists():
            _found(folder, founded)
        if founded.exists():
            founded.replace(base)
        self._key, self.certificate = _pair(folder)
        _check_whole(base)
        self._base = open_database(base, SCHEMA, RESTORE)

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the authority's certificate, in hexadecimal digits."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()

    def token(
        self, device: DeviceId, kind: str, address: str, lasting_s: float, now_s: float
    ) -> Token:
        """A new one; an older one of this device is void. Whoever holds it becomes the device."""
        secret = os.urandom(16)
        expires_s = now_s + lasting_s
        with storing_whole(self._base):
            self._base.execute(
                "insert or replace into tokens values (?, ?, ?)", (device, secret, expires_s)
            )
            self._base.execute("delete from used where device = ?", (device,))
            self._base.execute("delete from denied where device = ?", (device,))
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return Token(
            address=address,
            device=device,
            kind=kind,
            authority=der,
            secret=secret,
            expires_s=expires_s,
        )

    def enrol(self, device: DeviceId, request: bytes, proof: bytes, now_s: float) -> bytes:
        """A certificate for a token, which is then good for this key alone: an answer may be lost.

        Raises WireError with the reason.
        """
        tokens = (
            "select secret, expires_s, null from tokens where device = ? union select secret, "
            "expires_s, key from"
        )
        row = self._row(f"{tokens} used where device = ?", device, device)
        if row is None:
            raise WireError("no token, or used already")
        secret, expires_s, used_key = row
        if now_s > expires_s:
            raise WireError("token expired")
        if not hmac.compare_digest(hmac.digest(secret, request, "sha256"), proof):
            raise WireError("wrong proof")
        certificate = self.sign(device, request, now_s)
        key = _public(x509.load_der_x509_csr(request))
        if used_key not in (None, key):
            raise WireError("no token, or used already")
        with storing_whole(self._base):
            self._base.execute("delete from tokens where device = ?", (device,))
            self._base.execute(
                "insert or replace into used values (?, ?, ?, ?)", (device, secret, expires_s, key)
            )
        return certificate

    def sign(self, device: DeviceId, request: bytes, now_s: float) -> bytes:
        """A certificate for the key in a request; nothing else of the request counts. Raises
        WireError."""
        try:
            asked = x509.load_der_x509_csr(request)
            key = asked.public_key()
            sound = asked.is_signature_valid
        except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion):
            raise WireError("unreadable certificate request") from None
        if not sound or not isinstance(key, ec.EllipticCurvePublicKey):
            raise WireError("a certificate request has an elliptic-curve key and is signed by it")
        return self._issue(
            key, f"{URN}{device}", [x509.UniformResourceIdentifier(f"{URN}{device}")], now_s
        )

    def server_keys(self, names: Sequence[str], now_s: float) -> Keys:
        """A fresh key for the server under these host names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._issue(
            key.public_key(), names[0], [_name(name) for name in names], now_s
        )
        return Keys(key=_pem(key), certificate=certificate, authority=self.pem)

    def deny(self, device: DeviceId) -> None:
        """From now on; a new token lets it in again."""
        with storing_whole(self._base):
            self._base.execute("insert or ignore into denied values (?)", (device,))
            self._base.execute("delete from tokens where device = ?", (device,))
            self._base.execute("delete from used where device = ?", (device,))

    def denied(self, device: DeviceId) -> bool:
        """Whether a device is shut out. Raises StorageError if nobody can know."""
        return self._row("select 1 from denied where device = ?", device) is not None

    def _row(self, query: str, *values: str) -> tuple[Any, ...] | None:
        with asking(self._base):
            row: tuple[Any, ...] | None = self._base.execute(query, values).fetchone()
            return row

    def close(self) -> None:
        """Let go of the database."""
        self._base.close()

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        common: str,
        names: Sequence[x509.GeneralName],
        now_s: float,
    ) -> bytes:
        device = common.startswith(URN)
        use = ExtendedKeyUsageOID.CLIENT_AUTH if device else ExtendedKeyUsageOID.SERVER_AUTH
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[-64:])])
        life_s = self._life_s if device else SERVER_LIFE_S
        builder = _builder(subject, self.certificate.subject, key, now_s, life_s)
        builder = builder.add_extension(
            x509.BasicConstraints(ca=False, path_length=None), critical=True
        )
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _found(folder: Path, base: Path) -> None:
    """A new authority. Its database gets its name last, so that one that is missing later is known
    to be lost."""
    certificate = folder / "authority.pem"
    if (folder / "identity.sqlite").exists():
        raise RecordError(f"{certificate} is missing. {RESTORE}")
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(folder / "authority.key", _pem(key))
    open_database(base, SCHEMA, RESTORE).close()
    write_atomically(certificate, _self_signed(key).public_bytes(serialization.Encoding.PEM))


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "distilfleet authority")])
    now_s = datetime.now(UTC).timestamp()
    builder = _builder(name, name, key.public_key(), now_s, AUTHORITY_LIFE_S)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256())


def _pair(folder: Path) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """The authority's own. Raises RecordError."""
    files = folder / "authority.key", folder / "authority.pem"
    try:
        key = _private(files[0].read_bytes())
        certificate = x509.load_pem_x509_certificate(files[1].read_bytes())
    except (OSError, ValueError, TypeError, AssertionError, UnsupportedAlgorithm) as fault:
        raise RecordError(
            f"{files[0]} and {files[1]} cannot both be read: {fault}. {RESTORE}"
        ) from None
    if _public(key) != _public(certificate):
        raise RecordError(f"{files[0]} is not the key of {files[1]}. {RESTORE}")
    return key, certificate


def _check_whole(base: Path) -> None:
    """An empty one would let in whoever was shut out: it was copied without its -wal, or lost.
    Raises RecordError."""
    if not base.exists() or not base.stat().st_size:
        raise RecordError(f"{base} is missing or empty. {RESTORE}")


def peer_of(certificate: bytes) -> Peer:
    """Raises WireError if this is no device's certificate."""
    try:
        read = x509.load_pem_x509_certificate(certificate)
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound):
        raise WireError("unreadable certificate") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if len(uris) != 1 or not uris[0].startswith(URN) or ExtendedKeyUsageOID.CLIENT_AUTH not in uses:
        raise WireError("not a device's certificate")
    return Peer(uris[0].removeprefix(URN), read.not_valid_after_utc.timestamp())


# --- the device -----------------------------------------------------------------------------------


def new_key() -> bytes:
    """PEM, and stays here."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def new_request(device: DeviceId) -> tuple[bytes, bytes]:
    """A key and its request."""
    key = new_key()
    return key, request_for(key, device)


def request_for(key: bytes, device: DeviceId) -> bytes:
    """A certificate request, DER."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, device[-64:])])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(_private(key), hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.DER)


def belongs(key: bytes, certificate: bytes) -> bool:
    """Whether the certificate is for this key."""
    return _public(x509.load_pem_x509_certificate(certificate)) == _public(_private(key))


def renewal_s(certificate: bytes) -> float:
    """When two thirds of its life are over."""
    read = x509.load_pem_x509_certificate(certificate)
    began_s = read.not_valid_before_utc.timestamp()
    ends_s = read.not_valid_after_utc.timestamp()
    return began_s + RENEW_AT_SHARE * (ends_s - began_s)


def authority_pem(der: bytes) -> bytes:
    """An authority's certificate in PEM, from DER as a token holds it."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now_s: float,
    life_s: float,
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now_s, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - timedelta(seconds=SKEW_S))
        .not_valid_after(start + timedelta(seconds=life_s))
    )


def _name(name: str) -> x509.GeneralName:
    host = host_of(name)
    return x509.IPAddress(ip_address(host)) if is_ip(host) else x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = (
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return key.private_bytes(*form)


def _public(
    of: ec.EllipticCurvePrivateKey | x509.Certificate | x509.CertificateSigningRequest,
) -> bytes:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return of.public_key().public_bytes(*form)


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key
