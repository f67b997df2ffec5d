"""Reading YAML and JSON files: every scalar as text, duplicate keys are errors (S1.1).

A file becomes a tree of dict, list and str, as `rating_core.plan.document` takes it: no floats, no
dates, no octals, and `NO` stays a text. What cannot be read is one line that names file and line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZE_MAX = 8 * 1024 * 1024
"""Greatest size of a document file in bytes."""
DEPTH_MAX = 64
NODES_MAX = 1_000_000
"""Greatest number of nodes of a document, aliases counted as often as they stand."""


class DocumentError(Exception):
    """A file that is no document. ``str()`` is one line: `file:line: what is wrong`."""

    def __init__(self, name: str, message: str, line: int | None = None) -> None:
        self.name = name
        self.line = line
        self.message = message
        where = name if line is None else f"{name}:{line}"
        super().__init__(f"{where}: {message}")


class _DuplicateKeyError(ValueError):
    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(key)


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file of at most 8 MiB, without a byte order mark.

    Raises DocumentError if there is no such file, or it is too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
    except OSError as error:
        raise DocumentError(str(path), (error.strerror or str(error)).lower()) from None
    return decode_text(data, str(path))


def decode_text(data: bytes, name: str) -> str:
    """Return the text of a document's bytes; DocumentError if too large or not UTF-8."""
    if len(data) > SIZE_MAX:
        raise DocumentError(name, f"larger than {SIZE_MAX // 1024 // 1024} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DocumentError(name, "not UTF-8 text", line) from None


def read_document(path: Path) -> object:
    """Return the tree of a `.json` file, or of any other file read as YAML.

    Raises DocumentError with file and line.
    """
    return parse_document(read_text(path), str(path))


def parse_document(text: str, name: str) -> object:
    """Return the tree of a JSON or YAML text; ``name`` is the file's, `-` for standard input."""
    if name.endswith(".json") or (name == "-" and text.lstrip()[:1] in ("{", "[")):
        return parse_json(text, name)
    return parse_yaml(text, name)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return {key: _scalar(value) for key, value in mapping.items()}


def _scalar(value: Any) -> Any:
    """Return what JSON reads as a constant as the text that stands in the file."""
    if value is True or value is False:
        return "true" if value else "false"
    if value is None:
        return "null"
    if isinstance(value, list):
        return [_scalar(item) for item in value]
    return value


def parse_json(text: str, name: str, line: int | None = None) -> object:
    """Return the tree of a JSON text, numbers as they are written.

    ``line`` is the number of the text's only line in its file. Raises DocumentError.
    """
    try:
        # NaN and Infinity, which are no JSON, as text too: elsewhere they would be floats
        tree = json.loads(
            text, parse_int=str, parse_float=str, parse_constant=str, object_pairs_hook=_pairs
        )
        if "\\u" in text:  # an escape may leave a text that no message or file can hold
            json.dumps(tree, ensure_ascii=False).encode()
        return _scalar(tree)
    except _DuplicateKeyError as error:
        at = line if line is not None else _line_of_duplicate(text, name)
        raise DocumentError(name, f"the key {_shown(error.key)} stands twice", at) from None
    except UnicodeEncodeError:
        raise DocumentError(name, "not JSON: half a surrogate pair is no text", line) from None
    except json.JSONDecodeError as error:
        at = error.lineno if line is None else line
        message = f"not JSON: {error.msg} (column {error.colno})"
        raise DocumentError(name, message, at) from None
    except RecursionError:
        raise DocumentError(name, f"nested deeper than {DEPTH_MAX} levels", line) from None


def _line_of_duplicate(text: str, name: str) -> int | None:
    """Return the line of a key that JSON's reader found twice; it does not tell where."""
    try:
        parse_yaml(text, name)
    except DocumentError as error:
        return error.line if "stands twice" in error.message else None
    return None


def _shown(key: str) -> str:
    return ascii(key if len(key) <= 40 else key[:40] + "...")


class _Tree:
    """Builds the tree from YAML events without recursion, so that no nesting is too deep for it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._root: list[Any] = []
        self._stack: list[tuple[Any, str | None, int]] = [(self._root, None, 0)]
        self._keys: list[str | None] = [None]
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._nodes = 0

    def fail(self, message: str, line: int) -> DocumentError:
        return DocumentError(self._name, message, line + 1)

    def add(self, value: Any, line: int, size: int = 1) -> None:
        """Put a value where the document stands: as a list item, a key or a key's value."""
        self._nodes += size
        if self._nodes > NODES_MAX:
            raise self.fail(f"more than {NODES_MAX} values", line)
        container = self._stack[-1][0]
        if isinstance(container, list):
            container.append(value)
        elif self._keys[-1] is None:
            if not isinstance(value, str):
                raise self.fail("a key must be a text", line)
            if value in container:
                raise self.fail(f"the key {_shown(value)} stands twice", line)
            self._keys[-1] = value
        else:
            container[self._keys[-1]] = value
            self._keys[-1] = None

    def scalar(self, text: str, anchor: str | None, line: int) -> None:
        self.add(text, line)
        if anchor is not None:
            self._anchors[anchor] = (text, 1)

    def open(self, container: Any, anchor: str | None, line: int) -> None:
        if len(self._stack) > DEPTH_MAX:
            raise self.fail(f"nested deeper than {DEPTH_MAX} levels", line)
        self.add(container, line)
        self._stack.append((container, anchor, self._nodes))
        self._keys.append(None)

    def close(self) -> None:
        container, anchor, before = self._stack.pop()
        self._keys.pop()
        if anchor is not None:
            self._anchors[anchor] = (container, self._nodes - before + 1)

    def alias(self, anchor: str, line: int) -> None:
        if anchor not in self._anchors:
            raise self.fail(f"the alias *{anchor} names nothing before it", line)
        value, size = self._anchors[anchor]
        self.add(value, line, size)

    def result(self) -> Any:
        if len(self._root) != 1:
            message = "empty" if not self._root else "more than one document"
            raise DocumentError(self._name, message)
        return self._root[0]


def parse_yaml(text: str, name: str) -> object:
    """Return the tree of a YAML text: exactly one document, no tags, scalars as they stand.

    Raises DocumentError with the line.
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = _Tree(name)
    try:
        for event in yaml.parse(text, Loader=loader):
            line = 0 if event.start_mark is None else event.start_mark.line
            tag = getattr(event, "tag", None)
            if tag is not None:
                raise tree.fail(f"tags are not supported: {tag}", line)
            if isinstance(event, yaml.ScalarEvent):
                tree.scalar(event.value, event.anchor, line)
            elif isinstance(event, yaml.MappingStartEvent):
                tree.open({}, event.anchor, line)
            elif isinstance(event, yaml.SequenceStartEvent):
                tree.open([], event.anchor, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                tree.close()
            elif isinstance(event, yaml.AliasEvent):
                tree.alias(event.anchor or "", line)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "unreadable"
        raise DocumentError(
            name, f"not YAML: {problem}", None if mark is None else mark.line + 1
        ) from None
    except yaml.reader.ReaderError as error:
        raise DocumentError(name, f"not YAML: {error.reason}") from None
    except RecursionError:
        raise DocumentError(name, f"nested deeper than {DEPTH_MAX} levels") from None
    return tree.result()
