"""URLs of stores: what each form names, and one line for each mistake."""

from __future__ import annotations

import pytest

from rating_server.ports import StoreRefused
from rating_server.store.address import Node, StoreKind, parse_address
from rating_server.store.usage_store import RedisUsageStore, UsageStoreOptions


def test_one_node_keeps_its_url() -> None:
    """A node's or socket's URL is passed on as it is written."""
    for url in ("redis://h", "rediss://u:p@h:1/2?x=y", "unix:///run/store.s?db=1"):
        address = parse_address(url)
        assert (address.kind, address.url) == (StoreKind.SINGLE, url)
    assert parse_address("redis://h").seeds == (Node("h", 6379),)
    assert parse_address("unix://u:p@/s").seeds == ()


def test_a_cluster_is_named_by_several_nodes() -> None:
    """Every node gets the login, the TLS and the options of the one URL."""
    address = parse_address("rediss+cluster://me:s%40d@a:1,b,[2001:db8::1]:3/0?ssl_ca_certs=/c.pem")
    assert address.kind is StoreKind.CLUSTER
    assert address.seeds == (Node("a", 1), Node("b", 6379), Node("2001:db8::1", 3))
    urls = [address.node_url(node) for node in address.seeds]
    assert urls[0] == "rediss://me:s%40d@a:1/?ssl_ca_certs=%2Fc.pem"
    assert urls[2] == "rediss://me:s%40d@[2001:db8::1]:3/?ssl_ca_certs=%2Fc.pem"


def test_sentinels_have_a_login_of_their_own() -> None:
    """The store's login is never shown to a Sentinel, and the other way round."""
    address = parse_address(
        "redis+sentinel://me:secret@a,b:2/usage?sentinel_username=s&sentinel_password=t%3A&db=1"
    )
    assert (address.kind, address.service) == (StoreKind.SENTINEL, "usage")
    assert address.seeds == (Node("a", 26379), Node("b", 2))
    assert address.node_url(Node("c", 3)) == "redis://me:secret@c:3/?db=1"
    assert address.sentinel_url(Node("a", 26379)) == "redis://s:t%3A@a:26379/?db=1"
    plain = parse_address("redis+sentinel://:secret@a/usage")
    assert plain.sentinel_url(plain.seeds[0]) == "redis://a:26379/"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://secret", "expected redis://"),
        ("secret:6379", "expected redis://"),
        ("unix+cluster://secret", "expected redis://"),
        ("redis+other://secret", "expected redis://"),
        ("redis://secret,b", "redis\\+cluster:// or redis\\+sentinel:// URL"),
        ("redis+cluster://secret:x", "expected host:port"),
        ("redis+cluster://secret:0", "expected host:port"),
        ("redis+cluster://secret:65536", "expected host:port"),
        ("redis+cluster://secret,:1", "expected host:port"),
        ("redis+cluster://secret/1", "no numbered databases"),
        ("redis+cluster://secret?db=3", "no numbered databases"),
        ("redis+sentinel://secret", "name the service"),
        ("redis+sentinel://secret/a/b", "name the service"),
        ("redis+sentinel:///usage", "expected host:port"),
    ],
)
def test_a_mistake_is_named_without_the_url(url: str, words: str) -> None:
    """The line says what is expected, and never repeats what may hold a password."""
    with pytest.raises(StoreRefused, match=words) as refused:
        parse_address(url)
    assert refused.value.reason == "STORE_URL_INVALID"
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_refuses_a_bad_url_before_it_does_anything() -> None:
    """No kernel is compiled and no node asked for a URL that is none."""
    with pytest.raises(StoreRefused, match="name the service"):
        RedisUsageStore(UsageStoreOptions(url="redis+sentinel://h"))
