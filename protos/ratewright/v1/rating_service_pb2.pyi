import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from ratewright.v1 import plan_pb2 as _plan_pb2
from ratewright.v1 import statement_pb2 as _statement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RateStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RATE_STATUS_UNSPECIFIED: _ClassVar[RateStatus]
    RATE_STATUS_OK: _ClassVar[RateStatus]
    RATE_STATUS_OUT_OF_RANGE: _ClassVar[RateStatus]
RATE_STATUS_UNSPECIFIED: RateStatus
RATE_STATUS_OK: RateStatus
RATE_STATUS_OUT_OF_RANGE: RateStatus

class RateUsageRequest(_message.Message):
    __slots__ = ("plan_name", "plan", "usage")
    PLAN_NAME_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    plan_name: str
    plan: _plan_pb2.Plan
    usage: _containers.RepeatedCompositeFieldContainer[_plan_pb2.MeterUsage]
    def __init__(self, plan_name: _Optional[str] = ..., plan: _Optional[_Union[_plan_pb2.Plan, _Mapping]] = ..., usage: _Optional[_Iterable[_Union[_plan_pb2.MeterUsage, _Mapping]]] = ...) -> None: ...

class RateUsageResponse(_message.Message):
    __slots__ = ("statement",)
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    statement: _statement_pb2.Statement
    def __init__(self, statement: _Optional[_Union[_statement_pb2.Statement, _Mapping]] = ...) -> None: ...

class PreviewStatementRequest(_message.Message):
    __slots__ = ("customer", "time", "as_of_time", "subscription_id", "correction")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    customer: str
    time: _timestamp_pb2.Timestamp
    as_of_time: _timestamp_pb2.Timestamp
    subscription_id: str
    correction: bool
    def __init__(self, customer: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., subscription_id: _Optional[str] = ..., correction: _Optional[bool] = ...) -> None: ...

class PreviewStatementResponse(_message.Message):
    __slots__ = ("statement",)
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    statement: _statement_pb2.Statement
    def __init__(self, statement: _Optional[_Union[_statement_pb2.Statement, _Mapping]] = ...) -> None: ...

class FinalizeStatementRequest(_message.Message):
    __slots__ = ("customer", "subscription_id", "period_start", "correction")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    PERIOD_START_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    customer: str
    subscription_id: str
    period_start: _timestamp_pb2.Timestamp
    correction: bool
    def __init__(self, customer: _Optional[str] = ..., subscription_id: _Optional[str] = ..., period_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., correction: _Optional[bool] = ...) -> None: ...

class FinalizeStatementResponse(_message.Message):
    __slots__ = ("statement", "replayed")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    statement: _statement_pb2.Statement
    replayed: bool
    def __init__(self, statement: _Optional[_Union[_statement_pb2.Statement, _Mapping]] = ..., replayed: _Optional[bool] = ...) -> None: ...

class FinalizeStatementsRequest(_message.Message):
    __slots__ = ("until", "plan_name")
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    PLAN_NAME_FIELD_NUMBER: _ClassVar[int]
    until: _timestamp_pb2.Timestamp
    plan_name: str
    def __init__(self, until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., plan_name: _Optional[str] = ...) -> None: ...

