"""The command group. Commands are imported when they are called, so that `--help` stays fast."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import click

from rating_server.cli.entry import EXIT_BAD_INPUT, EXIT_INTERRUPTED, EXIT_OK
from rating_server.cli.failure import CommandError, complain

DEFAULT_TARGET = "127.0.0.1:50051"

_COMMANDS = {
    "serve": ("serve", "Run the server; without a Redis URL it brings its own store."),
    "check": ("check", "Check plans and cases, run their examples."),
    "rate": ("rate", "Price a usage file on a plan file, without a server."),
    "plan": ("plan", "Publish, list and show plans."),
    "subscribe": ("subscribe", "Put customers on a plan."),
    "change-plan": ("subscription", "Put a customer on another plan version from an instant on."),
    "cancel": ("subscription", "End a customer's subscription at an instant."),
    "ingest": ("ingest", "Send the usage records of a CSV or JSON lines file, exactly once."),
    "usage": ("account", "Show what is counted for a customer."),
    "statement": ("statements", "Show, finalise and verify what customers' periods cost."),
    "credit": ("credit", "Grant and void credits, show their balances."),
    "promote": ("credit", "Give a customer a promotion."),
    "servers": ("servers", "Show the living servers, their shards and their health."),
    "store": ("store", "Look after the embedded store of a data directory."),
    "log": ("log", "List, verify and export the logs, archive included."),
    "verify": ("verify", "Prove that counters and snapshots are what the logs say."),
    "rebuild": ("verify", "Recompute all counters from the logs, and repair what is wrong."),
    "doctor": ("doctor", "Check a store, its nodes, logs and disk, and say what to do."),
    "demo": ("demo", "Run the main job end to end on generated usage, or on your own."),
}


@dataclass(frozen=True, slots=True)
class Globals:
    """What the options before the command say. ``target`` is host:port, or a unix: address."""

    target: str = DEFAULT_TARGET
    output_format: str = "table"


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names of all commands, in the order of a day's work."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Return the command of that name; ``None`` lets click say that there is none."""
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"rating_server.cli.{_COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ratewright", prog_name="ratewright")
@click.option(
    "--target",
    envvar="RATEWRIGHT_TARGET",
    default=DEFAULT_TARGET,
    show_default=True,
    show_envvar=True,
    metavar="HOST:PORT",
    help="The server.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["table", "json", "csv"]),
    default="table",
    show_default=True,
    help="How data is printed.",
)
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected error.")
@click.pass_context
def app(ctx: click.Context, target: str, output_format: str, debug: bool) -> None:  # noqa: ARG001 - read by entry
    """Exact, explained charges from usage records that are counted exactly once.

    Exit status: 0 all is well, 1 ran but failed, 2 wrong usage or input.
    """
    ctx.obj = Globals(target, output_format)


def _usage_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    words = " ".join(error.format_message().split()).rstrip(".")
    words = words[:1].lower() + words[1:]
    if context is None:
        return words
    return f"{words} (see `{context.command_path} --help`)"


def execute(arguments: list[str]) -> int:
    """Run one command line; return the exit status after printing a line per mistake."""
    try:
        with app.make_context("ratewright", arguments) as context:
            app.invoke(context)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return EXIT_BAD_INPUT
    except click.ClickException as error:
        complain(_usage_line(error))
        return EXIT_BAD_INPUT
    except click.Abort:
        return EXIT_INTERRUPTED
    except CommandError as error:
        for line in error.lines:
            complain(line)
        return error.status
    return EXIT_OK
