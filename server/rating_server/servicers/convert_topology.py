"""The topology of servers as a message."""

from __future__ import annotations

from ratewright.v1 import usage_service_pb2 as pb
from rating_server.servicers.convert_time import to_proto_timestamp
from rating_server.topology import Topology


def to_proto_topology(topology: Topology) -> pb.GetTopologyResponse:
    """Return the message that shows a topology."""
    servers = [
        pb.Server(
            address=member.address,
            boot_id=member.boot,
            state=pb.SERVER_STATE_LEAVING if member.leaving else pb.SERVER_STATE_SERVING,
            shards=topology.owned_by(member.address),
            start_time=to_proto_timestamp(member.since),
        )
        for member in topology.members
    ]
    return pb.GetTopologyResponse(
        revision=topology.revision,
        shard_count=topology.shard_count,
        shard_hash=pb.SHARD_HASH_BLAKE2B_64,
        servers=servers,
    )
