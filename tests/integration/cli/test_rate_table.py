"""`rate --out`: tables in CSV and Parquet, every row equal to the reference, in constant memory."""

from __future__ import annotations

import csv
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from rating_core.catalog import Usage, UsageEntry
from rating_core.plan.document import plan_from_document
from rating_core.reference import reference_statement
from rating_server.cli.entry import run
from rating_server.currency import minor_unit
from rating_server.documents import parse_document

PLAN = """
id: api
currency: USD
billing_period: month
rounding: {mode: half_even, scale: 8}
meters:
  - {id: calls, aggregation: count}
  - {id: unpriced, aggregation: sum}
  - {id: gigabytes, aggregation: sum, scale: 3, dimensions: [zone]}
  - {id: pay, aggregation: sum, scale: 2}
charges:
  - {id: base, model: flat_fee, amount: "49"}
  - id: calls
    meter: calls
    included_units: "10"
    model: graduated
    tiers: [{up_to: "100", unit_price: "0.00000025"}, {unit_price: "0.125", flat_fee: "5"}]
  - id: traffic
    meter: gigabytes
    where: {zone: eu}
    model: volume
    tiers: [{up_to: "99.5", unit_price: "0.09"}, {unit_price: "0.07"}]
    discount_percent: "12.5"
  - id: pay
    meter: pay
    model: percentage
    percent: "2.9"
    fixed_fee_per_event: "0.3"
    min_per_event: "0.5"
commitments: [{id: annual, amount: "100", discount_percent: "20", covers: [calls, traffic]}]
maximum_amount: "1000000000"
"""
COLUMNS = ["base", "calls", "traffic", "pay", "annual", "total", "status"]
Rows = list[tuple[str, int, Decimal, Decimal]]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan file."""
    path = tmp_path / "plan.yaml"
    path.write_text(PLAN)
    return path


@pytest.fixture
def rows() -> Rows:
    """Random rows: a name with every kind of sign, calls, gigabytes, payment."""
    draw = Random(11)
    names = ["", "plain", 'comma, quote " and\nline', "ünïcode", "'"]
    return [
        (
            draw.choice(names),
            draw.choice([0, 1, 10, 11, 110, 10 ** draw.randint(1, 9)]),
            Decimal(draw.choice([0, 99_500, 99_501, draw.randrange(10**9)])).scaleb(-3),
            Decimal(draw.randrange(10 ** draw.randint(1, 8))).scaleb(-2),
        )
        for _ in range(400)
    ]


def write_csv(path: Path, rows: Rows) -> None:
    """Write rows as CSV, columns in another order than the plan's meters."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["pay", "who", "calls", "gigabytes", "more"])
        writer.writerows([pay, who, calls, size, "x"] for who, calls, size, pay in rows)


def write_parquet(path: Path, rows: Rows) -> None:
    """Write rows as Parquet with a type of quantity each: text, integer, decimal."""
    who, calls, sizes, pays = zip(*rows, strict=True)
    table = pa.table(
        {
            "pay": pa.array([str(pay) for pay in pays]).dictionary_encode(),
            "who": pa.array(who).dictionary_encode(),
            "calls": pa.array(calls, pa.uint32()),
            "gigabytes": pa.array(sizes, pa.decimal128(20, 3)),
            "unused": pa.array([[1]] * len(rows)),
        }
    )
    pyarrow.parquet.write_table(table, path, row_group_size=150)


def read_table(path: Path) -> list[dict[str, object]]:
    """Read an output file; amounts as decimals."""
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    amounts = set(COLUMNS) - {"status"}
    return [{k: Decimal(v) if k in amounts else v for k, v in row.items()} for row in found]


def entry(quantity: int | Decimal) -> tuple[UsageEntry, ...]:
    """The usage of one meter."""
    return (UsageEntry(Decimal(quantity)),)


