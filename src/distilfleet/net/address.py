"""HOST:PORT as people write it, read in one place: names, IPv4, and IPv6 in brackets."""

import errno
import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ..core.errors import ConfigError

MOST_PORT = 65535
MOST_NAME = 253
MOST_SHOWN = 80
"""A host's name and what a message shows of it have at most so many characters."""
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,18}:/")
_PORT = re.compile(r"[0-9]{1,9}")
TAKEN = "is in use by another program, perhaps another server"
WHY = {
    errno.EADDRINUSE: TAKEN,
    errno.EADDRNOTAVAIL: "is no address of this machine",
    errno.EACCES: "may not be listened on by this user; ports from 1024 on may",
    errno.EAFNOSUPPORT: "is of a kind that this machine has not",
}
"""What a system says to who wants to listen -> what that means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host in its one spelling (small letters, no brackets, no dot at the end), and a port."""

    host: str
    port: int

    @staticmethod
    def read(text: str, least_port: int = 1) -> "Address":
        """Raises ConfigError, which shows what was read and says what is the matter with it."""
        try:
            return _read(text.strip(), least_port)
        except ConfigError as fault:
            raise ConfigError(f"{_shown(text)} is no address; write HOST:PORT: {fault}") from None

    def at(self, host: str) -> "Address":
        """The same port elsewhere."""
        return Address(host=host, port=self.port)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_anywhere(self) -> bool:
        """Whether it is the address by which a machine means all that it has."""
        return is_ip(self.host) and _ip(self.host).is_unspecified

    @property
    def nearby(self) -> "Address":
        """Where somebody on this machine finds what listens here."""
        return self.at("::1" if ":" in self.host else "127.0.0.1") if self.is_anywhere else self

    @property
    def is_loopback(self) -> bool:
        """Whether it never leaves this machine, by its spelling alone."""
        if is_ip(self.host):
            return _ip(self.host).is_loopback
        return self.host == "localhost" or self.host.endswith(".localhost")


def host_of(text: str) -> str:
    """A host without a port in its one spelling; IPv6 with or without brackets. Raises
    ConfigError."""
    try:
        return _host(text.strip())
    except ConfigError as fault:
        raise ConfigError(f"{_shown(text)} is no host: {fault}") from None


def is_ip(host: str) -> bool:
    """Whether a host is an IPv4 or IPv6 address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def all_of(address: Address) -> list[Address]:
    """Where a name is listened on: at all its addresses, 127.0.0.1 before ::1. Raises ConfigError
    if it has none."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise ConfigError(f"{address.host} is no name or address that this machine knows") from None
    hosts = {str(where[0]): family for family, _, _, _, where in found}
    return [address.at(host) for host in sorted(hosts, key=lambda host: (hosts[host], host))]


def why_not(address: Address) -> str:
    """Why nobody can listen at one address now; empty if somebody could."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        with socket.create_server((address.host, address.port), family=family):
            return ""
    except OSError as fault:
        code = fault.errno or 0
        return f"{address} {WHY.get(code, f'cannot be had ({errno.errorcode.get(code, code)})')}"


def _read(text: str, least_port: int) -> Address:
    """Raises ConfigError with the reason alone, as all below."""
    _check_kind(text)
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ConfigError("a bracket is open")
        if not rest.startswith(":"):
            raise ConfigError(f"it has no port, as [{_six(inner)}]:7443 has")
        return Address(host=_six(inner), port=_port(rest[1:], least_port))
    host, colon, port = text.rpartition(":")
    if ":" in host:
        raise ConfigError("an IPv6 address is put in brackets before its port, as in [::1]:7443")
    if not colon:
        raise ConfigError("it has no port")
    return Address(host=_host(host), port=_port(port, least_port))


def _host(text: str) -> str:
    _check_kind(text)
    if not text:
        raise ConfigError("the host is missing")
    if ":" in text:
        return _six(text.removeprefix("[").removesuffix("]"))
    return str(_ip(text)) if is_ip(text) else _name(text)


def _check_kind(text: str) -> None:
    """What is an address elsewhere, and not here."""
    if _SCHEME.match(text):
        raise ConfigError(
            f"it is a URL; leave out {text.partition('/')[0][:20]}// and what comes after the port"
        )
    if "/" in text or text.startswith("unix:"):
        raise ConfigError("it is a path, which no other machine can reach")
    if "@" in text:
        raise ConfigError("a user or password is no part of it")


def _ip(host: str) -> IPv4Address | IPv6Address:
    found = ip_address(host)
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found


def _six(text: str) -> str:
    if "%" in text:
        zone = text.partition("%")[2][:20]
        raise ConfigError(
            f"its zone, %{zone}, is of one machine alone; take a name, or an address that all know"
        )
    if ":" not in text or not is_ip(text):
        raise ConfigError(f"{_shown(text)} is no IPv6 address")
    return str(_ip(text))


def _name(text: str) -> str:
    written = text.removesuffix(".").lower()
    name = written if written.isascii() else _in_dns(written)
    labels = name.split(".")
    if len(name) > MOST_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError(f"{_shown(text)} is no name of a host")
    if _NUMBER.fullmatch(labels[-1]):
        raise ConfigError(
            f"{_shown(text)} is no IPv4 address: it has four numbers from 0 to 255, none written "
            "as 01"
        )
    return name


def _in_dns(text: str) -> str:
    """Letters of other scripts as DNS has them, of which none may be taken for another or left out
    on the way."""
    from unicodedata import normalize  # an agent has no memory to spare for what it seldom needs

    written = normalize("NFC", text)
    try:
        name = written.encode("idna").decode("ascii").lower()
        same = name.encode("ascii").decode("idna") == written
    except UnicodeError:
        return ""
    if not same:
        raise ConfigError(
            f"{_shown(text)} can be read as several names; write the one of DNS, xn--..."
        )
    return name


def _port(text: str, least: int) -> int:
    if not text:
        raise ConfigError("the port is missing")
    if not _PORT.fullmatch(text) or not least <= int(text) <= MOST_PORT:
        raise ConfigError(f"{_shown(text)} is no port; there are those from {least} to {MOST_PORT}")
    return int(text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}...")
