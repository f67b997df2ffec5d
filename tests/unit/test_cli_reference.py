"""The reference page names every command and every flag, and no flag that does not exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rating_server.cli.app import app
from rating_server.cli.serve import serve
from rating_server.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def _commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{path}{name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{path}{name} ")


def _flags(command: click.Command) -> set[str]:
    return {flag for option in command.params for flag in option.opts if flag.startswith("--")}


def test_page_names_every_command_and_flag() -> None:
    """Every command has its section or entry, every flag stands on the page."""
    page = PAGE.read_text()
    for name, command in _commands(app, ""):
        assert re.search(rf"`(ratewright )?{name}\b", page), name
        if command is not serve:
            for flag in _flags(command):
                assert f"{flag}" in page, f"{name} {flag}"


def test_page_names_no_unknown_flag() -> None:
    """A flag on the page is one of some command."""
    known = {"--help", "--version", *_flags(app)}
    for _, command in _commands(app, ""):
        known |= _flags(command)
    assert set(re.findall(r"--[a-z][a-z-]*[a-z]", PAGE.read_text())) <= known


@pytest.mark.parametrize("name", list(Settings.model_fields))
def test_serve_help_documents_every_setting(name: str) -> None:
    """`serve --help` shows flag, environment variable, default and meaning of each setting."""
    words = " ".join(serve.get_help(click.Context(serve)).split())
    flag = "--" + name.replace("_", "-")
    assert flag in words.replace("- ", "-")
    assert f"env: RATEWRIGHT_{name.upper()}; default:" in words.replace("[ ", "[")
    assert Settings.model_fields[name].description