@pytest.mark.parametrize("source", ["usage.csv", "usage.parquet"])
@pytest.mark.parametrize("target", ["amounts.csv", "amounts.PARQUET"])
def test_every_row_equals_the_reference(
    plan: Path, rows: Rows, tmp_path: Path, source: str, target: str
) -> None:
    """All amounts, in order, from and to both formats, with the columns that are kept."""
    (write_csv if source.endswith("csv") else write_parquet)(tmp_path / source, rows)
    out = tmp_path / target
    usage = str(tmp_path / source)
    command = ["rate", "--plan", str(plan), "--usage", usage, "--out", str(out), "--keep", "who"]
    assert run(command) == 0
    if out.suffix == ".PARQUET":
        out = out.rename(tmp_path / "amounts.parquet")
        schema = pyarrow.parquet.read_schema(out)
        assert schema.field("total").type == pa.decimal128(19, 8)
    priced = plan_from_document(parse_document(PLAN, "plan"), minor_unit)
    found = read_table(out)
    assert len(found) == len(rows)
    for (who, calls, size, pay), row in zip(rows, found, strict=True):
        stated: Usage = {"calls": entry(calls), "gigabytes": entry(size), "pay": entry(pay)}
        statement = reference_statement(priced, stated)
        expected = dict.fromkeys(COLUMNS[:-2], Decimal(0))
        for line in statement.lines:
            if line.id in expected:
                expected[line.id] += statement.amount(line.amount)
        total = statement.amount(statement.total)
        assert (row["who"] or "") == who
        assert row == {"who": row["who"], **expected, "total": total, "status": "OK"}
    names = {"plan.yaml", source, "amounts.parquet" if ".PARQUET" in target else target}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_amounts_in_csv_have_all_their_digits(plan: Path, tmp_path: Path) -> None:
    """Small amounts and zeros are written with the plan's decimals, never as 1E-8."""
    usage = tmp_path / "usage.csv"
    usage.write_text("\ufeffcalls,gigabytes,pay\n11,,-0\n+12.,0.000,.00\n")
    out = tmp_path / "out.csv"
    plan.write_text(PLAN.replace('"49"', '"0"').replace("0.5", "0").replace('"0.3"', '"0"'))
    assert run(["rate", "--plan", str(plan), "--usage", str(usage), "--out", str(out)]) == 0
    assert out.read_text().splitlines() == [
        ",".join(COLUMNS),
        "0.00000000,0.00000025,0.00000000,0.00000000,-0.00000005,0.00000020,OK",
        "0.00000000,0.00000050,0.00000000,0.00000000,-0.00000010,0.00000040,OK",
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_blank_line_of_one_column_is_a_row(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], newline: str
) -> None:
    """It holds a blank, which is 0; so no row is lost, and faults are named by the right one."""
    plan.write_text(ONE_METER)
    usage, out = tmp_path / "usage.csv", tmp_path / "out.csv"
    usage.write_text(newline.join(["calls", "100", "", "300", ""]), newline="")
    assert run(["rate", "--plan", str(plan), "--usage", str(usage), "--out", str(out)]) == 0
    assert [row["total"] for row in read_table(out)] == [1, 0, 3]
    usage.write_text(newline.join(["calls", "100", "", "x"]), newline="")
    assert run(["rate", "--plan", str(plan), "--usage", str(usage), "--out", str(out)]) == 2
    assert "row 3: column calls" in capsys.readouterr().err


