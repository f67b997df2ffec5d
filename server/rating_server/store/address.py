"""Where a store is said to be: its URL, taken apart. No I/O here.

    redis://[user:password@]host:port            one node; also rediss:// and unix://
    redis+cluster://[…@]host:port,host:port      a Redis Cluster, by any of its nodes
    redis+sentinel://[…@]host:port,…/service     the primary of a service that Sentinels watch

rediss+cluster:// and rediss+sentinel:// use TLS. Query options are those of redis-py and hold for
every node; a Sentinel's own user and password are sentinel_username and sentinel_password.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from rating_server.ports import StoreRefused

_DEFAULT_PORT = 6379
_SENTINEL_PORT = 26379
_SENTINEL_OPTIONS = {"sentinel_username": "username", "sentinel_password": "password"}

URL_FORMS = "redis://, rediss:// or unix://, redis+cluster:// or redis+sentinel://"


class StoreKind(Enum):
    """How the node of a log is found."""

    SINGLE = "one node"
    CLUSTER = "a cluster"
    SENTINEL = "a primary that Sentinels name"


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A node's address."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store's URL, taken apart.

    ``seeds`` are the nodes, or the Sentinels, that it names; none for a unix socket. ``service`` is
    what the Sentinels call it.
    """

    kind: StoreKind
    url: str
    scheme: str
    login: str
    query: str
    seeds: tuple[Node, ...]
    service: str = ""
    sentinel_login: str = ""

    def node_url(self, node: Node) -> str:
        """Return the URL of one node, as redis-py takes it."""
        return self._url(self.login, node)

    def sentinel_url(self, node: Node) -> str:
        """Return the URL of one Sentinel: the same options, but a login of its own."""
        return self._url(self.sentinel_login, node)

    def _url(self, login: str, node: Node) -> str:
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{login}{node}/{query}"


def _refused(what: str) -> StoreRefused:
    # The URL is never repeated: it may hold a password.
    return StoreRefused("STORE_URL_INVALID", f"the store's URL cannot be used: {what}")


def parse_address(url: str) -> StoreAddress:
    """Return a store's URL, taken apart. StoreRefused if it is none; it is not repeated."""
    try:
        parts = urlsplit(url)
        scheme, _, kind = parts.scheme.partition("+")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError as error:
        raise _refused(f"expected {URL_FORMS}") from error
    if kind:
        if scheme not in ("redis", "rediss") or kind not in ("cluster", "sentinel"):
            raise _refused(f"expected {URL_FORMS}")
        return _several(url, parts, scheme, StoreKind[kind.upper()], options)
    if scheme not in ("redis", "rediss", "unix"):
        raise _refused(f"expected {URL_FORMS}")
    login, _, place = parts.netloc.rpartition("@")
    if "," in place:
        raise _refused(f"several nodes are a {scheme}+cluster:// or {scheme}+sentinel:// URL")
    if scheme == "unix":
        # The nodes of a cluster beside the one with this socket are reached over TCP.
        login = ":".join(quote(options.pop(name, "")) for name in ("username", "password"))
        options.pop("db", None)
        login = "" if login == ":" else f"{login}@"
        return StoreAddress(StoreKind.SINGLE, url, "redis", login, urlencode(options), ())
    return StoreAddress(
        StoreKind.SINGLE,
        url,
        scheme,
        f"{login}@" if login else "",
        parts.query,
        (_node(place, _DEFAULT_PORT),),
    )


def _several(
    url: str, parts: SplitResult, scheme: str, kind: StoreKind, options: dict[str, str]
) -> StoreAddress:
    login, _, places = parts.netloc.rpartition("@")
    path = parts.path.strip("/")
    port = _DEFAULT_PORT
    sentinel_login = ""
    if kind is StoreKind.SENTINEL:
        port = _SENTINEL_PORT
        if not path or "/" in path:
            raise _refused("name the service: redis+sentinel://host:port/<service>")
        named = [quote(options.pop(name, "")) for name in _SENTINEL_OPTIONS]
        sentinel_login = f"{':'.join(named)}@" if any(named) else ""
    elif path not in ("", "0") or options.get("db", "0") != "0":
        raise _refused("a cluster has no numbered databases: end it after the nodes")
    return StoreAddress(
        kind,
        url,
        scheme,
        f"{login}@" if login else "",
        urlencode(options),
        tuple(_node(place, port) for place in places.split(",")),
        path if kind is StoreKind.SENTINEL else "",
        sentinel_login,
    )


def _node(place: str, default_port: int) -> Node:
    """Return the address that a URL writes as host, host:port or [IPv6]:port."""
    host, colon, port = place, "", ""
    if not place.endswith("]"):
        host, colon, port = place.rpartition(":")
        if not colon:
            host, port = place, ""
    host = host.removeprefix("[").removesuffix("]")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise _refused(f"expected host:port, several with commas between: {URL_FORMS}")
    if not host:
        if not colon and default_port == _DEFAULT_PORT:
            host = "localhost"
        else:
            raise _refused(f"expected host:port, several with commas between: {URL_FORMS}")
    return Node(host, int(port) if port else default_port)
