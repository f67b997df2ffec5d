import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from ratewright.v1 import statement_pb2 as _statement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecordStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECORD_STATUS_UNSPECIFIED: _ClassVar[RecordStatus]
    RECORD_STATUS_ACCEPTED: _ClassVar[RecordStatus]
    RECORD_STATUS_DUPLICATE: _ClassVar[RecordStatus]
    RECORD_STATUS_CONFLICT: _ClassVar[RecordStatus]
    RECORD_STATUS_REJECTED: _ClassVar[RecordStatus]
    RECORD_STATUS_RETRY: _ClassVar[RecordStatus]

class RejectReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECT_REASON_UNSPECIFIED: _ClassVar[RejectReason]
    REJECT_REASON_MALFORMED: _ClassVar[RejectReason]
    REJECT_REASON_UNKNOWN_METER: _ClassVar[RejectReason]
    REJECT_REASON_QUANTITY_PRECISION: _ClassVar[RejectReason]
    REJECT_REASON_QUANTITY_OUT_OF_RANGE: _ClassVar[RejectReason]
    REJECT_REASON_DIMENSION_INVALID: _ClassVar[RejectReason]
    REJECT_REASON_NO_SUBSCRIPTION: _ClassVar[RejectReason]
    REJECT_REASON_IN_FUTURE: _ClassVar[RejectReason]
    REJECT_REASON_TOO_OLD: _ClassVar[RejectReason]
    REJECT_REASON_PERIOD_CLOSED: _ClassVar[RejectReason]
    REJECT_REASON_TOO_MANY_SERIES: _ClassVar[RejectReason]
    REJECT_REASON_NOT_FOUND: _ClassVar[RejectReason]
    REJECT_REASON_NOT_RETRACTABLE: _ClassVar[RejectReason]

class ShardHash(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHARD_HASH_UNSPECIFIED: _ClassVar[ShardHash]
    SHARD_HASH_BLAKE2B_64: _ClassVar[ShardHash]

class ServerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SERVER_STATE_UNSPECIFIED: _ClassVar[ServerState]
    SERVER_STATE_SERVING: _ClassVar[ServerState]
    SERVER_STATE_LEAVING: _ClassVar[ServerState]
RECORD_STATUS_UNSPECIFIED: RecordStatus
RECORD_STATUS_ACCEPTED: RecordStatus
RECORD_STATUS_DUPLICATE: RecordStatus
RECORD_STATUS_CONFLICT: RecordStatus
RECORD_STATUS_REJECTED: RecordStatus
RECORD_STATUS_RETRY: RecordStatus
REJECT_REASON_UNSPECIFIED: RejectReason
REJECT_REASON_MALFORMED: RejectReason
REJECT_REASON_UNKNOWN_METER: RejectReason
REJECT_REASON_QUANTITY_PRECISION: RejectReason
REJECT_REASON_QUANTITY_OUT_OF_RANGE: RejectReason
REJECT_REASON_DIMENSION_INVALID: RejectReason
REJECT_REASON_NO_SUBSCRIPTION: RejectReason
REJECT_REASON_IN_FUTURE: RejectReason
REJECT_REASON_TOO_OLD: RejectReason
REJECT_REASON_PERIOD_CLOSED: RejectReason
REJECT_REASON_TOO_MANY_SERIES: RejectReason
REJECT_REASON_NOT_FOUND: RejectReason
REJECT_REASON_NOT_RETRACTABLE: RejectReason
SHARD_HASH_UNSPECIFIED: ShardHash
SHARD_HASH_BLAKE2B_64: ShardHash
SERVER_STATE_UNSPECIFIED: ServerState
SERVER_STATE_SERVING: ServerState
SERVER_STATE_LEAVING: ServerState

class IngestUsageRequest(_message.Message):
    __slots__ = ("batch_number", "batch", "producer", "sequence", "answered_sequence")
    BATCH_NUMBER_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    batch_number: int
    batch: UsageBatch
    producer: Producer
    sequence: int
    answered_sequence: int
    def __init__(self, batch_number: _Optional[int] = ..., batch: _Optional[_Union[UsageBatch, _Mapping]] = ..., producer: _Optional[_Union[Producer, _Mapping]] = ..., sequence: _Optional[int] = ..., answered_sequence: _Optional[int] = ...) -> None: ...

class Producer(_message.Message):
    __slots__ = ("producer_id", "epoch", "start_anew", "known_epochs")
    PRODUCER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    START_ANEW_FIELD_NUMBER: _ClassVar[int]
    KNOWN_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    producer_id: str
    epoch: int
    start_anew: bool
    known_epochs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, producer_id: _Optional[str] = ..., epoch: _Optional[int] = ..., start_anew: _Optional[bool] = ..., known_epochs: _Optional[_Iterable[int]] = ...) -> None: ...

