"""`ratewright servers`: the living servers of a store, their shards, and how they are."""

from __future__ import annotations

from typing import Any

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rating_client.routes import ServerInfo, shard_ranges
from rating_server.cli.online import connected, instant_words
from rating_server.cli.output import format_option, print_json, print_rows, target_option

_HEALTH_TIMEOUT_S = 2.0
_COLUMNS = ("address", "state", "health", "shards", "owned", "since", "boot")


def _health(address: str) -> str:
    with grpc.insecure_channel(address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_TIMEOUT_S)
        except grpc.RpcError:
            return "NO_ANSWER"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def _row(server: ServerInfo) -> dict[str, str]:
    return {
        "address": server.address,
        "state": "LEAVING" if server.leaving else "SERVING",
        "health": _health(server.address),
        "shards": str(len(server.shards)),
        "owned": shard_ranges(server.shards),
        "since": instant_words(server.start_time),
        "boot": server.boot_id,
    }


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@target_option
@format_option
def servers(as_json: bool, target: str, output_format: str) -> None:
    """Show the living servers of the store, which shards each serves, and its health."""
    with connected(target) as client:
        topology = client.get_topology()
    rows = [_row(server) for server in topology.servers]
    if as_json or output_format == "json":
        print_json(
            {
                "revision": f"{topology.revision:016x}",
                "shard_count": topology.shard_count,
                "servers": rows,
            }
        )
    else:
        print_rows(output_format, _COLUMNS, rows, right=("shards",))
