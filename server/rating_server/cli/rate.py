"""`ratewright rate`: price a usage file on a plan file, without a server."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from rating_server.cli.output import format_option


@click.command()
@click.option("--plan", "plan_file", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--usage", "usage_file", required=True, metavar="FILE|-", help="- is standard input.")
@click.option(
    "--input-format",
    type=click.Choice(["document", "csv"]),
    help="Default: csv for names that end in .csv, otherwise a YAML or JSON document.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Price every row of a table by itself, and write the amounts to this .csv or .parquet.",
)
@click.option("--keep", multiple=True, metavar="COLUMN", help="Repeat this column in --out.")
@format_option
@click.pass_context
def rate(
    context: click.Context,
    plan_file: Path,
    usage_file: str,
    input_format: str | None,
    out: Path | None,
    keep: tuple[str, ...],
    output_format: str,
) -> None:
    """Price the usage of one period on a plan, and show how every amount comes about.

    The usage file is a document that gives each meter a quantity, a list of quantities (events), or
    a list of {quantity, dimensions}; or CSV with the columns meter, quantity and one for each
    dimension.

    With --out, the usage is a .csv or .parquet table of any size: each row is a usage of its own,
    with one column for each meter, named by its id. Needs the extra `ratewright[parquet]`.
    """
    if out is not None:
        _check_options(context)
        _rate_table(plan_file, usage_file, out, keep)
        return
    from rating_server.cli.failure import bad_input
    from rating_server.cli.offline import load_plan, load_usage, quote_or_end, view_of_quote
    from rating_server.cli.statement_view import print_statement

    if keep:
        raise bad_input("--keep: only with --out")
    if usage_file.lower().endswith(".parquet"):
        raise bad_input(f"{usage_file}: a Parquet table is priced row by row; say where with --out")
    plan = load_plan(plan_file)
    usage = load_usage(plan, usage_file, input_format)
    print_statement(view_of_quote(quote_or_end(plan, usage)), output_format)


def _check_options(context: click.Context) -> None:
    """End the command if an option was given that a table has no use for."""
    from rating_server.cli.failure import bad_input

    for option, name in (("--input-format", "input_format"), ("--format", "output_format")):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise bad_input(f"{option}: not with --out, where the names of the files say it")


def _rate_table(plan_file: Path, usage_file: str, out: Path, keep: tuple[str, ...]) -> None:
    try:
        from rating_server.cli.rate_table import rate_table
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        from rating_server.cli.failure import bad_input

        raise bad_input("--out needs pyarrow: pip install 'ratewright[parquet]'") from None
    rate_table(plan_file, usage_file, out, keep)