class UsageBatch(_message.Message):
    __slots__ = ("customers", "customer_index", "meters", "meter_index", "dimension_sets", "dimension_set_index", "event_ids", "event_id_lengths", "quantities", "event_times_micros", "attribute_sets", "attribute_set_index", "retractions")
    CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_INDEX_FIELD_NUMBER: _ClassVar[int]
    METERS_FIELD_NUMBER: _ClassVar[int]
    METER_INDEX_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_SETS_FIELD_NUMBER: _ClassVar[int]
    DIMENSION_SET_INDEX_FIELD_NUMBER: _ClassVar[int]
    EVENT_IDS_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    QUANTITIES_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIMES_MICROS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_SETS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_SET_INDEX_FIELD_NUMBER: _ClassVar[int]
    RETRACTIONS_FIELD_NUMBER: _ClassVar[int]
    customers: _containers.RepeatedScalarFieldContainer[str]
    customer_index: _containers.RepeatedScalarFieldContainer[int]
    meters: _containers.RepeatedCompositeFieldContainer[BatchMeter]
    meter_index: _containers.RepeatedScalarFieldContainer[int]
    dimension_sets: _containers.RepeatedCompositeFieldContainer[DimensionSet]
    dimension_set_index: _containers.RepeatedScalarFieldContainer[int]
    event_ids: bytes
    event_id_lengths: _containers.RepeatedScalarFieldContainer[int]
    quantities: _containers.RepeatedScalarFieldContainer[int]
    event_times_micros: _containers.RepeatedScalarFieldContainer[int]
    attribute_sets: _containers.RepeatedCompositeFieldContainer[AttributeSet]
    attribute_set_index: _containers.RepeatedScalarFieldContainer[int]
    retractions: _containers.RepeatedScalarFieldContainer[bool]
    def __init__(self, customers: _Optional[_Iterable[str]] = ..., customer_index: _Optional[_Iterable[int]] = ..., meters: _Optional[_Iterable[_Union[BatchMeter, _Mapping]]] = ..., meter_index: _Optional[_Iterable[int]] = ..., dimension_sets: _Optional[_Iterable[_Union[DimensionSet, _Mapping]]] = ..., dimension_set_index: _Optional[_Iterable[int]] = ..., event_ids: _Optional[bytes] = ..., event_id_lengths: _Optional[_Iterable[int]] = ..., quantities: _Optional[_Iterable[int]] = ..., event_times_micros: _Optional[_Iterable[int]] = ..., attribute_sets: _Optional[_Iterable[_Union[AttributeSet, _Mapping]]] = ..., attribute_set_index: _Optional[_Iterable[int]] = ..., retractions: _Optional[_Iterable[bool]] = ...) -> None: ...

class BatchMeter(_message.Message):
    __slots__ = ("meter", "scale")
    METER_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    meter: str
    scale: int
    def __init__(self, meter: _Optional[str] = ..., scale: _Optional[int] = ...) -> None: ...

