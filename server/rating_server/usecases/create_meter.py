"""Create a meter of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping

from rating_core.errors import PlanInvalid
from rating_core.metering import catalogue_calls
from rating_core.plan.document import meter_from_document, meter_to_document
from rating_server.usecases.context import Context, check_request_id, reach
from rating_server.usecases.control import answered
from rating_server.usecases.failure import InvalidRequest, Violation


async def create_meter(
    context: Context, document: Mapping[str, object], request_id: str
) -> tuple[catalogue_calls.StoredMeter, bool]:
    """Create the meter; return it and whether the answer is a replay.

    Failures ALREADY_EXISTS, METER_MISMATCH, REQUEST_ID_REUSED; InvalidRequest with all faults.
    """
    check_request_id(request_id)
    try:
        meter = meter_from_document(document)
    except PlanInvalid as error:
        violations = [Violation(f"meter.{f.path}", f.reason, f.message) for f in error.faults]
        raise InvalidRequest(violations) from error
    call = catalogue_calls.CreateMeter(document=meter_to_document(meter), request_id=request_id)
    answer = answered(await reach(context.store.catalogue_call(call)), meter=meter.id)
    return catalogue_calls.StoredMeter(meter, answer.value["create_time"]), answer.replayed
