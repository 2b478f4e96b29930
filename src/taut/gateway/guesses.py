"""Wrong keys per peer address, so that nobody can try one after the other.

Random keys need no such guard; a key that an operator made up does. Behind a load balancer many clients have one
address, so those whose key was right there before are still let in: one client with a stale key shuts out nobody who
is at work. Each worker process counts for itself.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

WRONG_AT_MOST = 20
"""Wrong keys of one peer within `WINDOW_S`; more are not looked at."""
WINDOW_S = 60.0
MAX_PEERS = 4096
"""Peers to remember; beyond that the one that was quiet for longest is forgotten."""
MAX_HOLDERS = 256
"""Names of holders to remember per peer."""
IPV6_SITE_BITS = 64
"""One customer's line has a network of this size, and may change its address within it at will."""


@dataclass(slots=True)
class Peer:
    """What is known about one address."""

    wrong_at_s: deque[float] = field(default_factory=lambda: deque(maxlen=WRONG_AT_MOST))
    holders: set[str] = field(default_factory=set)
    """Names whose key was right from here."""


class Guesses:
    """Wrong and right keys per peer."""

    __slots__ = ("_clock", "_peers")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._peers: OrderedDict[str, Peer] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """Seconds for which further keys from there are not looked at; 0 while they are."""
        peer = self._peers.get(_site(address))
        if peer is None or len(peer.wrong_at_s) < WRONG_AT_MOST:
            return 0.0
        return max(0.0, peer.wrong_at_s[0] + WINDOW_S - self._clock())

    def wrong(self, address: str) -> None:
        """A wrong key came from there."""
        self._peer(address).wrong_at_s.append(self._clock())

    def right(self, address: str, holder: str) -> None:
        """A right key came from there."""
        holders = self._peer(address).holders
        if len(holders) < MAX_HOLDERS:
            holders.add(holder)

    def has_met(self, address: str, holder: str) -> bool:
        """Whether this holder's key was right from there before."""
        peer = self._peers.get(_site(address))
        return peer is not None and holder in peer.holders

    def _peer(self, address: str) -> Peer:
        site = _site(address)
        peer = self._peers.setdefault(site, Peer())
        self._peers.move_to_end(site)
        if len(self._peers) > MAX_PEERS:
            self._peers.popitem(last=False)
        return peer


def _site(address: str) -> str:
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(found), IPV6_SITE_BITS), strict=False))
