"""The sections of a scale file that belong to no single method.

The JSON schema in ``workflow/schemas`` is generated from these classes, so there is one place
where a key, its type and its meaning are written down.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sbs.config.fields import CostName, DatasetName, NetworkName, Seeds
from sbs.config.target import Target
from sbs.errors import SBSError
from sbs.policy import FULL_PRECISION, Bitwidths


class Section(BaseModel):
    """Base of all sections: unknown keys and infinite numbers are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


BF16_BITS = 8
"""Bits of a number in bf16 that count: so many that a grid may have which it is to hold."""


def check_precision(precision: str, bitwidths: Iterable[int], key: str) -> None:
    """Refuse grids that are finer than the numbers they are stored in.

    Values are quantized in single precision, but a convolution in bf16 gets them rounded to 8
    significant bits. That moves a value by at most ``2^-8`` of itself, less than a step of an
    8-bit grid. All levels of 8-bit weights stay apart; of inputs without a sign a few neighbours
    near the top can fall together. A 12-bit grid loses more than half of its levels.

    Args:
        precision: ``runtime.precision``.
        bitwidths: of what is quantized.
        key: where they stand, for the message.

    Raises:
        SBSError: bf16, and more than 8 bits.
    """
    highest = max(bitwidths, default=0)
    if precision == "bf16" and highest > BF16_BITS:
        raise SBSError(
            f"{key}: {highest} bits are more than runtime.precision: bf16 can hold, which is "
            f"{BF16_BITS}; take fp32, or fewer bits"
        )


class DataSettings(Section):
    """Which images, and how they are augmented for training."""

    dataset: DatasetName = Field(description="Dataset name.")
    directory: str | None = Field(
        description="Folder with a local copy (torchvision's or the Hugging Face parquet layout); "
        "null: the environment variable SBS_DATA_DIR, then a download."
    )
    crop_padding: int = Field(ge=0, description="Random crop after padding by so many pixels.")
    flip: bool = Field(description="Random horizontal flip.")
    smallest_crop: float | None = Field(
        gt=0,
        le=1,
        description="For image files, such as ImageNet's: a random crop takes at least this share "
        "of the area, and is resized. null: images are resized to 256x256 before a 224x224 crop "
        "(section 4.2); and for images of one size.",
    )
    held_out: int = Field(
        ge=0,
        description="Training images that are set aside and take the place of the test images, "
        "the same for every method and seed. To choose settings with; 0: none.",
    )


class RuntimeSettings(Section):
    """How to compute. Nothing here is part of the method, but some of it changes the numbers."""

    device: Literal["auto", "cpu", "cuda"] = Field(description="auto: CUDA if there is one.")
    precision: Literal["fp32", "bf16"] = Field(description="bf16: autocast for the convolutions.")
    channels_last: bool = Field(description="Memory format of images and activations.")
    accumulation: int = Field(
        ge=1,
        description="Parts of a batch that go through the network one after the other, for a "
        "device with little memory. Batch norms and input gates see one part at a time.",
    )
    sync_batch_norm: bool = Field(
        description="With several GPUs, batch norms take the statistics of the whole batch, so "
        "that results do not depend on the number of GPUs. false: of each GPU's share; faster.",
    )


class StageMinutes(Section):
    """Minutes by which a job of a stage has ended, for a cluster."""

    pretrain: int = Field(ge=1, description="Of a pretraining.")
    search: int = Field(ge=1, description="Of a search.")
    finetune: int = Field(ge=1, description="Of a fine-tuning.")


class ResourceSettings(Section):
    """What a training job asks for. Nothing here changes a result, and an edit reruns nothing."""

    threads: int = Field(ge=1, description="CPU threads, of all processes.")
    gpu: int = Field(ge=0, description="GPUs of this machine; several: a process for each.")
    images_per_second: dict[NetworkName, Annotated[float, Field(gt=0)]] = Field(
        {}, description="Training images a second of one GPU, by network, for `make plan` alone."
    )
    mem_mb: int = Field(ge=1, description="Memory in MB.")
    minutes: StageMinutes


class Normalization(Section):
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: tuple[float, ...] = Field(min_length=1, description="A number a channel.")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        min_length=1, description="A number a channel."
    )

    @model_validator(mode="after")
    def _check(self) -> Normalization:
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"mean has {len(self.mean)} numbers and std {len(self.std)}; give one a channel"
            )
        return self


