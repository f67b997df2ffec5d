"""`ratewright rate`: price a usage file on a plan file, without a server."""

from __future__ import annotations

from pathlib import Path

import click

from rating_server.cli.output import format_option


@click.command()
@click.option("--plan", "plan_file", required=True, type=click.Path(path_type=Path), metavar="FILE")
@click.option("--usage", "usage_file", required=True, metavar="FILE|-", help="- is standard input.")
@click.option(
    "--input-format",
    type=click.Choice(["document", "csv"]),
    help="Default: csv for names that end in .csv, otherwise a YAML or JSON document.",
)
@format_option
def rate(plan_file: Path, usage_file: str, input_format: str | None, output_format: str) -> None:
    """Price the usage of one period on a plan, and show how every amount comes about.

    The usage file is a document that gives each meter a quantity, a list of quantities (events), or
    a list of {quantity, dimensions}; or CSV with the columns meter, quantity and one for each
    dimension.
    """
    from rating_server.cli.offline import load_plan, load_usage, quote_or_end, view_of_quote
    from rating_server.cli.statement_view import print_statement

    plan = load_plan(plan_file)
    usage = load_usage(plan, usage_file, input_format)
    print_statement(view_of_quote(quote_or_end(plan, usage)), output_format)
