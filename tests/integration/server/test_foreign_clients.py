"""Clients that hold no code of ours: `buf curl` by reflection, Node with the `.proto` files."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import google.rpc
import grpc
import pytest
from google.rpc import error_details_pb2

from ratewright.v1 import usage_service_pb2 as usage

PROTOS = Path(__file__).resolve().parents[3] / "protos"
GOOGLE_PROTOS = Path(next(iter(google.rpc.__path__))).parents[1]
FOREIGN = Path(__file__).parent / "foreign"
JANUARY_US = 1_767_225_600_000_000
INSTALL_SECONDS = 120
BATCHES, ROWS = 12, 500


class BufCurl:
    """`buf curl` in an empty directory, so that it knows the API by reflection alone."""

    def __init__(self, target: str, folder: Path) -> None:
        self._target = target
        self._folder = folder

    def __call__(self, method: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Call ``ratewright.v1.<method>``; return the exit status and the response or error."""
        binary = Path(sys.executable).with_name("buf")
        done = subprocess.run(
            [
                *[binary, "curl", "--protocol", "grpc", "--http2-prior-knowledge"],
                *["--data", json.dumps(request)],
                f"http://{self._target}/ratewright.v1.{method}",
            ],
            cwd=self._folder,
            env={"HOME": str(self._folder)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, json.loads(done.stderr if done.returncode else done.stdout)


@pytest.fixture
def buf_curl(server, tmp_path) -> BufCurl:
    """A caller that learns the API from the shared server by reflection."""
    return BufCurl(server.target, tmp_path)


PLAN = {
    "id": "buf-plan",
    "currency": "USD",
    "billingPeriod": "BILLING_PERIOD_MONTH",
    "meters": [{"id": "buf-units", "aggregation": "AGGREGATION_SUM"}],
    "charges": [
        {
            "id": "units",
            "model": "CHARGE_MODEL_GRADUATED",
            "meter": "buf-units",
            "tiers": [{"upTo": "1000", "unitPrice": "0.004"}, {"unitPrice": "0.003"}],
        }
    ],
}


def quote(plan: dict[str, Any]) -> dict[str, Any]:
    """A RateUsage request: 10,000 units on a whole plan."""
    quantity = {"quantity": "10000", "matchAll": True}
    return {"plan": plan, "usage": [{"meter": "buf-units", "quantities": [quantity]}]}


def test_buf_curl_rates_usage(buf_curl):
    """RateUsage through reflection gives the exact amounts: 1,000 × 0.004 + 9,000 × 0.003."""
    status, answer = buf_curl("RatingService/RateUsage", quote(PLAN))
    assert status == 0, answer
    statement = answer["statement"]
    assert statement["total"] == "31.00"
    (line,) = statement["lines"]
    assert [(part["quantity"], part["amount"]) for part in line["slices"]] == [
        ("1000", "4"),
        ("9000", "27"),
    ]


def test_buf_curl_records_usage(server, road, buf_curl):
    """RecordUsage through reflection counts; the same call again is a duplicate."""
    road.subscribe(server, "buf", "buf-customer")
    record = {
        "eventId": "from-buf",
        "customer": "buf-customer",
        "meter": "buf-tokens",
        "quantity": "1500",
        "eventTime": "2026-01-02T00:00:00Z",
        "dimensions": {"model": "large"},
    }
    request = {"records": [record, {**record, "eventId": "other", "meter": "no-such-meter"}]}
    rejected = {"status": "RECORD_STATUS_REJECTED", "reason": "REJECT_REASON_UNKNOWN_METER"}
    for expected in ("RECORD_STATUS_ACCEPTED", "RECORD_STATUS_DUPLICATE"):
        status, answer = buf_curl("UsageService/RecordUsage", request)
        assert (status, answer) == (0, {"results": [{"status": expected}, rejected]})
    status, counted = buf_curl(
        "UsageService/GetUsage", {"customer": "buf-customer", "time": "2026-01-02T00:00:00Z"}
    )
    assert status == 0, counted
    assert [counter["value"] for counter in counted["counters"]] == ["1500"]


def test_buf_curl_gets_a_readable_error(buf_curl):
    """A bad plan gets its code, an ErrorInfo and every violated field."""
    tiers = [{"upTo": "1000", "unitPrice": "1e3"}, {"unitPrice": "0.003"}]
    plan = {**PLAN, "currency": "US", "charges": [{**PLAN["charges"][0], "tiers": tiers}]}
    status, error = buf_curl("RatingService/RateUsage", quote(plan))
    invalid: int = grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (status, error["code"]) == (invalid << 3, "invalid_argument")
    details = {
        detail["type"].rpartition(".")[2]: base64.b64decode(detail["value"] + "==")
        for detail in error["details"]
    }
    info = error_details_pb2.ErrorInfo.FromString(details["ErrorInfo"])
    assert (info.reason, info.domain) == ("PLAN_INVALID", "ratewright.v1")
    bad = error_details_pb2.BadRequest.FromString(details["BadRequest"])
    assert [violation.field for violation in bad.field_violations] == [
        "plan.currency",
        "plan.charges[0].tiers[0].unit_price",
    ]


@pytest.fixture(scope="module")
def node_folder(request, tmp_path_factory) -> Path:
    """A folder with ingest.mjs and the packages it needs; kept in pytest's cache for the next run.

    Skips where there is no Node, or where its packages cannot be had.
    """
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not found")
    package = (FOREIGN / "package.json").read_bytes()
    # The folder is named for what is in it: other versions are installed afresh.
    name = f"foreign-node-{hashlib.sha256(package).hexdigest()[:12]}"
    cache = getattr(request.config, "cache", None)  # none under `-p no:cacheprovider`
    folder: Path = cache.mkdir(name) if cache is not None else tmp_path_factory.mktemp(name)
    for source in ("package.json", "ingest.mjs"):
        shutil.copy(FOREIGN / source, folder)
    installed = folder / "installed"
    if not installed.exists():
        flags = ["--ignore-scripts", "--no-package-lock", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                ["npm", "install", *flags, "--loglevel", "error"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=INSTALL_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm could not install the packages within {INSTALL_SECONDS} s")
        if done.returncode:
            code = re.search(r"npm error code (\w+)", done.stderr)
            pytest.skip(f"npm could not install the packages: {code[1] if code else 'no reason'}")
        installed.touch()
    return folder


@pytest.fixture(scope="module")
def streamed(server, road, node_folder) -> dict[str, Any]:
    """What ingest.mjs printed after it streamed to the shared server."""
    customers = [f"node-{number}" for number in range(5)]
    for customer in customers:
        road.subscribe(server, "node", customer)
    done = subprocess.run(
        [
            *["node", "ingest.mjs", server.target, "node-tokens", ",".join(customers)],
            *[str(BATCHES), str(ROWS), str(PROTOS), str(GOOGLE_PROTOS)],
        ],
        cwd=node_folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed: dict[str, Any] = json.loads(done.stdout)
    assert printed["unexpected"] == []
    return printed


def test_node_streams_batches_and_each_is_answered(streamed):
    """Every batch is answered in order: all of its records are accepted."""
    answers = streamed["first"]
    assert [answer["batchNumber"] for answer in answers] == [str(n) for n in range(BATCHES)]
    assert [answer["acceptedCount"] for answer in answers] == [ROWS] * BATCHES
    assert [answer["statuses"] for answer in answers] == [[]] * BATCHES


def test_node_resends_and_nothing_doubles(streamed):
    """The same batches again: every record is DUPLICATE."""
    answers = streamed["again"]
    assert [answer["duplicateCount"] for answer in answers] == [ROWS] * BATCHES
    assert [answer["statuses"] for answer in answers] == [
        ["RECORD_STATUS_DUPLICATE"] * ROWS
    ] * BATCHES


def test_node_gets_a_status_and_a_reason_for_each_record(streamed):
    """One batch with a 54-bit quantity, a conflict, and two rejects says which is which."""
    (answer,) = streamed["odd"]
    counts = ("acceptedCount", "conflictCount", "rejectedCount", "duplicateCount", "retryCount")
    assert [answer[count] for count in counts] == [1, 1, 2, 0, 0]
    assert answer["statuses"] == [
        "RECORD_STATUS_ACCEPTED",
        "RECORD_STATUS_CONFLICT",
        "RECORD_STATUS_REJECTED",
        "RECORD_STATUS_REJECTED",
    ]
    assert answer["reasons"] == [
        "REJECT_REASON_UNSPECIFIED",
        "REJECT_REASON_UNSPECIFIED",
        "REJECT_REASON_UNKNOWN_METER",
        "REJECT_REASON_NO_SUBSCRIPTION",
    ]


def test_node_reads_why_a_stream_ended(streamed):
    """A faulty batch ends the stream after the answers before it, with ErrorInfo and its column."""
    faulty = streamed["faulty"]
    assert [answer["duplicateCount"] for answer in faulty["answers"]] == [ROWS]
    error = faulty["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    details = {detail["type"].rpartition(".")[2]: detail for detail in error["details"]}
    info = details["ErrorInfo"]
    assert (info["reason"], info["domain"]) == ("BATCH_INVALID", "ratewright.v1")
    violations = details["BadRequest"]["fieldViolations"]
    assert [violation["field"] for violation in violations] == ["batch.quantities"]


def test_what_node_streamed_is_counted_exactly(server, streamed):
    """The counters hold every record once, to the last of 54 bits."""
    sums: dict[str, int] = {"large": 0, "small": 0, "": 0}
    for number in range(5):
        request = usage.GetUsageRequest(customer=f"node-{number}")
        request.time.FromMicroseconds(JANUARY_US)
        for counter in server.usage.GetUsage(request).counters:
            sums[counter.dimensions.get("model", "")] += int(counter.value)
    of_model = [0, 0]
    for row in range(ROWS):
        of_model[row // 5 % 2] += (row + 1) * BATCHES
    assert sums == {"large": of_model[0], "small": of_model[1], "": 2**53 + 1}