class Checkpoint(Section):
    """A pretrained checkpoint, by address or by path."""

    url: str | None = Field(None, description="Where to download it.")
    path: str | None = Field(None, description="A local file, instead of a download.")
    sha256: tuple[str, ...] = Field(
        (),
        description="Accepted SHA-256 digests of the file, each whole or its first 8 or more "
        "digits. Required with url. A file in SBS_WEIGHTS_DIR with one of them saves the download.",
    )
    normalization: Normalization | None = Field(
        None,
        description="How the images were normalised that the network was trained on; null: with "
        "the dataset's own statistics. All that starts from the checkpoint uses it.",
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


class TrainSettings(Section):
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

    @model_validator(mode="after")
    def _check_milestones(self) -> TrainSettings:
        if self.schedule == "steps" and not self.milestones:
            raise ValueError("schedule: steps needs milestones; list the epochs of its steps")
        if list(self.milestones) != sorted(set(self.milestones)) or min((0, *self.milestones)) < 0:
            raise ValueError("milestones must be epochs in ascending order")
        return self


class PretrainSettings(TrainSettings):
    """The full-precision network that every method starts from."""

    seeds: Seeds = Field(
        min_length=1,
        description="One network a seed. A run starts from the network of its own seed if that "
        "is listed, else from the first.",
    )
    checkpoints: dict[NetworkName, Checkpoint] = Field(
        description="Network name to the public checkpoint that is taken instead of training."
    )


class SearchSettings(TrainSettings):
    """Algorithm 1 and what the paper leaves open about it."""

    bitwidths: Bitwidths = Field(description="Candidate bitwidths; each divides the next.")
    group_size: int = Field(ge=1, description="B, filters a pruning group (section 3.2.2).")
    bit_sharing: bool = Field(
        description="false: a path with its own weights a bitwidth instead (Table 5); for sbs_q."
    )
    start: Literal["pretrained", "scratch"] = Field(
        description="Weights to start from: those of M0; or new random ones, and the compressed "
        "network is then trained by the settings of pretrain (Table 12)."
    )
    stages: Literal["one", "prune-first", "quantize-first"] = Field(
        description="Search bitwidths and filters together, or one after the other (Table 7); for "
        "sbs."
    )
    alternating: bool = Field(
        description="Train the thresholds of weights and of activations in turns (Algorithm 1); "
        "false: together (Table 8)."
    )
    resource: CostName = Field(
        description="The cost R of Eq. 13: bops, memory, bitfusion-latency, bitfusion-energy or "
        "table:FILE."
    )
    target: Target | None = Field(
        description="Cost to land on: '4-bit', '0.95 x 4-bit', '0.7 x full' or a number of BOPs, "
        "bytes, seconds or joules. null: penalty is a fixed λ, and the cost lands where it lands."
    )
    penalty: float = Field(ge=0, description="λ of Eq. 13, without a target.")
    ramp: float = Field(
        ge=0, le=1, description="Share of the search in which the cost falls to the target."
    )
    share_window: float = Field(
        ge=0,
        le=1,
        description="The policy has the gates that were open in most of the recent steps: of about "
        "this share of the search. 0: of the last step, as in the paper.",
    )
    settle: float = Field(
        ge=0,
        le=1,
        description="After this share of the search it stays at its policy, as soon as the policy "
        "costs the target. 1: never before the end.",
    )
    interval_bits: int | None = Field(
        ge=1,
        lt=FULL_PRECISION,
        description="Searched tensors start with the interval of least squared error at this "
        "bitwidth. null: with 1 (section 4.2).",
    )
    threshold_learning_rate: float = Field(gt=0, description="For quantization thresholds.")
    pruning_threshold_learning_rate: float = Field(gt=0, description="For pruning thresholds.")
    threshold_optimizer: Literal["sgd", "adam"] = Field(
        description="sgd as for the weights (section 4.2). adam divides each gradient by its size, "
        "so that gates of every layer and scale move at one pace."
    )
    threshold_momentum: float = Field(
        ge=0,
        lt=1,
        description="Momentum of the thresholds. The paper names one momentum for all; but "
        "in thresholds it is a delay between λ and the cost, and lets the cost overshoot.",
    )
    pruning_metric: Literal["rank", "standardized", "raw"] = Field(
        description="What is compared with a pruning threshold: the mean absolute weight of a "
        "group, of raw or standardised weights, or its rank in the layer."
    )
    pruning_gate: Literal["reader", "norm", "weight"] = Field(
        description="Where a pruning gate gets its loss gradient: at the layer that reads the "
        "filter's output, where the loss can reopen it; at the batch norm that follows the filter; "
        "or at the quantized weights (Eq. 11), where batch norm cancels it."
    )
    propagate: bool = Field(
        description="Count the input channels that pruning takes from the next layer in R."
    )


class FinetuneSettings(TrainSettings):
    """Plain quantization at the bitwidths of the policy (end of section 3.3)."""

    start: Literal["searched", "pretrained"] = Field(
        description="Weights to start from: those that the search ended with, or M0."
    )
    epochs_without_search: int = Field(
        ge=0,
        description="Epochs of networks whose weights no search has trained: of fixed bits, random "
        "bits and HAQ, and of all if start is pretrained. To train all equally long.",
    )
    fit_intervals: bool = Field(
        description="Start with the intervals of least squared error at the policy's bitwidths; "
        "false: with those of the search, or 1 (section 4.2)."
    )
