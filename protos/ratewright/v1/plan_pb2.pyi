import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Aggregation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AGGREGATION_UNSPECIFIED: _ClassVar[Aggregation]
    AGGREGATION_SUM: _ClassVar[Aggregation]
    AGGREGATION_COUNT: _ClassVar[Aggregation]
    AGGREGATION_MAX: _ClassVar[Aggregation]
    AGGREGATION_LATEST: _ClassVar[Aggregation]
    AGGREGATION_UNIQUE_COUNT: _ClassVar[Aggregation]
    AGGREGATION_WEIGHTED_SUM: _ClassVar[Aggregation]

class LevelUnit(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEVEL_UNIT_UNSPECIFIED: _ClassVar[LevelUnit]
    LEVEL_UNIT_HOUR: _ClassVar[LevelUnit]

class BucketLength(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BUCKET_LENGTH_UNSPECIFIED: _ClassVar[BucketLength]
    BUCKET_LENGTH_HOUR: _ClassVar[BucketLength]
    BUCKET_LENGTH_DAY: _ClassVar[BucketLength]

class Proration(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRORATION_UNSPECIFIED: _ClassVar[Proration]
    PRORATION_SECOND: _ClassVar[Proration]
    PRORATION_DAY: _ClassVar[Proration]

class CreditPlacement(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CREDIT_PLACEMENT_UNSPECIFIED: _ClassVar[CreditPlacement]
    CREDIT_PLACEMENT_BEFORE_TOTAL: _ClassVar[CreditPlacement]
    CREDIT_PLACEMENT_AFTER_TOTAL: _ClassVar[CreditPlacement]

class BillingPeriod(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BILLING_PERIOD_UNSPECIFIED: _ClassVar[BillingPeriod]
    BILLING_PERIOD_HOUR: _ClassVar[BillingPeriod]
    BILLING_PERIOD_DAY: _ClassVar[BillingPeriod]
    BILLING_PERIOD_WEEK: _ClassVar[BillingPeriod]
    BILLING_PERIOD_MONTH: _ClassVar[BillingPeriod]
    BILLING_PERIOD_QUARTER: _ClassVar[BillingPeriod]
    BILLING_PERIOD_YEAR: _ClassVar[BillingPeriod]

class RoundingMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUNDING_MODE_UNSPECIFIED: _ClassVar[RoundingMode]
    ROUNDING_MODE_HALF_UP: _ClassVar[RoundingMode]
    ROUNDING_MODE_HALF_EVEN: _ClassVar[RoundingMode]
    ROUNDING_MODE_UP: _ClassVar[RoundingMode]
    ROUNDING_MODE_DOWN: _ClassVar[RoundingMode]

class RoundingStage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUNDING_STAGE_UNSPECIFIED: _ClassVar[RoundingStage]
    ROUNDING_STAGE_LINE: _ClassVar[RoundingStage]
    ROUNDING_STAGE_STATEMENT: _ClassVar[RoundingStage]

class TierWindow(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIER_WINDOW_UNSPECIFIED: _ClassVar[TierWindow]
    TIER_WINDOW_YEAR: _ClassVar[TierWindow]

class ChargeModel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHARGE_MODEL_UNSPECIFIED: _ClassVar[ChargeModel]
    CHARGE_MODEL_FLAT_FEE: _ClassVar[ChargeModel]
    CHARGE_MODEL_PER_UNIT: _ClassVar[ChargeModel]
    CHARGE_MODEL_GRADUATED: _ClassVar[ChargeModel]
    CHARGE_MODEL_VOLUME: _ClassVar[ChargeModel]
    CHARGE_MODEL_STAIRSTEP: _ClassVar[ChargeModel]
    CHARGE_MODEL_PACKAGE: _ClassVar[ChargeModel]
    CHARGE_MODEL_PERCENTAGE: _ClassVar[ChargeModel]
    CHARGE_MODEL_GRADUATED_PERCENTAGE: _ClassVar[ChargeModel]

class Timing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TIMING_UNSPECIFIED: _ClassVar[Timing]
    TIMING_IN_ADVANCE: _ClassVar[Timing]
    TIMING_IN_ARREARS: _ClassVar[Timing]

class Payment(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAYMENT_UNSPECIFIED: _ClassVar[Payment]
    PAYMENT_POSTPAID: _ClassVar[Payment]
    PAYMENT_PREPAID: _ClassVar[Payment]

class CountedAt(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COUNTED_AT_UNSPECIFIED: _ClassVar[CountedAt]
    COUNTED_AT_DISCOUNTED: _ClassVar[CountedAt]
    COUNTED_AT_LIST: _ClassVar[CountedAt]

class CommitmentOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMITMENT_ORDER_UNSPECIFIED: _ClassVar[CommitmentOrder]
    COMMITMENT_ORDER_DOCUMENT: _ClassVar[CommitmentOrder]
    COMMITMENT_ORDER_BEST_SAVING_FIRST: _ClassVar[CommitmentOrder]

class LateUsage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LATE_USAGE_UNSPECIFIED: _ClassVar[LateUsage]
    LATE_USAGE_REJECT: _ClassVar[LateUsage]
    LATE_USAGE_ADJUST: _ClassVar[LateUsage]
AGGREGATION_UNSPECIFIED: Aggregation
AGGREGATION_SUM: Aggregation
AGGREGATION_COUNT: Aggregation
AGGREGATION_MAX: Aggregation
AGGREGATION_LATEST: Aggregation
AGGREGATION_UNIQUE_COUNT: Aggregation
AGGREGATION_WEIGHTED_SUM: Aggregation
LEVEL_UNIT_UNSPECIFIED: LevelUnit
LEVEL_UNIT_HOUR: LevelUnit
BUCKET_LENGTH_UNSPECIFIED: BucketLength
BUCKET_LENGTH_HOUR: BucketLength
BUCKET_LENGTH_DAY: BucketLength
PRORATION_UNSPECIFIED: Proration
PRORATION_SECOND: Proration
PRORATION_DAY: Proration
CREDIT_PLACEMENT_UNSPECIFIED: CreditPlacement
CREDIT_PLACEMENT_BEFORE_TOTAL: CreditPlacement
CREDIT_PLACEMENT_AFTER_TOTAL: CreditPlacement
BILLING_PERIOD_UNSPECIFIED: BillingPeriod
BILLING_PERIOD_HOUR: BillingPeriod
BILLING_PERIOD_DAY: BillingPeriod
BILLING_PERIOD_WEEK: BillingPeriod
BILLING_PERIOD_MONTH: BillingPeriod
BILLING_PERIOD_QUARTER: BillingPeriod
BILLING_PERIOD_YEAR: BillingPeriod
ROUNDING_MODE_UNSPECIFIED: RoundingMode
ROUNDING_MODE_HALF_UP: RoundingMode
ROUNDING_MODE_HALF_EVEN: RoundingMode
ROUNDING_MODE_UP: RoundingMode
ROUNDING_MODE_DOWN: RoundingMode
ROUNDING_STAGE_UNSPECIFIED: RoundingStage
ROUNDING_STAGE_LINE: RoundingStage
ROUNDING_STAGE_STATEMENT: RoundingStage
TIER_WINDOW_UNSPECIFIED: TierWindow
TIER_WINDOW_YEAR: TierWindow
CHARGE_MODEL_UNSPECIFIED: ChargeModel
CHARGE_MODEL_FLAT_FEE: ChargeModel
CHARGE_MODEL_PER_UNIT: ChargeModel
CHARGE_MODEL_GRADUATED: ChargeModel
CHARGE_MODEL_VOLUME: ChargeModel
CHARGE_MODEL_STAIRSTEP: ChargeModel
CHARGE_MODEL_PACKAGE: ChargeModel
CHARGE_MODEL_PERCENTAGE: ChargeModel
CHARGE_MODEL_GRADUATED_PERCENTAGE: ChargeModel
TIMING_UNSPECIFIED: Timing
TIMING_IN_ADVANCE: Timing
TIMING_IN_ARREARS: Timing
PAYMENT_UNSPECIFIED: Payment
PAYMENT_POSTPAID: Payment
PAYMENT_PREPAID: Payment
COUNTED_AT_UNSPECIFIED: CountedAt
COUNTED_AT_DISCOUNTED: CountedAt
COUNTED_AT_LIST: CountedAt
COMMITMENT_ORDER_UNSPECIFIED: CommitmentOrder
COMMITMENT_ORDER_DOCUMENT: CommitmentOrder
COMMITMENT_ORDER_BEST_SAVING_FIRST: CommitmentOrder
LATE_USAGE_UNSPECIFIED: LateUsage
LATE_USAGE_REJECT: LateUsage
LATE_USAGE_ADJUST: LateUsage

class Meter(_message.Message):
    __slots__ = ("name", "id", "aggregation", "unit", "scale", "dimensions", "create_time", "of", "per", "buckets")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    PER_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: str
    aggregation: Aggregation
    unit: str
    scale: int
    dimensions: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    of: str
    per: LevelUnit
    buckets: BucketLength
    def __init__(self, name: _Optional[str] = ..., id: _Optional[str] = ..., aggregation: _Optional[_Union[Aggregation, str]] = ..., unit: _Optional[str] = ..., scale: _Optional[int] = ..., dimensions: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., of: _Optional[str] = ..., per: _Optional[_Union[LevelUnit, str]] = ..., buckets: _Optional[_Union[BucketLength, str]] = ...) -> None: ...

class Plan(_message.Message):
    __slots__ = ("name", "id", "version", "currency", "billing_period", "rounding", "meters", "charges", "commitments", "order", "maximum_amount", "minimum_amount", "late_usage", "examples", "create_time", "proration", "credits", "effective_time", "existing_effective_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    BILLING_PERIOD_FIELD_NUMBER: _ClassVar[int]
    ROUNDING_FIELD_NUMBER: _ClassVar[int]
    METERS_FIELD_NUMBER: _ClassVar[int]
    CHARGES_FIELD_NUMBER: _ClassVar[int]
    COMMITMENTS_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    LATE_USAGE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    PRORATION_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXISTING_EFFECTIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: str
    version: int
    currency: str
    billing_period: BillingPeriod
    rounding: Rounding
    meters: _containers.RepeatedCompositeFieldContainer[PlanMeter]
    charges: _containers.RepeatedCompositeFieldContainer[Charge]
    commitments: _containers.RepeatedCompositeFieldContainer[Commitment]
    order: CommitmentOrder
    maximum_amount: str
    minimum_amount: str
    late_usage: LateUsage
    examples: _containers.RepeatedCompositeFieldContainer[PlanExample]
    create_time: _timestamp_pb2.Timestamp
    proration: Proration
    credits: CreditPlacement
    effective_time: _timestamp_pb2.Timestamp
    existing_effective_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., id: _Optional[str] = ..., version: _Optional[int] = ..., currency: _Optional[str] = ..., billing_period: _Optional[_Union[BillingPeriod, str]] = ..., rounding: _Optional[_Union[Rounding, _Mapping]] = ..., meters: _Optional[_Iterable[_Union[PlanMeter, _Mapping]]] = ..., charges: _Optional[_Iterable[_Union[Charge, _Mapping]]] = ..., commitments: _Optional[_Iterable[_Union[Commitment, _Mapping]]] = ..., order: _Optional[_Union[CommitmentOrder, str]] = ..., maximum_amount: _Optional[str] = ..., minimum_amount: _Optional[str] = ..., late_usage: _Optional[_Union[LateUsage, str]] = ..., examples: _Optional[_Iterable[_Union[PlanExample, _Mapping]]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., proration: _Optional[_Union[Proration, str]] = ..., credits: _Optional[_Union[CreditPlacement, str]] = ..., effective_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., existing_effective_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class PlanMeter(_message.Message):
    __slots__ = ("id", "aggregation", "unit", "scale", "dimensions", "of", "per", "buckets")
    ID_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    PER_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    id: str
    aggregation: Aggregation
    unit: str
    scale: int
    dimensions: _containers.RepeatedScalarFieldContainer[str]
    of: str
    per: LevelUnit
    buckets: BucketLength
    def __init__(self, id: _Optional[str] = ..., aggregation: _Optional[_Union[Aggregation, str]] = ..., unit: _Optional[str] = ..., scale: _Optional[int] = ..., dimensions: _Optional[_Iterable[str]] = ..., of: _Optional[str] = ..., per: _Optional[_Union[LevelUnit, str]] = ..., buckets: _Optional[_Union[BucketLength, str]] = ...) -> None: ...

class Rounding(_message.Message):
    __slots__ = ("mode", "scale", "stage")
    MODE_FIELD_NUMBER: _ClassVar[int]
    SCALE_FIELD_NUMBER: _ClassVar[int]
    STAGE_FIELD_NUMBER: _ClassVar[int]
    mode: RoundingMode
    scale: int
    stage: RoundingStage
    def __init__(self, mode: _Optional[_Union[RoundingMode, str]] = ..., scale: _Optional[int] = ..., stage: _Optional[_Union[RoundingStage, str]] = ...) -> None: ...

class Charge(_message.Message):
    __slots__ = ("id", "model", "meter", "where", "included_units", "amount", "timing", "unit_price", "tiers", "package_size", "package_price", "percent", "fixed_fee_per_event", "min_per_event", "max_per_event", "flat_fee_at_zero_usage", "discount_percent", "maximum_amount", "minimum_amount", "free_events", "free_amount", "prorate", "prorate_included_units", "prorate_tiers", "prorate_minimum", "tier_window", "smoothing_periods")
    class WhereEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: DimensionValues
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[DimensionValues, _Mapping]] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    METER_FIELD_NUMBER: _ClassVar[int]
    WHERE_FIELD_NUMBER: _ClassVar[int]
    INCLUDED_UNITS_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    TIMING_FIELD_NUMBER: _ClassVar[int]
    UNIT_PRICE_FIELD_NUMBER: _ClassVar[int]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PACKAGE_PRICE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    FIXED_FEE_PER_EVENT_FIELD_NUMBER: _ClassVar[int]
    MIN_PER_EVENT_FIELD_NUMBER: _ClassVar[int]
    MAX_PER_EVENT_FIELD_NUMBER: _ClassVar[int]
    FLAT_FEE_AT_ZERO_USAGE_FIELD_NUMBER: _ClassVar[int]
    DISCOUNT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    FREE_EVENTS_FIELD_NUMBER: _ClassVar[int]
    FREE_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    PRORATE_FIELD_NUMBER: _ClassVar[int]
    PRORATE_INCLUDED_UNITS_FIELD_NUMBER: _ClassVar[int]
    PRORATE_TIERS_FIELD_NUMBER: _ClassVar[int]
    PRORATE_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    TIER_WINDOW_FIELD_NUMBER: _ClassVar[int]
    SMOOTHING_PERIODS_FIELD_NUMBER: _ClassVar[int]
    id: str
    model: ChargeModel
    meter: str
    where: _containers.MessageMap[str, DimensionValues]
    included_units: str
    amount: str
    timing: Timing
    unit_price: str
    tiers: _containers.RepeatedCompositeFieldContainer[Tier]
    package_size: str
    package_price: str
    percent: str
    fixed_fee_per_event: str
    min_per_event: str
    max_per_event: str
    flat_fee_at_zero_usage: bool
    discount_percent: str
    maximum_amount: str
    minimum_amount: str
    free_events: int
    free_amount: str
    prorate: bool
    prorate_included_units: bool
    prorate_tiers: bool
    prorate_minimum: bool
    tier_window: TierWindow
    smoothing_periods: int
    def __init__(self, id: _Optional[str] = ..., model: _Optional[_Union[ChargeModel, str]] = ..., meter: _Optional[str] = ..., where: _Optional[_Mapping[str, DimensionValues]] = ..., included_units: _Optional[str] = ..., amount: _Optional[str] = ..., timing: _Optional[_Union[Timing, str]] = ..., unit_price: _Optional[str] = ..., tiers: _Optional[_Iterable[_Union[Tier, _Mapping]]] = ..., package_size: _Optional[str] = ..., package_price: _Optional[str] = ..., percent: _Optional[str] = ..., fixed_fee_per_event: _Optional[str] = ..., min_per_event: _Optional[str] = ..., max_per_event: _Optional[str] = ..., flat_fee_at_zero_usage: _Optional[bool] = ..., discount_percent: _Optional[str] = ..., maximum_amount: _Optional[str] = ..., minimum_amount: _Optional[str] = ..., free_events: _Optional[int] = ..., free_amount: _Optional[str] = ..., prorate: _Optional[bool] = ..., prorate_included_units: _Optional[bool] = ..., prorate_tiers: _Optional[bool] = ..., prorate_minimum: _Optional[bool] = ..., tier_window: _Optional[_Union[TierWindow, str]] = ..., smoothing_periods: _Optional[int] = ...) -> None: ...

class DimensionValues(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[str]] = ...) -> None: ...

class Tier(_message.Message):
    __slots__ = ("up_to", "unit_price", "flat_fee", "percent")
    UP_TO_FIELD_NUMBER: _ClassVar[int]
    UNIT_PRICE_FIELD_NUMBER: _ClassVar[int]
    FLAT_FEE_FIELD_NUMBER: _ClassVar[int]
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    up_to: str
    unit_price: str
    flat_fee: str
    percent: str
    def __init__(self, up_to: _Optional[str] = ..., unit_price: _Optional[str] = ..., flat_fee: _Optional[str] = ..., percent: _Optional[str] = ...) -> None: ...

class Commitment(_message.Message):
    __slots__ = ("id", "amount", "term", "discount_percent", "counted_at", "overage_factor", "true_up", "covers", "quantity", "payment", "schedule", "rollover")
    ID_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    TERM_FIELD_NUMBER: _ClassVar[int]
    DISCOUNT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    COUNTED_AT_FIELD_NUMBER: _ClassVar[int]
    OVERAGE_FACTOR_FIELD_NUMBER: _ClassVar[int]
    TRUE_UP_FIELD_NUMBER: _ClassVar[int]
    COVERS_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    ROLLOVER_FIELD_NUMBER: _ClassVar[int]
    id: str
    amount: str
    term: BillingPeriod
    discount_percent: str
    counted_at: CountedAt
    overage_factor: str
    true_up: bool
    covers: _containers.RepeatedScalarFieldContainer[str]
    quantity: str
    payment: Payment
    schedule: _containers.RepeatedCompositeFieldContainer[Installment]
    rollover: Rollover
    def __init__(self, id: _Optional[str] = ..., amount: _Optional[str] = ..., term: _Optional[_Union[BillingPeriod, str]] = ..., discount_percent: _Optional[str] = ..., counted_at: _Optional[_Union[CountedAt, str]] = ..., overage_factor: _Optional[str] = ..., true_up: _Optional[bool] = ..., covers: _Optional[_Iterable[str]] = ..., quantity: _Optional[str] = ..., payment: _Optional[_Union[Payment, str]] = ..., schedule: _Optional[_Iterable[_Union[Installment, _Mapping]]] = ..., rollover: _Optional[_Union[Rollover, _Mapping]] = ...) -> None: ...

class Installment(_message.Message):
    __slots__ = ("at", "amount")
    AT_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    at: str
    amount: str
    def __init__(self, at: _Optional[str] = ..., amount: _Optional[str] = ...) -> None: ...

class Rollover(_message.Message):
    __slots__ = ("fraction", "maximum_amount", "expires_after")
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    fraction: str
    maximum_amount: str
    expires_after: str
    def __init__(self, fraction: _Optional[str] = ..., maximum_amount: _Optional[str] = ..., expires_after: _Optional[str] = ...) -> None: ...

class PlanExample(_message.Message):
    __slots__ = ("usage", "total", "lines")
    class LinesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    USAGE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    usage: _containers.RepeatedCompositeFieldContainer[MeterUsage]
    total: str
    lines: _containers.ScalarMap[str, str]
    def __init__(self, usage: _Optional[_Iterable[_Union[MeterUsage, _Mapping]]] = ..., total: _Optional[str] = ..., lines: _Optional[_Mapping[str, str]] = ...) -> None: ...

class MeterUsage(_message.Message):
    __slots__ = ("meter", "quantities")
    METER_FIELD_NUMBER: _ClassVar[int]
    QUANTITIES_FIELD_NUMBER: _ClassVar[int]
    meter: str
    quantities: _containers.RepeatedCompositeFieldContainer[UsageQuantity]
    def __init__(self, meter: _Optional[str] = ..., quantities: _Optional[_Iterable[_Union[UsageQuantity, _Mapping]]] = ...) -> None: ...

class UsageQuantity(_message.Message):
    __slots__ = ("quantity", "dimensions", "match_all")
    class DimensionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    MATCH_ALL_FIELD_NUMBER: _ClassVar[int]
    quantity: str
    dimensions: _containers.ScalarMap[str, str]
    match_all: bool
    def __init__(self, quantity: _Optional[str] = ..., dimensions: _Optional[_Mapping[str, str]] = ..., match_all: _Optional[bool] = ...) -> None: ...
