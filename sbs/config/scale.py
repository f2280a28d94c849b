"""Scale files: loading one, and the settings that each stage gets from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)

from sbs.config.fields import NetworkName, Networks, Seeds
from sbs.config.settings import (
    DataSettings,
    FinetuneSettings,
    PretrainSettings,
    ResourceSettings,
    RuntimeSettings,
    SearchSettings,
    Section,
    TrainSettings,
    check_precision,
)
from sbs.errors import SBSError
from sbs.registry.methods import method, section_types

LONGEST_SHOWN = 60
"""Messages cut a wrong value after this number of characters."""


class TableSettings(Section):
    """What a table or figure takes of the sheet, where a scale cannot afford all of it."""

    seeds: int | None = Field(
        None, ge=1, description="Number of its seeds: the first ones. null: all."
    )
    rows: tuple[str, ...] | None = Field(
        None,
        description="Its rows: method/variant, or network/method/variant. null: all; []: none.",
    )


class Scale(Section):
    """A scale file: all settings of an experiment except its row of the sheet.

    Files are read as :func:`scale_type`, which adds the sections of the methods.
    """

    scale: str = Field(pattern=r"^[a-z0-9-]+$", description="Name of the scale in every table.")
    results: str = Field(description="Folder of this scale's outputs.")
    networks: Networks = Field(min_length=1, description="Rows of the sheet to run.")
    seeds: Seeds = Field(min_length=1, description="Every method runs once per seed.")
    tables: dict[str, TableSettings] = Field(
        {}, description="Tables and figures with fewer runs than the sheet and seeds give them."
    )
    network_options: dict[NetworkName, dict[str, Any]] = Field(
        {},
        description="Options for all rows of a network, with dotted keys such as finetune.epochs; "
        "those of a row come first.",
    )
    data: DataSettings
    runtime: RuntimeSettings
    resources: ResourceSettings
    pretrain: PretrainSettings
    search: SearchSettings
    finetune: FinetuneSettings

    @field_validator("search")
    @classmethod
    def _check_precision(cls, value: SearchSettings, info: ValidationInfo) -> SearchSettings:
        runtime = info.data.get("runtime")
        if runtime is not None:  # None: the section itself is wrong and already reported
            try:
                check_precision(runtime.precision, value.bitwidths, "bitwidths")
            except SBSError as error:
                raise ValueError(str(error)) from error
        return value

    def options_of(self, network: str) -> dict[str, Any]:
        """Options of all rows of a network, with dotted keys."""
        return self.network_options.get(network, {})

    def seeds_of(self, table: str) -> Seeds:
        """The seeds of the runs of a table or figure."""
        known = self.tables.get(table)
        return self.seeds[: known.seeds] if known is not None else self.seeds

    @model_validator(mode="after")
    def _check_options(self) -> Scale:
        for network, options in self.network_options.items():
            for key in options:
                section, _, name = key.partition(".")
                known = getattr(self, section, None)
                if not isinstance(known, BaseModel) or name not in type(known).model_fields:
                    raise ValueError(
                        f"network_options.{network}: {key}: no such key in this file; correct it"
                    )
        return self

    @model_validator(mode="after")
    def _check_gpu(self) -> Scale:
        if self.runtime.device == "cuda" and self.resources.gpu == 0:
            raise ValueError("resources.gpu is 0, but runtime.device is cuda; set gpu to 1")
        return self


STAGES: Mapping[str, tuple[str, ...]] = {
    "fetch": ("data",),
    "pretrain": ("data", "runtime", "pretrain"),
    "search": ("data", "runtime", "search"),
    "finetune": ("data", "runtime", "finetune"),
}
"""The sections of a scale that each stage gets. A search also gets those of its method."""

S = TypeVar("S", bound=BaseModel)


@cache
def scale_type() -> type[Scale]:
    """:class:`Scale` with the sections of all registered methods, each of them optional."""
    sections: dict[str, Any] = {
        name: (kind | None, Field(None, description=_first_line(kind)))
        for name, kind in section_types().items()
    }
    return create_model("Scale", __base__=Scale, **sections)


def load_scale(path: Path) -> Scale:
    """Read a scale file.

    Raises:
        SBSError: it cannot be read, or a key is unknown, missing or has an impossible value.
    """
    try:
        content = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise SBSError(f"{path}: cannot read the scale file: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SBSError(f"{path}: not valid YAML: {error}") from error
    return validated(scale_type(), content, str(path))


def validated(kind: type[S], content: Any, source: str) -> S:
    """Validate ``content`` as settings of type ``kind``.

    Raises:
        SBSError: a value is wrong; the message names ``source``, each wrong key and the remedy.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(_problem(one) for one in _innermost(error))
        raise SBSError(f"{source}: {problems}") from None


