"""Pages of a list that is sorted by a unique text key (AIP-158)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from typing import TypeVar

from rating_server.usecases.failure import invalid

PAGE_SIZE_DEFAULT = 100
PAGE_SIZE_MAX = 1_000

T = TypeVar("T")


Scope = Sequence[str | int | None]
"""What a list is of: its name, then parent and filters. Tokens of another one are refused."""


def page_of(
    items: Sequence[T], key: Callable[[T], str], page_size: int, page_token: str, scope: Scope
) -> tuple[list[T], str]:
    """Return one page of ``items``, which are sorted by ``key``, and the token of the next page.

    The token names the last key shown, so a page stays right when items are added before it.
    InvalidRequest for a negative size, and for a token that is none of this ``scope``.
    """
    size = size_of_page(page_size)
    after = decode_token(page_token, scope) if page_token else None
    rest = [item for item in items if after is None or key(item) > after]
    page = rest[:size]
    return page, encode_token(key(page[-1]), scope) if len(rest) > size else ""


def size_of_page(page_size: int) -> int:
    """Return how many results a page holds at most; InvalidRequest for a negative size."""
    if page_size < 0:
        raise invalid("page_size", "NEGATIVE", "expected 0 or more")
    return min(page_size or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)


def encode_token(key: str, scope: Scope) -> str:
    """Return the page token that stands for the last key of a page of the list ``scope``."""
    return base64.urlsafe_b64encode((_head(scope) + key).encode()).decode()


def decode_token(token: str, scope: Scope) -> str:
    """Return the key of a page token; InvalidRequest for text that is none of this ``scope``."""
    try:
        text = base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise invalid("page_token", "BAD_PAGE_TOKEN", "not a token of this list") from error
    head = _head(scope)
    if not text.startswith(head):
        expected = "not a token of this list: parent and filters must be those of the page before"
        raise invalid("page_token", "BAD_PAGE_TOKEN", expected)
    return text[len(head) :]


def _head(scope: Scope) -> str:
    # JSON holds no raw newline, so that no scope can be the start of another.
    return json.dumps(list(scope), separators=(",", ":")) + "\n"