class DimensionSet(_message.Message):
    __slots__ = ("dimensions",)
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    dimensions: _containers.ScalarMap[str, str]
    def __init__(self, dimensions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class AttributeSet(_message.Message):
    __slots__ = ("attributes",)
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class IngestUsageResponse(_message.Message):
    __slots__ = ("batch_number", "accepted_count", "duplicate_count", "conflict_count", "rejected_count", "retry_count", "statuses", "reasons", "sequence", "durable_sequence", "topology_revision", "previous_epoch")
    BATCH_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_COUNT_FIELD_NUMBER: _ClassVar[int]
    REJECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    RETRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    DURABLE_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TOPOLOGY_REVISION_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_EPOCH_FIELD_NUMBER: _ClassVar[int]
    batch_number: int
    accepted_count: int
    duplicate_count: int
    conflict_count: int
    rejected_count: int
    retry_count: int
    statuses: _containers.RepeatedScalarFieldContainer[RecordStatus]
    reasons: _containers.RepeatedScalarFieldContainer[RejectReason]
    sequence: int
    durable_sequence: int
    topology_revision: int
    previous_epoch: int
    def __init__(self, batch_number: _Optional[int] = ..., accepted_count: _Optional[int] = ..., duplicate_count: _Optional[int] = ..., conflict_count: _Optional[int] = ..., rejected_count: _Optional[int] = ..., retry_count: _Optional[int] = ..., statuses: _Optional[_Iterable[_Union[RecordStatus, str]]] = ..., reasons: _Optional[_Iterable[_Union[RejectReason, str]]] = ..., sequence: _Optional[int] = ..., durable_sequence: _Optional[int] = ..., topology_revision: _Optional[int] = ..., previous_epoch: _Optional[int] = ...) -> None: ...

class UsageRecord(_message.Message):
    __slots__ = ("event_id", "customer", "meter", "quantity", "event_time", "dimensions", "attributes", "retraction")
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    METER_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    RETRACTION_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    customer: str
    meter: str
    quantity: str
    event_time: _timestamp_pb2.Timestamp
    dimensions: _containers.ScalarMap[str, str]
    attributes: _containers.ScalarMap[str, str]
    retraction: bool
    def __init__(self, event_id: _Optional[str] = ..., customer: _Optional[str] = ..., meter: _Optional[str] = ..., quantity: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., dimensions: _Optional[_Mapping[str, str]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., retraction: _Optional[bool] = ...) -> None: ...

class RecordUsageRequest(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedCompositeFieldContainer[UsageRecord]
    def __init__(self, records: _Optional[_Iterable[_Union[UsageRecord, _Mapping]]] = ...) -> None: ...

class RecordUsageResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[RecordResult]
    def __init__(self, results: _Optional[_Iterable[_Union[RecordResult, _Mapping]]] = ...) -> None: ...

class RecordResult(_message.Message):
    __slots__ = ("status", "reason")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    status: RecordStatus
    reason: RejectReason
    def __init__(self, status: _Optional[_Union[RecordStatus, str]] = ..., reason: _Optional[_Union[RejectReason, str]] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ("customer", "time")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    customer: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, customer: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("customer", "subscription_id", "period_start", "period_end", "counters", "log_version")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    PERIOD_START_FIELD_NUMBER: _ClassVar[int]
    PERIOD_END_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    LOG_VERSION_FIELD_NUMBER: _ClassVar[int]
    customer: str
    subscription_id: str
    period_start: _timestamp_pb2.Timestamp
    period_end: _timestamp_pb2.Timestamp
    counters: _containers.RepeatedCompositeFieldContainer[_statement_pb2.Counter]
    log_version: int
    def __init__(self, customer: _Optional[str] = ..., subscription_id: _Optional[str] = ..., period_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., period_end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., counters: _Optional[_Iterable[_Union[_statement_pb2.Counter, _Mapping]]] = ..., log_version: _Optional[int] = ...) -> None: ...

class GetTopologyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetTopologyResponse(_message.Message):
    __slots__ = ("revision", "shard_count", "shard_hash", "servers")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SHARD_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHARD_HASH_FIELD_NUMBER: _ClassVar[int]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    revision: int
    shard_count: int
    shard_hash: ShardHash
    servers: _containers.RepeatedCompositeFieldContainer[Server]
    def __init__(self, revision: _Optional[int] = ..., shard_count: _Optional[int] = ..., shard_hash: _Optional[_Union[ShardHash, str]] = ..., servers: _Optional[_Iterable[_Union[Server, _Mapping]]] = ...) -> None: ...

class Server(_message.Message):
    __slots__ = ("address", "boot_id", "state", "shards", "start_time")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    BOOT_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    address: str
    boot_id: str
    state: ServerState
    shards: _containers.RepeatedScalarFieldContainer[int]
    start_time: _timestamp_pb2.Timestamp
    def __init__(self, address: _Optional[str] = ..., boot_id: _Optional[str] = ..., state: _Optional[_Union[ServerState, str]] = ..., shards: _Optional[_Iterable[int]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListUsageRequest(_message.Message):
    __slots__ = ("customer", "start_time", "end_time", "meter", "page_size", "page_token")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    METER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    customer: str
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    meter: str
    page_size: int
    page_token: str
    def __init__(self, customer: _Optional[str] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., meter: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListUsageResponse(_message.Message):
    __slots__ = ("buckets", "next_page_token", "log_version")
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOG_VERSION_FIELD_NUMBER: _ClassVar[int]
    buckets: _containers.RepeatedCompositeFieldContainer[UsageBucket]
    next_page_token: str
    log_version: int
    def __init__(self, buckets: _Optional[_Iterable[_Union[UsageBucket, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., log_version: _Optional[int] = ...) -> None: ...

class UsageBucket(_message.Message):
    __slots__ = ("start_time", "end_time", "counter")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    counter: _statement_pb2.Counter
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., counter: _Optional[_Union[_statement_pb2.Counter, _Mapping]] = ...) -> None: ...