def stage_settings(
    scale: Scale, stage: str, overrides: Mapping[str, Any], method_name: str = ""
) -> dict[str, Any]:
    """The sections of ``scale`` that ``stage`` uses, after the overrides of the sheet.

    Args:
        scale: the validated scale.
        stage: a key of :data:`STAGES`.
        overrides: dotted keys such as ``search.target``.
        method_name: method of the run; it can have settings sections of its own.

    Raises:
        SBSError: an override has an unknown key or an impossible value, or the scale lacks a
            section that the method needs.
    """
    content = scale.model_dump(mode="json")
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        if section not in content or name not in (content[section] or {}):
            raise SBSError(f"experiments sheet: option {key!r}: no such key in the scale file")
        content[section][name] = value
    checked = validated(scale_type(), content, "experiments sheet").model_dump(mode="json")
    if checked["search"]["start"] == "scratch":
        checked["finetune"] |= _from_scratch(checked["pretrain"])
    sections = list(STAGES[stage])
    if stage == "search" and method_name:
        sections += _own_sections(method_name, checked)
    return {section: checked[section] for section in sections}


def settings_from(text: str, stage: str, method_name: str) -> dict[str, Any]:
    """The sections of a stage, from the command line's ``--settings``.

    Args:
        text: the sections as JSON, as the workflow gives them; or the path of a scale file.
        stage: a key of :data:`STAGES`.
        method_name: method of the run.

    Raises:
        SBSError: neither can be read.
    """
    if not text.lstrip().startswith("{"):
        return stage_settings(load_scale(Path(text)), stage, {}, method_name)
    try:
        content: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise SBSError(f"--settings: not valid JSON: {error}") from error
    return content


def parse_overrides(text: str) -> dict[str, Any]:
    """Parse the options of a sheet row, for example ``search.target=4-bit; search.group_size=2``.

    Raises:
        SBSError: a part has no ``=``.
    """
    options: dict[str, Any] = {}
    for part in filter(None, (piece.strip() for piece in text.split(";"))):
        key, equals, value = part.partition("=")
        if not equals:
            raise SBSError(f"experiments sheet: option {part!r} is not of the form key=value")
        options[key.strip()] = yaml.safe_load(value)
    return options


def canonical_json(content: Any) -> str:
    """JSON with sorted keys and no spaces: equal settings give equal text."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


def json_schema() -> str:
    """JSON schema of a scale file, for Snakemake and for editors."""
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema = scale_type().model_json_schema()
    return json.dumps(draft | schema, indent=1, ensure_ascii=False) + "\n"


def _from_scratch(pretrain: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the training after a search from scratch: long enough for random weights."""
    training = {name: pretrain[name] for name in TrainSettings.model_fields}
    return training | {"start": "searched", "epochs_without_search": pretrain["epochs"]}


def _own_sections(method_name: str, settings: Mapping[str, Any]) -> list[str]:
    needed = method(method_name).needed_sections(settings["search"])
    absent = next((name for name in needed if settings[name] is None), None)
    if absent is not None:
        raise SBSError(
            f"scale file: {absent}: missing section; method {method_name} needs it "
            "(config/README.md explains every key)"
        )
    return needed


def _innermost(error: ValidationError) -> list[Any]:
    """The mistakes, without those that only follow from a mistake further inside."""
    found = error.errors()
    places = [one["loc"] for one in found]
    return [
        one
        for one in found
        if not any(len(p) > len(one["loc"]) and p[: len(one["loc"])] == one["loc"] for p in places)
    ]


def _problem(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key; remove it or correct its spelling"
    if error["type"] == "missing":
        return f"{key}: missing key; add it (config/README.md explains every key)"
    return f"{key}: {error['msg'].removeprefix('Value error, ')} (got {_short(error['input'])})"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _first_line(kind: type[BaseModel]) -> str:
    return (kind.__doc__ or "").partition("\n")[0]


if __name__ == "__main__":
    # python -m sbs.config.scale > workflow/schemas/config.schema.json
    print(json_schema(), end="")
