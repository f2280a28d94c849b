"""How a network is run on a BitFusion accelerator: a named way, or one from a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, create_model

from sbs.config.scale import validated
from sbs.cost.bitfusion.machine import EYERISS_SIZE, PAPER_LIKE, SMALL, STRIPES_SIZE, Machine
from sbs.errors import SBSError


@dataclass(frozen=True)
class Setting:
    """A machine, and how layers are given to it.

    Attributes:
        machine: the accelerator.
        batch: images at a time.
        depthwise_patches: the simulator knows no groups, so a depthwise layer is a layer with one
            input channel. Either one row of the array works then, or, if its patches are laid out
            in memory (true), as many rows as its kernel has elements.
    """

    machine: Machine
    batch: int = 16
    depthwise_patches: bool = False


DEFAULT = "paper"
SETTINGS: Mapping[str, Setting] = {
    DEFAULT: Setting(PAPER_LIKE, depthwise_patches=True),
    "eyeriss": Setting(EYERISS_SIZE),
    "stripes": Setting(STRIPES_SIZE),
    "small": Setting(SMALL),
}
"""One close to Table 6, and the three configurations of the simulator."""

_KEYS: dict[str, Any] = {
    name: (kind | None, None)
    for name, kind in (get_type_hints(Machine) | {"batch": int, "depthwise_patches": bool}).items()
}
_File: type[BaseModel] = create_model(
    "BitFusionFile",
    __config__=ConfigDict(extra="forbid", allow_inf_nan=False),
    base=(str, DEFAULT),
    **_KEYS,
)


def setting_of(text: str) -> Setting:
    """The setting of a name, or of a YAML file.

    A file names in ``base`` one of :data:`SETTINGS`, which it changes: any field of
    :class:`sbs.cost.bitfusion.machine.Machine`, ``batch`` and ``depthwise_patches``.

    Raises:
        SBSError: the name is not known, the file cannot be read, or one of its keys is wrong.
    """
    if is_file(text):
        return _read(Path(text))
    return _named(text, text)


def is_file(text: str) -> bool:
    """Whether the text names a file."""
    return Path(text).suffix in (".yaml", ".yml")


def _named(name: str, where: str) -> Setting:
    if name not in SETTINGS:
        raise SBSError(
            f"{where}: unknown BitFusion machine {name!r}; known are {', '.join(SETTINGS)}, or "
            "name a YAML file"
        )
    return SETTINGS[name]


def _read(path: Path) -> Setting:
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SBSError(f"{path}: cannot read the BitFusion machine: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SBSError(f"{path}: not valid YAML: {error}") from error
    checked = validated(_File, content or {}, str(path))
    given = {name: getattr(checked, name) for name in checked.model_fields_set - {"base"}}
    base = _named(getattr(checked, "base"), str(path))  # noqa: B009 - the class is made above
    of_machine = {field.name for field in fields(Machine)} & given.keys()
    machine = replace(base.machine, **{name: given.pop(name) for name in of_machine})
    return replace(base, machine=machine, **given)
