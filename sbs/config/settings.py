"""Settings: what a scale file may say, and what each stage gets of it.

The JSON schema in ``workflow/schemas`` is generated from these classes, so there is one place
where a key, its type and its meaning are written down.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sbs.errors import SBSError
from sbs.policy import Bitwidths

LONGEST_SHOWN = 60
"""Characters of a wrong value that a message repeats."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSettings(_Settings):
    """Which images, and how they are augmented for training."""

    dataset: Literal["digits", "cifar10", "cifar100"] = Field(description="Dataset name.")
    directory: str | None = Field(
        description="Folder with a local copy (torchvision's or the Hugging Face parquet layout); "
        "null: the environment variable SBS_DATA_DIR, then a download."
    )
    crop_padding: int = Field(ge=0, description="Random crop after padding by so many pixels.")
    flip: bool = Field(description="Random horizontal flip.")


class RuntimeSettings(_Settings):
    """How to compute. Nothing here is part of the method, but bf16 changes the numbers."""

    device: Literal["auto", "cpu", "cuda"] = Field(description="auto: CUDA if there is one.")
    precision: Literal["fp32", "bf16"] = Field(description="bf16: autocast for the convolutions.")
    channels_last: bool = Field(description="Memory format of images and activations.")


class Checkpoint(_Settings):
    """A pretrained checkpoint, by address or by path."""

    url: str | None = Field(None, description="Where to download it.")
    path: str | None = Field(None, description="A local file, instead of a download.")
    sha256: tuple[str, ...] = Field(
        (),
        description="Accepted SHA-256 digests of the file, each whole or its first 8 or more "
        "digits. Required with url. A file in SBS_WEIGHTS_DIR with one of them saves the download.",
    )

    @model_validator(mode="after")
    def _check(self) -> Checkpoint:
        if (self.url is None) == (self.path is None):
            raise ValueError("give either url (with sha256) or path")
        if self.url is not None and not self.sha256:
            raise ValueError("url needs sha256, so that an altered file is noticed")
        if any(len(digest) < 8 for digest in self.sha256):
            raise ValueError("sha256 needs at least 8 hexadecimal digits")
        return self


class TrainSettings(_Settings):
    """One training stage: SGD with momentum and a learning-rate schedule."""

    epochs: int = Field(ge=0, description="Passes over the training images.")
    batch_size: int = Field(ge=2, description="Images a step.")
    learning_rate: float = Field(gt=0, description="Initial learning rate.")
    schedule: Literal["constant", "cosine", "steps"] = Field(
        description="cosine: to zero over the stage; steps: divided by 10 at each milestone."
    )
    milestones: tuple[int, ...] = Field(description="Epochs of the steps schedule.")
    momentum: float = Field(ge=0, lt=1, description="SGD momentum.")
    nesterov: bool = Field(description="Nesterov momentum, as in section 4.2.")
    weight_decay: float = Field(ge=0, description="On weights, intervals and batch norm.")


class PretrainSettings(TrainSettings):
    """The full-precision network that every method starts from."""

    seeds: tuple[int, ...] = Field(
        min_length=1,
        description="One network a seed. A run starts from the network of its own seed if that "
        "is listed, else from the first.",
    )
    checkpoints: dict[str, Checkpoint] = Field(
        description="Network name to the public checkpoint that is taken instead of training."
    )


class SearchSettings(TrainSettings):
    """Algorithm 1 and what the paper leaves open about it."""

    bitwidths: Bitwidths = Field(description="Candidate bitwidths; each divides the next.")
    group_size: int = Field(ge=1, description="B, filters a pruning group (section 3.2.2).")
    bit_sharing: bool = Field(
        description="false: a path with its own weights a bitwidth instead (Table 5); for sbs_q."
    )
    alternating: bool = Field(
        description="Train the thresholds of weights and of activations in turns (Algorithm 1); "
        "false: together (Table 8)."
    )
    resource: Literal["bops", "memory"] = Field(description="The cost R of Eq. 13.")
    target: str | None = Field(
        description="Cost to land on: '4-bit', '0.95 x 4-bit', '0.7 x full' or a number of BOPs "
        "or bytes. null: penalty is a fixed λ, and the cost lands where it lands."
    )
    penalty: float = Field(ge=0, description="λ of Eq. 13, without a target.")
    threshold_learning_rate: float = Field(gt=0, description="For quantization thresholds.")
    pruning_threshold_learning_rate: float = Field(gt=0, description="For pruning thresholds.")
    threshold_momentum: float = Field(
        ge=0,
        lt=1,
        description="SGD momentum of the thresholds. The paper names one momentum for all; but "
        "in thresholds it is a delay between λ and the cost, and lets the cost overshoot.",
    )
    pruning_metric: Literal["standardized", "raw"] = Field(
        description="Weights whose mean absolute value is compared with a pruning threshold."
    )
    pruning_gate: Literal["norm", "weight"] = Field(
        description="Where a pruning gate gets its loss gradient: at the batch norm that follows "
        "the filter, or at the quantized weights (Eq. 11), where batch norm cancels it."
    )
    propagate: bool = Field(
        description="Count the input channels that pruning takes from the next layer in R."
    )

    @field_validator("target")
    @classmethod
    def _check_target(cls, value: str | None) -> str | None:
        if value is not None:
            from sbs.config.target import parse_target

            try:
                parse_target(value)
            except SBSError as error:
                raise ValueError(str(error)) from error
        return value


