"""By which names a server may be called: not by one of others that is turned to its address (DNS rebinding)."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")  # always this machine


@dataclass(frozen=True)
class AllowedHosts:
    """Names as a Host header has them, without a port. `addresses`: any address too, which no page of another name
    can have.
    """

    names: frozenset[str]
    any_address: bool = False

    def __contains__(self, name: object) -> bool:
        return name in self.names or (self.any_address and isinstance(name, str) and _parse_address(name) is not None)

    @property
    def description(self) -> str:
        """For people."""
        return ", ".join([*(["any address"] if self.any_address else []), *sorted(self.names)])


def allowed_hosts_for(host: str, extra_names: Iterable[str] = ()) -> AllowedHosts:
    """Those of a server that is bound to `host`, and the names that its file lists.

    Bound to all addresses (0.0.0.0, ::, or nothing) it can be reached by each of the machine's: any address is taken,
    and the machine's own name. Bound to one it is called by that, and by the machine's name where that is the same.
    """
    own = socket.gethostname().lower()
    names = {*LOCAL_NAMES, *map(_to_host_header, extra_names)}
    bound = _resolve_addresses(host)
    if any(one.is_unspecified for one in bound):
        return AllowedHosts(frozenset({*names, own} - {""}), any_address=True)
    names.add(_to_host_header(host))
    if bound & _resolve_addresses(own) and not all(one.is_loopback for one in bound):
        names.add(own)
    return AllowedHosts(frozenset(names - {""}))


def _to_host_header(name: str) -> str:
    """A name as a Host header has it: addresses of IPv6 in brackets."""
    found = _parse_address(name)
    return f"[{found.compressed}]" if found is not None and found.version == 6 else name.lower()


def _parse_address(name: str) -> Address | None:
    try:
        if name.startswith("[") and name.endswith("]"):
            return ipaddress.IPv6Address(name[1:-1])
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _resolve_addresses(name: str) -> set[Address]:
    """The addresses that a name stands for, as far as this machine knows."""
    try:
        told = {str(found[4][0]).partition("%")[0] for found in socket.getaddrinfo(name, None)}
    except (OSError, UnicodeError):
        return set()
    return {found for one in told if (found := _parse_address(one)) is not None}
