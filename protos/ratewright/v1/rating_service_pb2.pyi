import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from ratewright.v1 import plan_pb2 as _plan_pb2
from ratewright.v1 import statement_pb2 as _statement_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