def test_odd_but_exact_tables_are_read(plan: Path, tmp_path: Path) -> None:
    """A header over two lines, more zeros than Arrow reads, a Parquet column of nulls only."""
    plan.write_text(ONE_METER)
    usage, out = tmp_path / "usage.csv", tmp_path / "out.csv"
    many = "0" * 50
    usage.write_text(f'"who\nelse",calls\na,{many}100\nb,200.{many}\nc,\n')
    command = ["rate", "--plan", str(plan), "--out", str(out), "--usage"]
    assert run([*command, str(usage), "--keep", "who\nelse"]) == 0
    rows = [(row["who\nelse"], row["total"]) for row in read_table(out)]
    assert rows == [("a", 1), ("b", 2), ("c", 0)]
    usage = tmp_path / "usage.parquet"
    pyarrow.parquet.write_table(pa.table({"calls": pa.nulls(2)}), usage)
    assert run([*command, str(usage)]) == 0
    assert [row["total"] for row in read_table(out)] == [0, 0]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_that_do_not_fit_are_marked(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    """Such a row has a status and no amounts; the others are priced; the exit status is 1."""
    usage, out = tmp_path / "usage.csv", tmp_path / f"out.{suffix}"
    usage.write_text(f"calls,gigabytes,pay\n1,0,1\n{2**63 - 1},0,1\n2,0,1\n")
    assert run(["rate", "--plan", str(plan), "--usage", str(usage), "--out", str(out)]) == 1
    printed = capsys.readouterr()
    assert printed.out == f"3 rows, total 99.00000000 USD: {out}\n"
    assert printed.err == ("ratewright: 1 rows do not fit 64 bits; their status is OUT_OF_RANGE\n")
    table = (
        pyarrow.parquet.read_table(out)
        if suffix == "parquet"
        else pyarrow.csv.read_csv(out, convert_options=pa.csv.ConvertOptions(null_values=[""]))
    )
    found = table.to_pylist()
    assert [row["status"] for row in found] == ["OK", "OUT_OF_RANGE", "OK"]
    assert found[1]["total"] is None
    assert found[2]["total"] == Decimal("49.5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("calls,gigabytes\n1,1\n", "no column pay; a row has a quantity for each meter"),
        ("calls,calls,gigabytes,pay\n1,1,1,1\n", "two columns are named calls"),
        ("calls,gigabytes,pay\n1,1,1\n1,1.0005,1\n", "row 2: column gigabytes: 1.0005 has more"),
        ("calls,gigabytes,pay\n1.5,1,1\n", "row 1: column calls: 1.5 has more than 0 decimals"),
        ("calls,gigabytes,pay\n1,1e3,1\n", "row 1: column gigabytes: expected a decimal number"),
        ("calls,gigabytes,pay\n1,1,\n", "row 1: column pay: no quantity"),
        (f"calls,gigabytes,pay\n{2**63},1,1\n", f"column calls: {2**63} does not fit 64 bits"),
        ("calls,gigabytes,pay\n1," + "9" * 50 + ",1\n", "does not fit 64 bits"),
        ("calls,gigabytes,pay\n1,1,1\n1,1\n", "Expected 3 columns, got 2"),
        ("calls,gigabytes,pay\n1,1,1\n\n1,x,1\n", "row 2: column gigabytes: expected"),
        ("calls,gigabytes,pay\n1,1,1\n" + "0" * 70 + "x,1,1\n", "row 2: column calls: expected"),
        ("calls,gigabytes,pay\n1,1." + "0" * 70 + ",1\n", "row 1: column gigabytes: expected"),
        ("", "no column calls and no column gigabytes and no column pay"),
    ],
)
def test_bad_tables_end_in_one_line(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    """What is wrong, in which row and column; exit status 2, and no file is left."""
    usage, out = tmp_path / "usage.csv", tmp_path / "out.parquet"
    usage.write_text(text)
    assert run(["rate", "--plan", str(plan), "--usage", str(usage), "--out", str(out)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ratewright: {usage}: ")
    assert words in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.yaml", "usage.csv"]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([1.5]), "expected integers, decimals or text, got double"),
        (pa.array([Decimal("1.0005")]), "row 1: column gigabytes: 1.0005 has more than 3 decimals"),
        (pa.array([2**64 - 1], pa.uint64()), "does not fit 64 bits"),
        (pa.array([Decimal(10**40)], pa.decimal256(50, 0)), "does not fit 64 bits"),
        (pa.array([True]), "got bool"),
    ],
)
def test_parquet_types_that_hold_no_exact_quantity(
    plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: pa.Array, words: str
) -> None:
    """Binary fractions are refused, and values that the meter cannot hold."""
    usage = tmp_path / "usage.parquet"
    one = pa.array([1])
    pyarrow.parquet.write_table(pa.table({"calls": one, "gigabytes": column, "pay": one}), usage)
    out = tmp_path / "out.csv"
    assert run(["rate", "--plan", str(plan), "--usage", str(usage), "--out", str(out)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--usage", "nowhere.csv", "--out", "o.csv"], "nowhere.csv: No such file"),
        (["--usage", "usage.csv", "--out", "o.txt"], "expected a name in .csv or .parquet"),
        (["--usage", "-", "--out", "o.csv"], "expected a name in .csv or .parquet"),
        (["--usage", "usage.csv", "--out", "no/o.csv"], "no such directory"),
        (["--usage", "usage.csv", "--out", "usage.csv"], "the usage file would be lost"),
        (["--usage", "usage.csv", "--out", "o.csv", "--keep", "total"], "column of that name"),
        (["--usage", "usage.csv", "--out", "o.csv", "--keep", "nil"], "no column nil"),
        (["--usage", "usage.csv", "--keep", "who"], "only with --out"),
        (["--usage", "usage.parquet"], "say where with --out"),
        (["--usage", "usage.csv", "--out", "d.csv"], "--out d.csv: is a directory"),
        (
            ["--usage", "usage.csv", "--out", "o.csv", "--format", "json"],
            "--format: not with --out",
        ),
        (
            ["--usage", "usage.csv", "--out", "o.csv", "--input-format", "csv"],
            "--input-format: not with --out",
        ),
        (["--usage", "junk.parquet", "--out", "o.csv"], "junk.parquet: Parquet"),
    ],
)
def test_mistakes_of_the_command_line(
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    """Each one is a line on standard error and exit status 2; the inputs stay as they were."""
    monkeypatch.chdir(tmp_path)
    text = "calls,gigabytes,pay,who,total\n1,1,1,x,1\n"
    (tmp_path / "usage.csv").write_text(text)
    (tmp_path / "junk.parquet").write_text("junk")
    (tmp_path / "d.csv").mkdir()
    (tmp_path / "o.csv.part").write_text("someone's")
    assert run(["rate", "--plan", str(plan), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert (tmp_path / "usage.csv").read_text() == text
    assert (tmp_path / "o.csv.part").read_text() == "someone's"
    names = ["d.csv", "junk.parquet", "o.csv.part", "plan.yaml", "usage.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_without_pyarrow_the_extra_is_named(
    plan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where pyarrow is not installed, one line says what to install."""
    for name in [name for name in sys.modules if name.startswith("rating_server.cli.rate_table")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    command = ["rate", "--plan", str(plan), "--usage", "u.csv", "--out", str(tmp_path / "o.csv")]
    assert run(command) == 2
    assert capsys.readouterr().err == (
        "ratewright: --out needs pyarrow: pip install 'ratewright[parquet]'\n"
    )


def test_memory_does_not_grow_with_the_table(plan: Path, tmp_path: Path) -> None:
    """40 MB more of numbers that do not compress, in one row group or many, change no peak."""
    plan.write_text(ONE_METER)
    small = peak_mb(plan, tmp_path, 500_000, 500_000)
    many = peak_mb(plan, tmp_path, 6_000_000, 250_000)
    one = peak_mb(plan, tmp_path, 6_000_000, 6_000_000)
    assert max(many, one) - small < 20, (small, many, one)


ONE_METER = """
id: one
currency: USD
billing_period: month
meters: [{id: calls, aggregation: sum}]
charges: [{id: calls, meter: calls, model: per_unit, unit_price: "0.01"}]
"""


def peak_mb(plan: Path, folder: Path, rows: int, group_rows: int) -> int:
    """Price so many rows in a process of its own; return its peak of memory in MB."""
    usage = folder / f"usage{rows}.parquet"
    draw = np.random.default_rng(rows)
    table = pa.table({"calls": draw.integers(0, 1 << 60, rows)})
    pyarrow.parquet.write_table(table, usage, row_group_size=group_rows, use_dictionary=False)
    code = "import sys; from rating_server.cli.entry import run\n"
    code += "status = run(sys.argv[1:])\n"
    # not ru_maxrss, which begins with what the process that started this one had
    code += "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    code += "sys.exit(status)"
    arguments = ["rate", "--plan", str(plan), "--usage", str(usage)]
    arguments += ["--out", str(folder / "out.parquet")]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.splitlines()[-1]) // 1024
