"""Which proxy of the environment a connection goes through, decided here so that a message can name
it.

As curl, and gRPC by itself, have it: `grpc_proxy`, `https_proxy`, `http_proxy`, in small or capital
letters, the first that is set; and none for what `no_grpc_proxy` or `no_proxy` lists. What stays on
this machine never goes through one.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from .address import Address, is_ip

PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")
_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<user>[^/]*@)?(?P<place>[^/@\s]+)/?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """One that opens connections with HTTP CONNECT."""

    place: str
    """HOST:PORT."""
    user: str
    """USER:PASSWORD@, or empty: for nobody's eyes."""
    variable: str
    """The variable of the environment that names the proxy."""

    @property
    def url(self) -> str:
        """The proxy as gRPC takes it, user and password included."""
        return f"http://{self.user}{self.place}"

    def __str__(self) -> str:
        return f"the proxy {self.place} (from {self.variable})"


def proxy_for(address: Address, environment: Mapping[str, str] | None = None) -> Proxy | None:
    """None if connections there are direct."""
    given = os.environ if environment is None else environment
    if address.is_loopback or _is_excepted(address, given):
        return None
    for variable in PROXIES:
        named = _named(variable, given)
        if named is not None:
            return _proxy(*named)
    return None


def _named(variable: str, given: Mapping[str, str]) -> tuple[str, str] | None:
    """What is set, and under which of its two spellings."""
    spellings = (variable, variable.upper())
    return next(
        ((name, given[name].strip()) for name in spellings if given.get(name, "").strip()), None
    )


def _proxy(variable: str, url: str) -> Proxy | None:
    """None for kinds that cannot carry a session (socks, TLS to the proxy): as gRPC, which goes
    without."""
    found = _URL.fullmatch(url)
    if found is None or (found["scheme"] or "http").lower() != "http":
        return None
    return Proxy(place=found["place"], user=found["user"] or "", variable=variable)


def _is_excepted(address: Address, given: Mapping[str, str]) -> bool:
    listed = next(
        (named[1] for name in EXCEPTIONS if (named := _named(name, given)) is not None), ""
    )
    return any(_covers(entry.lower(), address) for entry in re.split(r"[,\s]+", listed) if entry)


def _covers(entry: str, address: Address) -> bool:
    """Of `no_proxy`: everything, a host, all names under one, or a network; with or without a
    port."""
    host, colon, port = entry.rpartition(":")
    if colon and port.isdecimal() and (":" not in host or host.endswith("]")):
        return int(port) == address.port and _covers(host, address)
    entry = entry.strip("[]").removeprefix("*.").strip(".")
    if entry == "*":
        return True
    if is_ip(address.host):
        return _holds(entry, address.host)
    return address.host == entry or address.host.endswith(f".{entry}")


def _holds(network: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(network, strict=False)
    except ValueError:
        return False
