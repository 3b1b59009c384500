"""The house: no two files import each other in a loop, and what a device runs reaches no file that needs PyTorch."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "mfedge"


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the package that a file imports, in functions and for the sake of types too."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(name if name in known else node.module for name in names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text("utf-8")))
    return found & known


def test_no_files_import_each_other_in_a_loop() -> None:
    paths = modules()
    arrows = {name: imports(path, set(paths)) - {name} for name, path in paths.items()}
    assert sum(map(len, arrows.values())) > 300, "the imports are found"
    order: dict[str, int] = {}  # 1 while it is visited, 2 after

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert order.get(name) != 1, f"a loop: {' -> '.join((*way[way.index(name) :], name))}"
        if name in order:
            return
        order[name] = 1
        for other in sorted(arrows[name]):
            visit(other, (*way, name))
        order[name] = 2

    for name in sorted(arrows):
        visit(name, ())


def test_relative_imports_hide_no_arrow() -> None:
    for path in modules().values():
        tree = ast.parse(path.read_text("utf-8"))
        assert not any(isinstance(node, ast.ImportFrom) and node.level for node in ast.walk(tree)), path