class FinalizeStatementsResponse(_message.Message):
    __slots__ = ("customers", "subscription_ids", "numbers", "period_starts_micros", "period_ends_micros", "totals", "amounts_due", "scale", "currency", "failures")
    CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_IDS_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_STARTS_MICROS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_ENDS_MICROS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    AMOUNTS_DUE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    customers: _containers.RepeatedScalarFieldContainer[str]
    subscription_ids: _containers.RepeatedScalarFieldContainer[str]
    numbers: _containers.RepeatedScalarFieldContainer[int]
    period_starts_micros: _containers.RepeatedScalarFieldContainer[int]
    period_ends_micros: _containers.RepeatedScalarFieldContainer[int]
    totals: _containers.RepeatedScalarFieldContainer[int]
    amounts_due: _containers.RepeatedScalarFieldContainer[int]
    scale: int
    currency: str
    failures: _containers.RepeatedCompositeFieldContainer[StatementFailure]
    def __init__(self, customers: _Optional[_Iterable[str]] = ..., subscription_ids: _Optional[_Iterable[str]] = ..., numbers: _Optional[_Iterable[int]] = ..., period_starts_micros: _Optional[_Iterable[int]] = ..., period_ends_micros: _Optional[_Iterable[int]] = ..., totals: _Optional[_Iterable[int]] = ..., amounts_due: _Optional[_Iterable[int]] = ..., scale: _Optional[int] = ..., currency: _Optional[str] = ..., failures: _Optional[_Iterable[_Union[StatementFailure, _Mapping]]] = ...) -> None: ...

