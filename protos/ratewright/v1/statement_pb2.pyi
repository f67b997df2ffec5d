import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from ratewright.v1 import plan_pb2 as _plan_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LineKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINE_KIND_UNSPECIFIED: _ClassVar[LineKind]
    LINE_KIND_MODEL: _ClassVar[LineKind]
    LINE_KIND_DISCOUNT: _ClassVar[LineKind]
    LINE_KIND_MAXIMUM: _ClassVar[LineKind]
    LINE_KIND_MINIMUM: _ClassVar[LineKind]
    LINE_KIND_COMMITMENT: _ClassVar[LineKind]
    LINE_KIND_PLAN_MAXIMUM: _ClassVar[LineKind]
    LINE_KIND_PLAN_MINIMUM: _ClassVar[LineKind]
    LINE_KIND_PROMOTION: _ClassVar[LineKind]
    LINE_KIND_SMOOTHING: _ClassVar[LineKind]
    LINE_KIND_PREPAYMENT: _ClassVar[LineKind]
    LINE_KIND_LATE: _ClassVar[LineKind]
    LINE_KIND_CREDIT: _ClassVar[LineKind]

class SliceKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SLICE_KIND_UNSPECIFIED: _ClassVar[SliceKind]
    SLICE_KIND_INCLUDED: _ClassVar[SliceKind]
    SLICE_KIND_UNITS: _ClassVar[SliceKind]
    SLICE_KIND_TIER: _ClassVar[SliceKind]
    SLICE_KIND_PACKAGE: _ClassVar[SliceKind]
    SLICE_KIND_EVENTS: _ClassVar[SliceKind]
    SLICE_KIND_FEE: _ClassVar[SliceKind]
    SLICE_KIND_ADJUSTMENT: _ClassVar[SliceKind]
    SLICE_KIND_COMMITTED: _ClassVar[SliceKind]
    SLICE_KIND_OVERAGE: _ClassVar[SliceKind]
    SLICE_KIND_TRUE_UP: _ClassVar[SliceKind]
    SLICE_KIND_ROUNDING: _ClassVar[SliceKind]
    SLICE_KIND_ROLLED_OVER: _ClassVar[SliceKind]
    SLICE_KIND_INSTALLMENT: _ClassVar[SliceKind]
    SLICE_KIND_PREPAID: _ClassVar[SliceKind]
    SLICE_KIND_PUT_OFF: _ClassVar[SliceKind]
    SLICE_KIND_FALLS_DUE: _ClassVar[SliceKind]
    SLICE_KIND_BOOKED: _ClassVar[SliceKind]
    SLICE_KIND_LATE: _ClassVar[SliceKind]
    SLICE_KIND_DRAWN: _ClassVar[SliceKind]
    SLICE_KIND_GIVEN_BACK: _ClassVar[SliceKind]
LINE_KIND_UNSPECIFIED: LineKind
LINE_KIND_MODEL: LineKind
LINE_KIND_DISCOUNT: LineKind
LINE_KIND_MAXIMUM: LineKind
LINE_KIND_MINIMUM: LineKind
LINE_KIND_COMMITMENT: LineKind
LINE_KIND_PLAN_MAXIMUM: LineKind
LINE_KIND_PLAN_MINIMUM: LineKind
LINE_KIND_PROMOTION: LineKind
LINE_KIND_SMOOTHING: LineKind
LINE_KIND_PREPAYMENT: LineKind
LINE_KIND_LATE: LineKind
LINE_KIND_CREDIT: LineKind
SLICE_KIND_UNSPECIFIED: SliceKind
SLICE_KIND_INCLUDED: SliceKind
SLICE_KIND_UNITS: SliceKind
SLICE_KIND_TIER: SliceKind
SLICE_KIND_PACKAGE: SliceKind
SLICE_KIND_EVENTS: SliceKind
SLICE_KIND_FEE: SliceKind
SLICE_KIND_ADJUSTMENT: SliceKind
SLICE_KIND_COMMITTED: SliceKind
SLICE_KIND_OVERAGE: SliceKind
SLICE_KIND_TRUE_UP: SliceKind
SLICE_KIND_ROUNDING: SliceKind
SLICE_KIND_ROLLED_OVER: SliceKind
SLICE_KIND_INSTALLMENT: SliceKind
SLICE_KIND_PREPAID: SliceKind
SLICE_KIND_PUT_OFF: SliceKind
SLICE_KIND_FALLS_DUE: SliceKind
SLICE_KIND_BOOKED: SliceKind
SLICE_KIND_LATE: SliceKind
SLICE_KIND_DRAWN: SliceKind
SLICE_KIND_GIVEN_BACK: SliceKind

