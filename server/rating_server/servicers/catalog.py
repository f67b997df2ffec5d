"""CatalogService: meters and plans."""

from __future__ import annotations

import asyncio

from grpc import aio

from ratewright.v1 import catalog_service_pb2 as pb
from rating_server.servicers import convert_plan
from rating_server.servicers.rpc import add_service, unary
from rating_server.usecases import read_catalogue
from rating_server.usecases.check_plan import check_plan
from rating_server.usecases.context import Context, reach
from rating_server.usecases.create_meter import create_meter
from rating_server.usecases.create_plan import create_plan
from rating_server.usecases.failure import invalid

SERVICE = pb.DESCRIPTOR.services_by_name["CatalogService"].full_name


class CatalogServicer:
    """Serves CatalogService."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def create_meter(self, request: pb.CreateMeterRequest) -> pb.CreateMeterResponse:
        """Create a meter."""
        if not request.HasField("meter"):
            raise invalid("meter", "MISSING", "a meter is required")
        document = convert_plan.from_proto_meter(request.meter)
        stored, replayed = await create_meter(self._context, document, request.request_id)
        meter = convert_plan.to_proto_meter(stored)
        return pb.CreateMeterResponse(meter=meter, replayed=replayed)

    async def get_meter(self, request: pb.GetMeterRequest) -> pb.GetMeterResponse:
        """Get a meter."""
        meter_id = convert_plan.parse_meter_name(request.name, "name")
        stored = await read_catalogue.get_meter(self._context, meter_id)
        return pb.GetMeterResponse(meter=convert_plan.to_proto_meter(stored))

    async def list_meters(self, request: pb.ListMetersRequest) -> pb.ListMetersResponse:
        """List meters by id."""
        page, token = await read_catalogue.list_meters(
            self._context, request.page_size, request.page_token
        )
        meters = [convert_plan.to_proto_meter(stored) for stored in page]
        return pb.ListMetersResponse(meters=meters, next_page_token=token)

    async def create_plan(self, request: pb.CreatePlanRequest) -> pb.CreatePlanResponse:
        """Publish a plan version."""
        if not request.HasField("plan"):
            raise invalid("plan", "MISSING", "a plan is required")
        document = convert_plan.from_proto_plan(request.plan)
        times = convert_plan.from_proto_times(request)
        published = await create_plan(self._context, document, times, request.request_id)
        return pb.CreatePlanResponse(
            plan=convert_plan.to_proto_plan(published.stored),
            replayed=published.replayed,
            warnings=published.warnings,
        )

    async def get_plan(self, request: pb.GetPlanRequest) -> pb.GetPlanResponse:
        """Get a plan version."""
        plan_id, version = convert_plan.parse_plan_name(request.name, "name")
        stored = await read_catalogue.get_plan(self._context, plan_id, version)
        return pb.GetPlanResponse(plan=convert_plan.to_proto_plan(stored))

    async def list_plans(self, request: pb.ListPlansRequest) -> pb.ListPlansResponse:
        """List the latest versions of all plans, or all versions of one."""
        plan_id = None
        if request.parent:
            plan_id, version = convert_plan.parse_plan_name(request.parent, "parent")
            if version:
                raise invalid("parent", "BAD_NAME", "expected plans/{id}")
        page, token = await read_catalogue.list_plans(
            self._context, plan_id, request.page_size, request.page_token
        )
        plans = [convert_plan.to_proto_plan(stored) for stored in page]
        return pb.ListPlansResponse(plans=plans, next_page_token=token)

    async def check_plan(self, request: pb.CheckPlanRequest) -> pb.CheckPlanResponse:
        """Check a plan without storing it."""
        if not request.HasField("plan"):
            raise invalid("plan", "MISSING", "a plan is required")
        document = convert_plan.from_proto_plan(request.plan)
        store = self._context.store
        await reach(store.refresh_catalogue())
        check = await asyncio.to_thread(
            check_plan, document, self._context.minor_unit, store.meters
        )
        return pb.CheckPlanResponse(
            faults=[
                pb.PlanFault(path=fault.path, reason=fault.reason, message=fault.message)
                for fault in check.faults
            ],
            warnings=check.warnings,
            examples=[
                pb.ExampleResult(passed=not differences, differences=differences)
                for differences in check.examples
            ],
        )


def register(server: aio.Server, servicer: CatalogServicer) -> None:
    """Register CatalogService on the server."""
    add_service(
        server,
        SERVICE,
        {
            "CreateMeter": unary("CreateMeter", pb.CreateMeterRequest, servicer.create_meter),
            "GetMeter": unary("GetMeter", pb.GetMeterRequest, servicer.get_meter),
            "ListMeters": unary("ListMeters", pb.ListMetersRequest, servicer.list_meters),
            "CreatePlan": unary("CreatePlan", pb.CreatePlanRequest, servicer.create_plan),
            "GetPlan": unary("GetPlan", pb.GetPlanRequest, servicer.get_plan),
            "ListPlans": unary("ListPlans", pb.ListPlansRequest, servicer.list_plans),
            "CheckPlan": unary("CheckPlan", pb.CheckPlanRequest, servicer.check_plan),
        },
    )