class StatementFailure(_message.Message):
    __slots__ = ("customer", "subscription_id", "reason", "message")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    customer: str
    subscription_id: str
    reason: str
    message: str
    def __init__(self, customer: _Optional[str] = ..., subscription_id: _Optional[str] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GetStatementRequest(_message.Message):
    __slots__ = ("name", "customer", "subscription_id", "period_start")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    PERIOD_START_FIELD_NUMBER: _ClassVar[int]
    name: str
    customer: str
    subscription_id: str
    period_start: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., customer: _Optional[str] = ..., subscription_id: _Optional[str] = ..., period_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetStatementResponse(_message.Message):
    __slots__ = ("statement",)
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    statement: _statement_pb2.Statement
    def __init__(self, statement: _Optional[_Union[_statement_pb2.Statement, _Mapping]] = ...) -> None: ...

class ListStatementsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListStatementsResponse(_message.Message):
    __slots__ = ("statements", "next_page_token")
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    statements: _containers.RepeatedCompositeFieldContainer[_statement_pb2.Statement]
    next_page_token: str
    def __init__(self, statements: _Optional[_Iterable[_Union[_statement_pb2.Statement, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VerifyStatementRequest(_message.Message):
    __slots__ = ("name", "from_log")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_LOG_FIELD_NUMBER: _ClassVar[int]
    name: str
    from_log: bool
    def __init__(self, name: _Optional[str] = ..., from_log: _Optional[bool] = ...) -> None: ...

class VerifyStatementResponse(_message.Message):
    __slots__ = ("statement", "differences")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCES_FIELD_NUMBER: _ClassVar[int]
    statement: _statement_pb2.Statement
    differences: _containers.RepeatedCompositeFieldContainer[StatementDifference]
    def __init__(self, statement: _Optional[_Union[_statement_pb2.Statement, _Mapping]] = ..., differences: _Optional[_Iterable[_Union[StatementDifference, _Mapping]]] = ...) -> None: ...

class StatementDifference(_message.Message):
    __slots__ = ("path", "finalized", "recomputed")
    PATH_FIELD_NUMBER: _ClassVar[int]
    FINALIZED_FIELD_NUMBER: _ClassVar[int]
    RECOMPUTED_FIELD_NUMBER: _ClassVar[int]
    path: str
    finalized: str
    recomputed: str
    def __init__(self, path: _Optional[str] = ..., finalized: _Optional[str] = ..., recomputed: _Optional[str] = ...) -> None: ...

class RateBatchRequest(_message.Message):
    __slots__ = ("batch_number", "row_count", "plans", "plan_index", "quantities")
    BATCH_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    PLANS_FIELD_NUMBER: _ClassVar[int]
    PLAN_INDEX_FIELD_NUMBER: _ClassVar[int]
    QUANTITIES_FIELD_NUMBER: _ClassVar[int]
    batch_number: int
    row_count: int
    plans: _containers.RepeatedCompositeFieldContainer[RateBatchPlan]
    plan_index: _containers.RepeatedScalarFieldContainer[int]
    quantities: _containers.RepeatedCompositeFieldContainer[QuantityColumn]
    def __init__(self, batch_number: _Optional[int] = ..., row_count: _Optional[int] = ..., plans: _Optional[_Iterable[_Union[RateBatchPlan, _Mapping]]] = ..., plan_index: _Optional[_Iterable[int]] = ..., quantities: _Optional[_Iterable[_Union[QuantityColumn, _Mapping]]] = ...) -> None: ...

class RateBatchPlan(_message.Message):
    __slots__ = ("plan_name", "plan")
    PLAN_NAME_FIELD_NUMBER: _ClassVar[int]
    PLAN_FIELD_NUMBER: _ClassVar[int]
    plan_name: str
    plan: _plan_pb2.Plan
    def __init__(self, plan_name: _Optional[str] = ..., plan: _Optional[_Union[_plan_pb2.Plan, _Mapping]] = ...) -> None: ...

class QuantityColumn(_message.Message):
    __slots__ = ("units",)
    UNITS_FIELD_NUMBER: _ClassVar[int]
    units: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, units: _Optional[_Iterable[int]] = ...) -> None: ...

class RateBatchResponse(_message.Message):
    __slots__ = ("batch_number", "row_count", "plans", "charges", "commitments", "totals", "statuses")
    BATCH_NUMBER_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    PLANS_FIELD_NUMBER: _ClassVar[int]
    CHARGES_FIELD_NUMBER: _ClassVar[int]
    COMMITMENTS_FIELD_NUMBER: _ClassVar[int]
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    batch_number: int
    row_count: int
    plans: _containers.RepeatedCompositeFieldContainer[RatedPlan]
    charges: _containers.RepeatedCompositeFieldContainer[AmountColumn]
    commitments: _containers.RepeatedCompositeFieldContainer[AmountColumn]
    totals: AmountColumn
    statuses: _containers.RepeatedScalarFieldContainer[RateStatus]
    def __init__(self, batch_number: _Optional[int] = ..., row_count: _Optional[int] = ..., plans: _Optional[_Iterable[_Union[RatedPlan, _Mapping]]] = ..., charges: _Optional[_Iterable[_Union[AmountColumn, _Mapping]]] = ..., commitments: _Optional[_Iterable[_Union[AmountColumn, _Mapping]]] = ..., totals: _Optional[_Union[AmountColumn, _Mapping]] = ..., statuses: _Optional[_Iterable[_Union[RateStatus, str]]] = ...) -> None: ...

class AmountColumn(_message.Message):
    __slots__ = ("units",)
    UNITS_FIELD_NUMBER: _ClassVar[int]
    units: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, units: _Optional[_Iterable[int]] = ...) -> None: ...

class RatedPlan(_message.Message):
    __slots__ = ("plan_id", "version", "currency", "scale", "meters", "charges", "commitments")
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    METERS_FIELD_NUMBER: _ClassVar[int]
    CHARGES_FIELD_NUMBER: _ClassVar[int]
    COMMITMENTS_FIELD_NUMBER: _ClassVar[int]
    plan_id: str
    version: int
    currency: str
    scale: int
    meters: _containers.RepeatedCompositeFieldContainer[RatedMeter]
    charges: _containers.RepeatedScalarFieldContainer[str]
    commitments: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, plan_id: _Optional[str] = ..., version: _Optional[int] = ..., currency: _Optional[str] = ..., scale: _Optional[int] = ..., meters: _Optional[_Iterable[_Union[RatedMeter, _Mapping]]] = ..., charges: _Optional[_Iterable[str]] = ..., commitments: _Optional[_Iterable[str]] = ...) -> None: ...

class RatedMeter(_message.Message):
    __slots__ = ("meter", "scale")
    METER_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    meter: str
    scale: int
    def __init__(self, meter: _Optional[str] = ..., scale: _Optional[int] = ...) -> None: ...
