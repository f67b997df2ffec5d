"""The source tree keeps its own rules: sizes, names, one name in five places, one title a page."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from rating_core.catalog import ChargeModel

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = ("rating_core", "server", "clients", "protos", "benchmarks", "tests")
MODULE_LINES = 400
TEST_MODULE_LINES = 450
FUNCTION_LINES = 70
LINE_COLUMNS = 100
BANNED_MODULES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
BANNED_WORDS = {
    "billable_metric": "meter",
    "price_plan": "plan",
    "tariff": "plan",
    "invoice_line": "statement line",
    "topup": "credit grant",
}
PRAGMA = re.compile(r"\s+# (noqa|type: ignore).*$")
ENVIRONMENT = re.compile(r"\bos\.environ\b|\bgetenv\(|\benviron\[")
ENVIRONMENT_READERS = {"server/rating_server/bootstrap.py", "server/rating_server/settings.py"}


def _sources() -> list[Path]:
    found = [path for root in SOURCE_ROOTS for path in sorted((ROOT / root).rglob("*.py"))]
    return [path for path in found if "_pb2" not in path.name]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SOURCES = _sources()


@cache
def _tree(path: Path) -> ast.Module:
    """Return the syntax tree of a source, parsed once for all tests."""
    return ast.parse(path.read_text())


def test_modules_are_short():
    """No hand-written module of the product exceeds 400 lines, no test module 450."""
    long = {}
    for path in SOURCES:
        limit = TEST_MODULE_LINES if _name(path).startswith("tests/") else MODULE_LINES
        lines = len(path.read_text().splitlines())
        if lines > limit:
            long[_name(path)] = lines
    assert long == {}


def test_lines_fit_the_page():
    """No line of code exceeds 100 columns, but for the reasons of linter exceptions."""
    wide = [
        f"{_name(path)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if len(PRAGMA.sub("", line)) > LINE_COLUMNS
    ]
    assert wide == []


def test_functions_are_short():
    """No function body exceeds 70 lines."""
    long = []
    for path in SOURCES:
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.body[0].lineno + 1
                if lines > FUNCTION_LINES:
                    long.append(f"{_name(path)}:{node.name} ({lines})")
    assert long == []


def test_modules_are_named_for_their_subject():
    """No module is named for having no subject."""
    assert [_name(path) for path in SOURCES if path.stem in BANNED_MODULES] == []


def test_one_word_per_idea():
    """The product's code uses the glossary's words, not their synonyms."""
    product = [p for p in SOURCES if not _name(p).startswith("tests/")]
    found = [
        f"{_name(path)}: {word} (say {instead})"
        for path in product
        for word, instead in BANNED_WORDS.items()
        if word in path.read_text().lower()
    ]
    assert found == []


def test_only_bootstrap_and_settings_see_the_environment():
    """Environment variables are read in two modules of the server, and nowhere in the core."""
    product = [p for p in SOURCES if _name(p).startswith(("rating_core/", "server/", "clients/"))]
    readers = {_name(p) for p in product if ENVIRONMENT.search(p.read_text())}
    assert readers <= ENVIRONMENT_READERS


def test_the_core_knows_no_floating_point():
    """Quantities, prices and amounts are integers and exact decimals: no float in rating_core."""
    pattern = re.compile(r"\bfloat\(|float64|np\.float|: float\b")
    assert [
        _name(p)
        for p in SOURCES
        if _name(p).startswith("rating_core/") and pattern.search(p.read_text())
    ] == []


def test_every_package_module_says_what_it_is_for():
    """Every module of the product has a docstring."""
    silent = [
        _name(path)
        for path in SOURCES
        if not _name(path).startswith("tests/")
        and path.read_text().strip()
        and ast.get_docstring(_tree(path)) is None
    ]
    assert silent == []


def test_every_test_says_what_it_proves():
    """Every test function has a docstring."""
    silent = [
        f"{_name(path)}:{node.name}"
        for path in SOURCES
        if _name(path).startswith("tests/")
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and ast.get_docstring(node) is None
    ]
    assert silent == []


@pytest.mark.parametrize("model", list(ChargeModel), ids=lambda model: model.value)
def test_a_charge_model_has_one_name_in_five_places(model: ChargeModel):
    """Enum value, kernel file, reference function, golden case and docs section share the name."""
    name = model.value
    kernel = ROOT / "rating_core" / "kernels" / f"{name}.py"
    assert kernel.is_file()
    assert f"def {name}_amount(" in kernel.read_text()
    assert f"def {name}_amount(" in (ROOT / "rating_core" / "reference.py").read_text()
    cases = "".join(p.read_text() for p in (ROOT / "tests/golden/cases").glob("*.jsonl"))
    assert re.search(rf'"model":\s*"{name}"', cases)
    page = (ROOT / "docs/reference/charge-models.md").read_text()
    assert re.search(rf"^#+ {name}$", page, re.MULTILINE)
    proto = (ROOT / "protos/ratewright/v1/plan.proto").read_text()
    assert f"CHARGE_MODEL_{name.upper()} =" in proto


def test_every_page_has_one_title():
    """Each Markdown page has exactly one `# Title`, outside code blocks."""
    wrong = []
    for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        if len(re.findall(r"^# ", text, re.MULTILINE)) != 1:
            wrong.append(_name(path))
    assert wrong == []


def test_relative_links_lead_somewhere():
    """Every relative link of the documentation points at a file that exists."""
    dead = []
    for path in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        targets = re.findall(r"\]\(([^)#\s]+)", path.read_text())
        dead += [
            f"{_name(path)}: {target}"
            for target in targets
            if "://" not in target and not (path.parent / target).exists()
        ]
    assert dead == []


def test_constraints_pin_exact_versions_without_urls():
    """constraints.txt holds `name==version` lines and nothing else."""
    lines = (ROOT / "constraints.txt").read_text().split("\n")
    odd = [ln for ln in lines if ln and not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9_.+!]+", ln)]
    assert odd == []