class MultipathSettings(_Settings):
    """Multi-path search, of DNAS and of the search without bit sharing."""

    weight_share: float = Field(
        gt=0, lt=1, description="Share of the training images for weights; the rest is for logits."
    )
    warmup: float = Field(ge=0, lt=1, description="Share of the epochs before logits learn.")
    logit_learning_rate: float = Field(gt=0, description="Adam's, for the logits of the paths.")
    logit_weight_decay: float = Field(ge=0, description="On the logits.")
    first_temperature: float = Field(gt=0, description="Of the Gumbel softmax, at first.")
    last_temperature: float = Field(gt=0, description="At the end; it falls exponentially.")
    samples: int = Field(ge=1, description="Policies to sample; the best on logit images wins.")


class DQSettings(TrainSettings):
    """DQ's single stage of training, instead of search and fine-tuning."""

    start_bits: int = Field(ge=2, le=8, description="Bitwidth that everything starts at.")
    weight_penalty: float = Field(ge=0, description="λ of the weights' size, in KB squared.")
    activation_penalty: float = Field(ge=0, description="λ of the activations' size.")
    quantizer_rate: float = Field(gt=0, description="Learning rate of steps and ranges, relative.")
    margin: float = Field(ge=0, lt=1, description="Share of the sizes that the loss leaves free.")


class HAQSettings(_Settings):
    """HAQ's episodes."""

    episodes: int = Field(ge=1, description="Policies that the agent proposes.")
    warmup_episodes: int = Field(ge=0, description="Random ones at first, without learning.")
    images: int = Field(ge=1, description="Training images of the epoch that rewards a policy.")
    learning_rate: float = Field(gt=0, description="Of that epoch.")
    lowest_bits: int = Field(ge=2, description="Of weights and activations.")
    highest_bits: int = Field(le=8, description="Of weights and activations.")

    @model_validator(mode="after")
    def _check(self) -> HAQSettings:
        if self.lowest_bits > self.highest_bits:
            raise ValueError("lowest_bits is above highest_bits; exchange them")
        return self


class FinetuneSettings(TrainSettings):
    """Plain quantization at the bitwidths of the policy (end of section 3.3)."""

    start: Literal["searched", "pretrained"] = Field(
        description="Weights to start from: those that the search ended with, or M0."
    )


class Scale(_Settings):
    """A scale file: everything that an experiment needs besides its row of the sheet."""

    scale: str = Field(pattern=r"^[a-z0-9-]+$", description="Name that every table carries.")
    results: str = Field(description="Folder of this scale's outputs.")
    networks: tuple[str, ...] = Field(min_length=1, description="Rows of the sheet to run.")
    seeds: tuple[int, ...] = Field(min_length=1, description="One run of every method a seed.")
    data: DataSettings
    runtime: RuntimeSettings
    pretrain: PretrainSettings
    search: SearchSettings
    multipath: MultipathSettings
    dq: DQSettings
    haq: HAQSettings
    finetune: FinetuneSettings


STAGES: Mapping[str, tuple[str, ...]] = {
    "fetch": ("data",),
    "pretrain": ("data", "runtime", "pretrain"),
    "search": ("data", "runtime", "search"),
    "finetune": ("data", "runtime", "finetune"),
}
"""Sections of a scale that each stage depends on, and so gets."""

S = TypeVar("S", bound=BaseModel)


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
    return validated(Scale, content, str(path))


def validated(kind: type[S], content: Any, source: str) -> S:
    """``content`` as settings of ``kind``; errors name ``source`` and the key.

    Raises:
        SBSError: the first key at fault, and what it should be.
    """
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SBSError(f"{source}: " + "; ".join(_problem(one) for one in error.errors())) from None


def stage_settings(
    scale: Scale, stage: str, overrides: Mapping[str, Any], method: str = ""
) -> dict[str, Any]:
    """The sections of ``scale`` that ``stage`` depends on, with overrides of the sheet applied.

    Args:
        scale: the validated scale.
        stage: a key of :data:`STAGES`.
        overrides: dotted keys such as ``search.target``.
        method: method of the run; some methods' searches have a section of their own.

    Raises:
        SBSError: an override names an unknown key or has an impossible value.
    """
    content = scale.model_dump(mode="json")
    for key, value in overrides.items():
        section, _, name = key.partition(".")
        if section not in content or name not in content[section]:
            raise SBSError(f"experiments sheet: option {key!r}: no such key in the scale file")
        content[section][name] = value
    checked = validated(Scale, content, "experiments sheet").model_dump(mode="json")
    sections = STAGES[stage]
    if stage == "search" and (method == "dnas" or not checked["search"]["bit_sharing"]):
        sections = (*sections, "multipath")
    if stage == "search" and method in ("dq", "haq"):
        sections = (*sections, method)
    return {section: checked[section] for section in sections}


def parse_overrides(text: str) -> dict[str, Any]:
    """Options of a sheet row, ``search.target=4-bit; search.group_size=2``.

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
    """JSON with sorted keys and no spaces: equal settings, equal text."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


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


def json_schema() -> str:
    """JSON schema of a scale file, for Snakemake and for editors."""
    draft = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(draft | Scale.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    # python -m sbs.config.settings > workflow/schemas/config.schema.json
    print(json_schema(), end="")
