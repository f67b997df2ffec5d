"""Documents: every scalar as text, every mistake with its line, nothing that blows up."""

from __future__ import annotations

from pathlib import Path

import pytest

from rating_server.documents import (
    DocumentError,
    parse_document,
    parse_json,
    parse_yaml,
    read_document,
)


def test_yaml_scalars_are_text() -> None:
    """No float, date, octal, boolean or null is made of a scalar (S1.1)."""
    text = "a: 0.1\nb: 2026-01-01\nc: 017\nd: NO\ne: ~\nf: 1e3\ng:\nh: 'q'\ni: [1, true]\n"
    assert parse_yaml(text, "f") == {
        "a": "0.1",
        "b": "2026-01-01",
        "c": "017",
        "d": "NO",
        "e": "~",
        "f": "1e3",
        "g": "",
        "h": "q",
        "i": ["1", "true"],
    }


def test_json_scalars_are_text() -> None:
    """Numbers stay as they are written, constants become words."""
    text = '{"a": 0.10, "b": 12345678901234567890123, "c": [true, null, [false]], '
    text += '"d": "\\ud83d\\ude00"}'
    assert parse_json(text, "f") == {
        "a": "0.10",
        "b": "12345678901234567890123",
        "c": ["true", "null", ["false"]],
        "d": "\U0001f600",
    }


def test_json_has_no_floats() -> None:
    """What the reader would take for a float, though JSON has no such constant, is text (S1.1)."""
    assert parse_json('{"a": NaN, "b": [Infinity, -Infinity]}', "f") == {
        "a": "NaN",
        "b": ["Infinity", "-Infinity"],
    }


def test_aliases_stand_for_what_they_name() -> None:
    """Tiers may be written once and named twice."""
    text = "a: &t [{up_to: 1}, {x: &y z}]\nb: *t\nc: *y\n"
    tiers = [{"up_to": "1"}, {"x": "z"}]
    assert parse_yaml(text, "f") == {"a": tiers, "b": tiers, "c": "z"}


def test_exponential_aliases_are_refused() -> None:
    """A document that would unfold to billions of values is refused, quickly."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(DocumentError, match="more than 1000000 values"):
        parse_yaml("\n".join(levels), "f")


MISTAKES = [
    ("id: a\nid: b\n", "f:2: the key 'id' stands twice"),
    ("a: {b: 1,\n b: 2}\n", "f:2: the key 'b' stands twice"),
    ("a: *b\n", "f:1: the alias *b names nothing before it"),
    ("a: !!python/object:os.system x\n", "f:1: tags are not supported: "),
    ("[1]: 2\n", "f:1: a key must be a text"),
    ("a: 1\n---\nb: 2\n", "f: more than one document"),
    ("a: [1\nb: 2\n", "f:2: not YAML: "),
    ("a: \x00\n", "f: not YAML: "),
    ("[" * 100 + "]" * 100, "f:1: nested deeper than 64 levels"),
    ("[" * 100_000, "f:1: nested deeper than 64 levels"),
    ("{a: " * 100_000, "f:1: nested deeper than 64 levels"),
    ("", "f: empty"),
]


@pytest.mark.parametrize(("text", "words"), MISTAKES, ids=range(len(MISTAKES)))
def test_yaml_mistakes_name_their_line(text: str, words: str) -> None:
    """Each mistake is one line with file and line number."""
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text, "f")
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1,\n"a": 2}', "f.json:2: the key 'a' stands twice"),
        ('{"a": {"b": 1, "b": 2}}', "f.json:1: the key 'b' stands twice"),
        ("[1,\n2,]", "f.json:2: not JSON: "),
        ('{"a": "\\ud83d"}', "f.json: not JSON: half a surrogate pair is no text"),
        ('{"\\udc00": 1}', "f.json: not JSON: half a surrogate pair is no text"),
        ("[" * 100_000, "f.json: nested deeper than 64 levels"),
        ("", "f.json:1: not JSON: "),
    ],
)
def test_json_mistakes_name_their_line(text: str, words: str) -> None:
    """JSON mistakes read like YAML's."""
    with pytest.raises(DocumentError) as caught:
        parse_document(text, "f.json")
    assert str(caught.value).startswith(words)


def test_files_of_any_kind(tmp_path: Path) -> None:
    """A byte order mark is no text, and what cannot be read says why."""
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_document(path) == {"a": "1"}
    with pytest.raises(DocumentError, match=r"none\.yaml: no such file or directory"):
        read_document(tmp_path / "none.yaml")
