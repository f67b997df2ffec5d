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
    __slots__ = ("customer", "time")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    customer: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, customer: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PreviewStatementResponse(_message.Message):
    __slots__ = ("statement",)
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    statement: _statement_pb2.Statement
    def __init__(self, statement: _Optional[_Union[_statement_pb2.Statement, _Mapping]] = ...) -> None: ...

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
