"""The rules of the house that a test can keep: import directions, sizes, public names, what an import costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "latewood"

# A room may import rooms of smaller levels, and itself.
LEVELS = {
    "errors": 0,
    "types": 1,
    "pipeline": 1,
    "protocols": 2,
    "_kernel": 2,
    "_reference": 3,
    "maxsim": 4,
    "endpoints": 4,
    "pages": 4,
    "ingest": 5,
    "encode": 5,
    "index": 5,
    "distinct": 6,
    "stores": 6,
    "evaluate": 6,
    "first": 6,
    "page_search": 6,
    "binding": 7,
    "beside": 7,
    "searching": 8,
    "collection": 9,
    "__init__": 11,
    "answers": 11,
    "following": 11,
    "folders": 11,
    "exchange": 11,
    "late_index": 11,
    "page_view": 11,
    "reindex": 11,
    "qdrant": 10,
    "sidecar": 11,
    "migrate": 11,
    "demo": 12,
    "serve": 12,
    "cli": 13,
    "__main__": 14,
}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "latewood":
                found |= {alias.name if alias.name in LEVELS else "__init__" for alias in node.names}
            elif node.module and node.module.startswith("latewood."):
                found.add(room_of(node.module))
        elif isinstance(node, ast.Import):
            found |= {room_of(alias.name) for alias in node.names if alias.name.split(".")[0] == "latewood"}
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path):
    relative = path.relative_to(SOURCE)
    room = relative.parts[0].removesuffix(".py")
    assert room in LEVELS, f"{room} has no level: give it one here and a line in ARCHITECTURE.md"
    for other in imports_of(path) - {room}:
        assert LEVELS[other] < LEVELS[room], (
            f"{relative} imports {other}: level {LEVELS[other]} is not below {LEVELS[room]}"
        )


def test_the_architecture_page_names_every_room():
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rooms = {p.name for p in SOURCE.iterdir() if not p.name.startswith("__") and p.suffix in {"", ".py"}}
    missing = [room for room in rooms if room.removesuffix(".py") not in page]
    assert not missing


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(path):
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}, which is not there"


def lines_of(function: ast.FunctionDef) -> int:
    """Lines of a function, its docstring not counted: what is said about it is not what it does."""
    first = function.body[0]
    said = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if said else 0)


def test_files_and_functions_stay_small():
    for path in [*SOURCE.rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "kernel").rglob("*.[ch]*")]:
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= 500, f"{path.relative_to(ROOT)} has over 500 lines"
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef):
                    assert lines_of(node) <= 60, f"{path.relative_to(ROOT)}: {node.name} has over 60 lines"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_public_names_are_stated_and_all_there():
    import latewood

    assert sorted(latewood.__all__) == latewood.__all__
    for name in latewood.__all__:
        assert getattr(latewood, name) is not None
    assert set(dir(latewood)) >= set(latewood.__all__)


def test_import_loads_numpy_and_the_kernel_and_nothing_heavy():
    heavy = (
        "torch",
        "sentence_transformers",
        "transformers",
        "tantivy",
        "scipy",
        "ir_measures",
        "typer",
        "rich",
        "sqlite3",
    )
    code = f"import latewood, sys; print([m for m in {heavy!r} if m in sys.modules], 'latewood._kernel' in sys.modules)"
    assert run_python(code) == "[] True"
