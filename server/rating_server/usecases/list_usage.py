"""List the time buckets of a customer's meters: its history (S6.3)."""

from __future__ import annotations

import json
from dataclasses import replace

from rating_core.metering.calls import DAY_US, BucketKey, BucketsAnswer, GetBuckets
from rating_core.period import INSTANT_MAX
from rating_server.usecases.context import Context, check_customer, reach
from rating_server.usecases.failure import Failure, InvalidRequest, Violation, invalid
from rating_server.usecases.page import Scope, decode_token, encode_token, size_of_page

RANGE_MAX_US = 400 * DAY_US


async def list_usage(
    context: Context,
    customer: str,
    start: int | None,
    end: int | None,
    meter: str,
    page_size: int,
    page_token: str,
) -> tuple[BucketsAnswer, str]:
    """Return one page of the buckets that reach into [start, end), µs, and the next page's token.

    ``end`` defaults to now, ``start`` to the start of the billing period that holds it; ``meter``
    is the id of one, or empty for all. Failure SUBSCRIPTION_NOT_FOUND, METER_NOT_FOUND;
    InvalidRequest for a range that is empty or longer than 400 days, and for a bad page.
    """
    check_customer(customer)
    size = size_of_page(page_size)
    until = context.now() if end is None else end
    if start is not None and not 0 <= until - start <= RANGE_MAX_US:
        text = "expected at most 400 days, the end not before the start"
        raise InvalidRequest([Violation("end_time", "BAD_RANGE", text)])
    if meter:
        await _check_meter(context, meter)
    scope = ("usage", customer, start, end, meter)
    after = _key(page_token, scope) if page_token else None
    question = GetBuckets(customer, start, until, meter, after, size + 1)
    answer: BucketsAnswer = await reach(context.store.ask(context.shard(customer), question))
    if answer.subscription is None:
        raise Failure(
            "SUBSCRIPTION_NOT_FOUND", f"customer {customer} has no subscription", customer=customer
        )
    if any(bucket.end > INSTANT_MAX for bucket in answer.buckets):
        raise invalid("end_time", "OUT_OF_RANGE", "a bucket ends beyond year 9999")
    if len(answer.buckets) <= size:
        return answer, ""
    page = answer.buckets[:size]
    token = encode_token(json.dumps(page[-1].key, separators=(",", ":")), scope)
    return replace(answer, buckets=page), token


async def _check_meter(context: Context, meter: str) -> None:
    if meter not in context.store.meters:
        await context.store.refresh_catalogue()
    known = context.store.meters.get(meter)
    if known is None:
        name = f"meters/{meter}"
        raise Failure("METER_NOT_FOUND", f"{name} does not exist", name=name)
    if known.buckets is None:
        raise invalid("meter", "METER_WITHOUT_BUCKETS", f"meter {meter} keeps no buckets")


def _key(token: str, scope: Scope) -> BucketKey:
    try:
        start, meter, dimensions = json.loads(decode_token(token, scope))
        return int(start), str(meter), tuple((str(name), str(value)) for name, value in dimensions)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise invalid("page_token", "BAD_PAGE_TOKEN", "not a token of this list") from error
