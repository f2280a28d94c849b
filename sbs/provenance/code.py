"""The modules that a stage depends on, and a digest that changes when their code changes.

Snakemake does not notice an edit of a package that a rule's command imports. So the digest is one
of the rule's ``params``: an edit reruns what depends on it. Comments and docstrings do not count:
they change no result, and a search can take a day.

Modules are read as text and never imported, so a digest does not need PyTorch.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

from sbs.errors import SBSError

PACKAGE = "sbs"


def source_digest(*modules: str) -> str:
    """SHA-256 over the code of ``modules`` and of everything in :func:`imported_by`.

    Raises:
        SBSError: there is no such module.
    """
    reached: set[str] = set()
    for module in modules:
        reached |= imported_by(module)
    digest = hashlib.sha256()
    for module in sorted(reached):
        digest.update(f"{module}\n{_code(module)}\n".encode())
    return digest.hexdigest()


def imported_by(module: str) -> set[str]:
    """``module`` and every module that it imports, directly or through others.

    Modules of this package and of the module's own top-level package count. Other packages do not:
    run records hold their versions.

    Raises:
        SBSError: there is no such module.
    """
    packages = {PACKAGE, module.partition(".")[0]}
    reached: set[str] = set()
    waiting = [*_with_parents(module)]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting += [name for name in _imports(current) if name.partition(".")[0] in packages]
    return reached


def _with_parents(module: str) -> Iterator[str]:
    """``a.b`` and its package ``a``: importing ``a.b`` runs the code of ``a`` too."""
    parts = module.split(".")
    yield module
    for end in range(1, len(parts)):
        parent = ".".join(parts[:end])
        if _path(parent) is not None:
            yield parent


@cache
def _path(module: str) -> Path | None:
    """The file of a module; None if the name is not a Python file (a function, for example)."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None:
        return None
    if not rest and spec.origin and spec.origin.endswith(".py"):
        return Path(spec.origin)
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if rest and path.is_file():
                return path
    return None


@cache
def _imports(module: str) -> tuple[str, ...]:
    """Modules that ``module`` imports, and the packages that contain them."""
    path, tree = _parsed(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    own = {PACKAGE, module.partition(".")[0]}
    found: set[str] = set()
    for name in _named(tree, package):
        if name.partition(".")[0] in own:
            found |= {one for one in _with_parents(name) if _path(one) is not None}
    return tuple(sorted(found))


def _named(tree: ast.Module, package: str) -> Iterator[str]:
    """Dotted names in the import statements: modules, and names that can be modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _parsed(module: str) -> tuple[Path, ast.Module]:
    path = _path(module)
    if path is None:
        raise SBSError(f"{module}: no such Python module; is its package installed here?")
    return path, ast.parse(path.read_text())


@cache
def _code(module: str) -> str:
    path, tree = _parsed(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree) + "".join(_compiled_sources(path))


def _compiled_sources(path: Path) -> list[str]:
    """Sources that the package of this ``__init__.py`` compiles: the files in its ``csrc``."""
    if path.name != "__init__.py":
        return []
    return [source.read_text() for source in sorted(path.parent.glob("csrc/*"))]
