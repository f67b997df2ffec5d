"""Typed Python client of the Ratewright rating service.

`Client` and `AsyncClient` call every method; `UsageWriter` and `AsyncUsageWriter` (also
`client.ingest()`) stream usage records so that each is counted exactly once. Imports neither
numpy nor numba nor redis.
"""

from ratewright.document import (
    DocumentFault,
    PlanDocumentError,
    plan_from_document,
    plan_to_document,
    usage_from_document,
)
from rating_client.aio_client import AsyncClient
from rating_client.aio_writer import AsyncUsageWriter
from rating_client.bulk_columns import UsageColumns
from rating_client.client import Client
from rating_client.contract_values import FinalizedStatements, StatementFailure, Verification
from rating_client.delivery import BatchResult
from rating_client.errors import (
    Aborted,
    AlreadyExists,
    BatchFailed,
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    Internal,
    InvalidArgument,
    NotFound,
    OutOfRange,
    PermissionDenied,
    RatewrightError,
    ResourceExhausted,
    SpoolError,
    SpoolFull,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    WriterClosed,
    WriterError,
)
from rating_client.options import ClientOptions, WriterOptions
from rating_client.rating import RateBatch, RatedBatch, RatedPlan
from rating_client.routes import ServerInfo, Topology
from rating_client.spool_directory import SpoolDamage
from rating_client.values import (
    Counter,
    CounterBand,
    RecordOutcome,
    RecordStatus,
    RejectReason,
    Statement,
    StatementLine,
    StatementPart,
    StatementSlice,
    Usage,
    UsageBucket,
    UsageRecord,
)
from rating_client.writer import UsageWriter
from rating_client.writer_core import WriterCounters

__all__ = [
    "Aborted",
    "AlreadyExists",
    "AsyncClient",
    "AsyncUsageWriter",
    "BatchFailed",
    "BatchResult",
    "Cancelled",
    "Client",
    "ClientOptions",
    "Counter",
    "CounterBand",
    "DeadlineExceeded",
    "DocumentFault",
    "FailedPrecondition",
    "FieldViolation",
    "FinalizedStatements",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "OutOfRange",
    "PermissionDenied",
    "PlanDocumentError",
    "RateBatch",
    "RatedBatch",
    "RatedPlan",
    "RatewrightError",
    "RecordOutcome",
    "RecordStatus",
    "RejectReason",
    "ResourceExhausted",
    "ServerInfo",
    "SpoolDamage",
    "SpoolError",
    "SpoolFull",
    "Statement",
    "StatementFailure",
    "StatementLine",
    "StatementPart",
    "StatementSlice",
    "Topology",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Usage",
    "UsageBucket",
    "UsageColumns",
    "UsageRecord",
    "UsageWriter",
    "Verification",
    "WriterClosed",
    "WriterCounters",
    "WriterError",
    "WriterOptions",
    "plan_from_document",
    "plan_to_document",
    "usage_from_document",
]