class Statement(_message.Message):
    __slots__ = ("customer", "plan_id", "plan_version", "subscription_id", "currency", "scale", "period_start", "period_end", "lines", "total", "counters", "unpriced_meters", "log_version", "name", "number", "finalize_time", "correction", "total_before_credits", "amount_due", "parts", "credit_lines")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_VERSION_FIELD_NUMBER: _ClassVar[int]
    SUBSCRIPTION_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    PERIOD_START_FIELD_NUMBER: _ClassVar[int]
    PERIOD_END_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    UNPRICED_METERS_FIELD_NUMBER: _ClassVar[int]
    LOG_VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    FINALIZE_TIME_FIELD_NUMBER: _ClassVar[int]
    CORRECTION_FIELD_NUMBER: _ClassVar[int]
    TOTAL_BEFORE_CREDITS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_DUE_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_LINES_FIELD_NUMBER: _ClassVar[int]
    customer: str
    plan_id: str
    plan_version: int
    subscription_id: str
    currency: str
    scale: int
    period_start: _timestamp_pb2.Timestamp
    period_end: _timestamp_pb2.Timestamp
    lines: _containers.RepeatedCompositeFieldContainer[StatementLine]
    total: str
    counters: _containers.RepeatedCompositeFieldContainer[Counter]
    unpriced_meters: _containers.RepeatedScalarFieldContainer[str]
    log_version: int
    name: str
    number: int
    finalize_time: _timestamp_pb2.Timestamp
    correction: bool
    total_before_credits: str
    amount_due: str
    parts: _containers.RepeatedCompositeFieldContainer[StatementPart]
    credit_lines: _containers.RepeatedCompositeFieldContainer[StatementLine]
    def __init__(self, customer: _Optional[str] = ..., plan_id: _Optional[str] = ..., plan_version: _Optional[int] = ..., subscription_id: _Optional[str] = ..., currency: _Optional[str] = ..., scale: _Optional[int] = ..., period_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., period_end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lines: _Optional[_Iterable[_Union[StatementLine, _Mapping]]] = ..., total: _Optional[str] = ..., counters: _Optional[_Iterable[_Union[Counter, _Mapping]]] = ..., unpriced_meters: _Optional[_Iterable[str]] = ..., log_version: _Optional[int] = ..., name: _Optional[str] = ..., number: _Optional[int] = ..., finalize_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., correction: _Optional[bool] = ..., total_before_credits: _Optional[str] = ..., amount_due: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[StatementPart, _Mapping]]] = ..., credit_lines: _Optional[_Iterable[_Union[StatementLine, _Mapping]]] = ...) -> None: ...

class StatementPart(_message.Message):
    __slots__ = ("start_time", "end_time", "plan_id", "plan_version", "overrides", "counters", "share_by_second", "share_by_day")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PLAN_ID_FIELD_NUMBER: _ClassVar[int]
    PLAN_VERSION_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    SHARE_BY_SECOND_FIELD_NUMBER: _ClassVar[int]
    SHARE_BY_DAY_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    plan_id: str
    plan_version: int
    overrides: str
    counters: _containers.RepeatedCompositeFieldContainer[Counter]
    share_by_second: str
    share_by_day: str
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., plan_id: _Optional[str] = ..., plan_version: _Optional[int] = ..., overrides: _Optional[str] = ..., counters: _Optional[_Iterable[_Union[Counter, _Mapping]]] = ..., share_by_second: _Optional[str] = ..., share_by_day: _Optional[str] = ...) -> None: ...

