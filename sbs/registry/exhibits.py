"""Tables and figures: notebooks that register themselves by their header.

A notebook is a jupytext percent script. Its header is a comment; its section ``jupyter: sbs:``
tells the workflow what it needs, see :class:`Exhibit` for the keys. Notebooks lie in a folder of
the project, or are modules of other packages with an entry point in the group ``sbs.notebooks``.
No notebook is run or imported here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sbs.errors import SBSError
from sbs.registry.discovery import outside_modules, source_of

GROUP = "sbs.notebooks"
RESULTS = "<results>/"
"""In the paths of a header: the folder of results of the scale."""

RUN, RUNS = "{run}", "{runs}"
"""In the paths of inputs: ``network/method/variant/seed-N`` of a run, or of a run of every seed."""

_HEADER = re.compile(r"\A# ---\n(?P<lines>(?:#.*\n)*?)# ---\n")


class Exhibit(BaseModel):
    """A table or figure.

    The keys of ``inputs`` and ``outputs`` are parameters of the notebook. Paths of outputs begin
    with ``<results>/``; paths of inputs can also lie in the project's folder.

    Attributes:
        name: name of the notebook's file, and its name in the experiments sheet.
        notebook: path of the notebook.
        title: name for people.
        category: heading above it in the report.
        caption: a few sentences of reStructuredText; a Jinja template with ``config``.
        inputs: files that the notebook reads. ``{run}`` in a single path is the first run that
            the sheet assigns to it; a list with such a path gets one run of each of its rows, and
            with ``{runs}`` the runs of all seeds.
        outputs: what it writes: a file, or a folder if the path has no suffix.
        shows: key of the output that the report shows.
        modules: modules that it imports from this package and from its own package.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9_]+$")
    notebook: Path
    title: str
    category: str
    caption: str
    inputs: dict[str, str | tuple[str, ...]]
    outputs: dict[str, str] = Field(min_length=1)
    shows: str
    modules: tuple[str, ...]

    @model_validator(mode="after")
    def _check(self) -> Exhibit:
        if self.shows not in self.outputs:
            raise ValueError(f"shows: {self.shows!r} is not one of the outputs")
        for key, path in self.outputs.items():
            if not path.startswith(RESULTS):
                raise ValueError(f"outputs.{key}: {path!r} must begin with {RESULTS}")
        return self

    @property
    def takes_rows(self) -> bool:
        """Whether the sheet decides which runs it reads."""
        own = f"{RESULTS}runs/{self.name}.csv"
        return any(path == own or RUN in path or RUNS in path for path in self._input_paths())

    @property
    def files(self) -> list[str]:
        """Its tables and figures: the output files directly in the folder of results."""
        names = (path.removeprefix(RESULTS) for path in self.outputs.values())
        return [RESULTS + name for name in names if "/" not in name and Path(name).suffix]

    def inputs_for(self, rows: Sequence[Sequence[str]]) -> dict[str, str | list[str]]:
        """Its inputs, with the placeholders replaced by these runs.

        Args:
            rows: for each row of the sheet that uses it, the runs ``network/method/variant/seed-N``
                of all seeds. There is one, if the notebook takes rows.
        """
        return {
            key: _filled(path, rows)[0]
            if isinstance(path, str)
            else [filled for one in path for filled in _filled(one, rows)]
            for key, path in self.inputs.items()
        }

    def caption_for(self, config: Mapping[str, Any]) -> str:
        """The caption with the values of a scale.

        Args:
            config: content of the scale file.

        Raises:
            SBSError: the caption uses a key that the scale file does not have.
        """
        try:
            template = jinja2.Template(self.caption, undefined=jinja2.StrictUndefined)
            return str(template.render(config=config)).strip()
        except jinja2.TemplateError as error:
            raise SBSError(f"{self.notebook}: sbs.caption: {error}") from error

    def _input_paths(self) -> Iterator[str]:
        for path in self.inputs.values():
            yield from [path] if isinstance(path, str) else path


def exhibits(folder: Path) -> dict[str, Exhibit]:
    """All tables and figures by name; those of other packages come last.

    Args:
        folder: folder of the project's own notebooks.

    Raises:
        SBSError: a header is missing or malformed, or two notebooks have the same name.
    """
    found: dict[str, Exhibit] = {}
    for path, package in _notebooks(folder):
        one = read_exhibit(path, package)
        if one.name in found:
            raise SBSError(f"{path}: {found[one.name].notebook} has the same name; rename one")
        found[one.name] = one
    return found


def read_exhibit(path: Path, package: str | None = None) -> Exhibit:
    """Read what a notebook registers in its header.

    Args:
        path: a jupytext percent script.
        package: top-level package of the notebook; None for the project's own.

    Raises:
            SBSError: the header is missing or malformed, or names a parameter that does not exist.
    """
    text = path.read_text()
    content = _header(text, path)
    tree = ast.parse(text)
    facts = {"name": path.stem, "notebook": path, "modules": _modules(tree, {"sbs", package})}
    try:
        one = Exhibit.model_validate({**content, **facts})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(["sbs", *map(str, first["loc"])])
        message = first["msg"].removeprefix("Value error, ")
        raise SBSError(f"{path}: {key}: {message}; correct the notebook's header") from None
    for key in (*one.inputs, *one.outputs):
        if key not in _assigned(tree):
            raise SBSError(
                f"{path}: sbs: {key} is not a parameter of the notebook; assign it in the cell "
                "tagged parameters"
            )
    return one


def _notebooks(folder: Path) -> Iterator[tuple[Path, str | None]]:
    for path in sorted(folder.glob("*.py")):
        yield path, None
    for module in outside_modules(GROUP):
        yield source_of(module), module.partition(".")[0]


def _header(text: str, path: Path) -> Mapping[str, Any]:
    match = _HEADER.match(text)
    lines = match["lines"].splitlines() if match else []
    try:
        content = yaml.safe_load("\n".join(line[2:] for line in lines))
    except yaml.YAMLError as error:
        raise SBSError(f"{path}: the header is not valid YAML: {error}") from error
    try:
        found = content["jupyter"]["sbs"]
    except (KeyError, TypeError):
        found = None
    if not isinstance(found, dict):
        raise SBSError(
            f"{path}: the header has no mapping jupyter: sbs:; add one with what the notebook "
            "reads and writes (example: notebooks/table1.py)"
        )
    return found


def _filled(path: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """The path for one run of each row, or for all runs, as its placeholder says."""
    if RUNS in path:
        return [path.replace(RUNS, run) for row in rows for run in row]
    return [path.replace(RUN, row[0]) for row in rows] if RUN in path else [path]


def _assigned(tree: ast.Module) -> set[str]:
    targets = [
        target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets
    ]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _modules(tree: ast.Module, packages: set[str | None]) -> tuple[str, ...]:
    """Modules of these packages that the script imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {node.module, *inner}
    of_packages = sorted(name for name in names if name.partition(".")[0] in packages)
    return tuple(filter(_is_module, of_packages))


def _is_module(name: str) -> bool:
    try:
        source_of(name)
    except SBSError:
        return False
    return True
