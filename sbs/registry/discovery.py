"""Find the modules that register something, in this package and in others."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from sbs.errors import SBSError

PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Room:
    """The place where things of one kind are registered.

    Attributes:
        kind: name of the kind, for messages.
        name: folder of this package; also the entry-point group ``sbs.<name>``.
        variable: variable that a module assigns at its top level to register.
    """

    kind: str
    name: str
    variable: str

    def modules(self) -> Iterator[str]:
        """Dotted names of all registering modules; those of other packages come last."""
        for path in sorted((PACKAGE / self.name).iterdir()):
            source = path / "__init__.py" if path.is_dir() else path
            if source.suffix == ".py" and source.is_file() and self._registers(source):
                yield f"{PACKAGE.name}.{self.name}.{path.stem}"
        yield from outside_modules(f"{PACKAGE.name}.{self.name}")

    def literal(self, module: str) -> dict[str, Any]:
        """Value of the room's variable in a module, read without running the module.

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


def outside_modules(group: str) -> list[str]:
    """Dotted names of the modules that other packages register by entry points of a group."""
    return [entry.module for entry in sorted(entry_points(group=group))]


class Named(Protocol):
    """A thing that can be registered."""

    @property
    def name(self) -> str:
        """Name in files and settings."""
        ...


T = TypeVar("T", bound=Named)


class Registry(Generic[T]):
    """Things of one kind by name. They are loaded on first use."""

    def __init__(self, room: Room, load: Callable[[str], Iterable[T]]) -> None:
        """Store the arguments; load nothing yet.

        Args:
            room: where modules register.
            load: returns what the module of a dotted name registers.
        """
        self.room, self._load = room, load
        self._found: dict[str, T] | None = None

    def all(self) -> Mapping[str, T]:
        """All things by name, in the order of their modules.

        Raises:
            SBSError: a name is registered twice.
        """
        if self._found is None:
            found: dict[str, T] = {}
            for module in self.room.modules():
                for one in self._load(module):
                    if one.name in found:
                        raise SBSError(
                            f"module {module}: {self.room.kind} {one.name!r} is already "
                            "registered; choose another name"
                        )
                    found[one.name] = one
            self._found = found
        return self._found

    def named(self, name: str) -> T:
        """The thing with this name.

        Raises:
            SBSError: the name is not registered.
        """
        if name not in self.all():
            known = listed(self.all())
            raise SBSError(f"unknown {self.room.kind} {name!r}; known are {known}")
        return self.all()[name]


def listed(names: Iterable[str]) -> str:
    """Names for a message. Of a series such as a1, a2, a3 it shows only the first and the last."""
    parts = []
    for stem, series in groupby(names, lambda name: name.rstrip("0123456789")):
        members = list(series)
        numbered = members == [f"{stem}{number + 1}" for number in range(len(members))]
        parts += [f"{members[0]} to {members[-1]}"] if numbered else members
    return ", ".join(parts)


def imported(room: Room) -> Callable[[str], Iterable[Any]]:
    """Loader that imports a module and returns the value of the room's variable."""

    def load(module: str) -> Iterable[Any]:
        things: Iterable[Any] = getattr(import_module(module), room.variable)
        return things

    return load


@cache
def source_of(module: str) -> Path:
    """File of a module, found without running the module or its packages.

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