class StatementLine(_message.Message):
    __slots__ = ("id", "kind", "amount", "slices", "part", "charge_id", "due_time")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    SLICES_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    CHARGE_ID_FIELD_NUMBER: _ClassVar[int]
    DUE_TIME_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: LineKind
    amount: str
    slices: _containers.RepeatedCompositeFieldContainer[StatementSlice]
    part: int
    charge_id: str
    due_time: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[LineKind, str]] = ..., amount: _Optional[str] = ..., slices: _Optional[_Iterable[_Union[StatementSlice, _Mapping]]] = ..., part: _Optional[int] = ..., charge_id: _Optional[str] = ..., due_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StatementSlice(_message.Message):
    __slots__ = ("kind", "amount", "tier", "quantity", "unit_price", "percent", "flat_fee", "label", "line_id", "period_start")
    KIND_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    UNIT_PRICE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    FLAT_FEE_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    LINE_ID_FIELD_NUMBER: _ClassVar[int]
    PERIOD_START_FIELD_NUMBER: _ClassVar[int]
    kind: SliceKind
    amount: str
    tier: int
    quantity: str
    unit_price: str
    percent: str
    flat_fee: str
    label: str
    line_id: str
    period_start: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[_Union[SliceKind, str]] = ..., amount: _Optional[str] = ..., tier: _Optional[int] = ..., quantity: _Optional[str] = ..., unit_price: _Optional[str] = ..., percent: _Optional[str] = ..., flat_fee: _Optional[str] = ..., label: _Optional[str] = ..., line_id: _Optional[str] = ..., period_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Counter(_message.Message):
    __slots__ = ("meter", "dimensions", "value", "event_count", "bands", "match_all", "latest_time", "exact_value", "aggregation", "scale")
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    METER_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    BANDS_FIELD_NUMBER: _ClassVar[int]
    MATCH_ALL_FIELD_NUMBER: _ClassVar[int]
    LATEST_TIME_FIELD_NUMBER: _ClassVar[int]
    EXACT_VALUE_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    meter: str
    dimensions: _containers.ScalarMap[str, str]
    value: str
    event_count: int
    bands: _containers.RepeatedCompositeFieldContainer[CounterBand]
    match_all: bool
    latest_time: _timestamp_pb2.Timestamp
    exact_value: str
    aggregation: _plan_pb2.Aggregation
    scale: int
    def __init__(self, meter: _Optional[str] = ..., dimensions: _Optional[_Mapping[str, str]] = ..., value: _Optional[str] = ..., event_count: _Optional[int] = ..., bands: _Optional[_Iterable[_Union[CounterBand, _Mapping]]] = ..., match_all: _Optional[bool] = ..., latest_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exact_value: _Optional[str] = ..., aggregation: _Optional[_Union[_plan_pb2.Aggregation, str]] = ..., scale: _Optional[int] = ...) -> None: ...

class CounterBand(_message.Message):
    __slots__ = ("charge", "floor_event_count", "ceiling_event_count", "between_sum")
    CHARGE_FIELD_NUMBER: _ClassVar[int]
    FLOOR_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CEILING_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    BETWEEN_SUM_FIELD_NUMBER: _ClassVar[int]
    charge: str
    floor_event_count: int
    ceiling_event_count: int
    between_sum: str
    def __init__(self, charge: _Optional[str] = ..., floor_event_count: _Optional[int] = ..., ceiling_event_count: _Optional[int] = ..., between_sum: _Optional[str] = ...) -> None: ...
