"""Find the modules that register something, in this package and in others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sbs.errors import SBSError

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Room:
    """Where things of one kind are registered.

    Attributes:
        kind: what a person calls it.
        name: folder of this package; also the entry-point group ``sbs.<name>``.
        variable: what a module assigns at its top level to register.
    """

    kind: str
    name: str
    variable: str

    def modules(self) -> Iterator[str]:
        """Dotted names of all modules that register, those of other packages last."""
        for path in sorted((PACKAGE / self.name).iterdir()):
            source = path / "__init__.py" if path.is_dir() else path
            if source.suffix == ".py" and source.is_file() and self._registers(source):
                yield f"{PACKAGE.name}.{self.name}.{path.stem}"
        for entry in sorted(entry_points(group=f"{PACKAGE.name}.{self.name}")):
            yield entry.module

    def literal(self, module: str) -> dict[str, Any]:
        """The value of the room's variable in a module, read without running the module.

        Raises:
            SBSError: the module is missing, or its value is not a literal dictionary.
        """
        path = source_of(module)
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and _names(node) == [self.variable]:
                try:
                    value = ast.literal_eval(node.value)
                except ValueError:
                    break
                if isinstance(value, dict):
                    return value
        raise SBSError(
            f"{path}: to register a {self.kind}, assign a dictionary of plain values to "
            f"{self.variable} at the top of the module"
        )

    def _registers(self, source: Path) -> bool:
        return re.search(rf"^{self.variable}\b", source.read_text(), re.MULTILINE) is not None


def unknown(kind: str, name: str, known: list[str]) -> SBSError:
    """The error for a name that nobody registered."""
    return SBSError(f"unknown {kind} {name!r}; known are {', '.join(known)}")


@cache
def source_of(module: str) -> Path:
    """File of a module. Neither the module nor a package around it is run for that.

    Raises:
        SBSError: there is no such module.
    """
    top, *inner = module.split(".")
    found = find_spec(top)
    if found is not None and found.origin is not None:
        base = Path(found.origin)
        below = base.parent.joinpath(*inner)
        candidates = (below.with_suffix(".py"), below / "__init__.py") if inner else (base,)
        for path in candidates:
            if path.is_file():
                return path
    raise SBSError(f"module {module!r}: not installed, but an entry point of 'sbs' names it")


def _names(node: ast.Assign) -> list[str]:
    return [target.id for target in node.targets if isinstance(target, ast.Name)]
