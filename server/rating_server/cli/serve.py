"""`ratewright serve`: its options are the fields of `Settings`, so its help is their reference."""

from __future__ import annotations

from typing import Any

import click
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from rating_server.cli.failure import CommandError, bad_input
from rating_server.settings import Settings, quiet_grpc

_LAST_PORT = 65_535
_PREFIX = str(Settings.model_config.get("env_prefix", ""))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _environment_name(name: str) -> str:
    return (_PREFIX + name).upper()


def _default_words(field: FieldInfo) -> str:
    default = field.default
    if default is None or default is PydanticUndefined:
        return "none"
    if isinstance(default, bool):
        return "yes" if default else "no"
    return str(getattr(default, "value", default))


def _option(name: str, field: FieldInfo) -> click.Option:
    words = f"{field.description or ''} [env: {_environment_name(name)}; default: "
    words += f"{_default_words(field)}]"
    if field.annotation is bool:
        switches = f"{_flag(name)}/--no-{name.replace('_', '-')}"
        return click.Option([switches, name], default=None, help=words)
    return click.Option([_flag(name), name], metavar="VALUE", help=words)


def _fault_lines(error: ValidationError, given: dict[str, Any]) -> list[str]:
    lines = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        where = _flag(name) if name in given else _environment_name(name)
        words = str(fault["msg"]).removeprefix("Value error, ")
        secret = "SecretStr" in str(Settings.model_fields[name].annotation)
        shown = "***" if secret else fault["input"]
        lines.append(f"{where}: {words[:1].lower()}{words[1:]}, got {str(shown)[:60]!r}")
    return lines


def read_settings(given: dict[str, Any]) -> Settings:
    """Return the settings of the flags that were given and of the environment.

    Ends the command with a line per fault (status 2).
    """
    stated = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**stated)
    except ValidationError as error:
        raise bad_input(_fault_lines(error, stated)) from None


def _serve(**given: Any) -> None:
    settings = read_settings(given)
    if settings.port and settings.port + settings.workers - 1 > _LAST_PORT:
        wanted = f"{settings.workers} from port {settings.port} on"
        raise bad_input(f"--workers: {wanted}: there is none above {_LAST_PORT}")
    quiet_grpc()
    from rating_server.bootstrap import run
    from rating_server.ports import StoreError, StoreRefused

    try:
        if settings.workers > 1:
            from rating_server.supervisor import supervise

            supervise(settings)
        else:
            run(settings)
    except (StoreError, StoreRefused, OSError) as error:
        raise CommandError(" ".join(str(error).split())) from None


serve = click.Command(
    "serve",
    callback=_serve,
    params=[_option(name, field) for name, field in Settings.model_fields.items()],
    help="Run the server until SIGTERM or Ctrl-C. A flag wins over its environment variable, "
    "both win over the default.",
    short_help="Run the server.",
)
