"""Which modules a stage is made of, and a digest that changes when their code does.

Snakemake does not see an edit of a package that a rule's command imports. The digest goes into
the rule's ``params``, so the edit reruns what it touches. Comments and docstrings do not count:
they change no result, and a search can take a day.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def source_digest(*modules: str) -> str:
    """SHA-256 over the code of ``modules`` and of all that they import from this package."""
    reached: set[str] = set()
    for module in modules:
        reached |= imported_by(module)
    digest = hashlib.sha256()
    for module in sorted(reached):
        digest.update(f"{module}\n{_code(module)}\n".encode())
    return digest.hexdigest()


def imported_by(module: str) -> set[str]:
    """``module`` and all modules of this package that importing it can import, at any depth."""
    reached, waiting = set(), [module]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting += _imports(current)
    return reached


def module_names() -> list[str]:
    """All modules of this package, dotted."""
    paths = (path.relative_to(PACKAGE.parent) for path in PACKAGE.rglob("*.py"))
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths)


@cache
def _path(module: str) -> Path | None:
    base = PACKAGE.parent.joinpath(*module.split("."))
    candidates = (base / "__init__.py", base.with_suffix(".py"))
    return next((path for path in candidates if path.is_file()), None)


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules of this package that ``module`` names in an import, and the packages around them."""
    found: set[str] = set()
    for node in ast.walk(_tree(module)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] == PACKAGE.name:
                prefixes = (".".join(parts[: end + 1]) for end in range(len(parts)))
                found |= {prefix for prefix in prefixes if _path(prefix) is not None}
    return tuple(sorted(found))


def _tree(module: str) -> ast.Module:
    path = _path(module)
    if path is None:
        raise ModuleNotFoundError(f"no module {module!r} in {PACKAGE}")
    return ast.parse(path.read_text())


@cache
def _code(module: str) -> str:
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree) + "".join(_compiled_sources(module))


def _compiled_sources(module: str) -> list[str]:
    """What a package compiles: the files of its folder ``csrc``."""
    path = _path(module)
    if path is None or path.name != "__init__.py":
        return []
    return [source.read_text() for source in sorted(path.parent.glob("csrc/*"))]
