"""The compression policy: bitwidths and kept output filters of each layer.

Every search method returns a policy. Fine-tuning and the cost models need nothing else from the
search. On disk it is ``policy.json``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from sbs.errors import SBSError
from sbs.provenance.files import atomic_write_text
from sbs.provenance.records import check_recorded

FULL_PRECISION = 32
"""This bitwidth means "not quantized"."""

ENDS_BITS = 8
"""Bitwidth of the first and the last layer of a quantized network (section 4.2)."""

Bitwidth = Annotated[int, Field(ge=1, le=FULL_PRECISION)]


class Bitwidths(tuple[int, ...]):
    """Candidate bitwidths b_1 < ... < b_K; each is a multiple of the one before.

    Theorem 1 needs this: ``2**(γb) - 1`` is divisible by ``2**b - 1``, so each grid contains
    the coarser ones. The constructor checks it, so later code need not. A field of a settings
    class can have this type; it is saved as a plain list.
    """

    __slots__ = ()

    def __new__(cls, bitwidths: Iterable[int]) -> Self:
        """Check the bitwidths and store them.

        Raises:
            SBSError: the list is empty, a bitwidth is below 1, or they do not nest.
        """
        bits = super().__new__(cls, bitwidths)
        if not bits or bits[0] < 1:
            raise SBSError(f"bitwidths {list(bits)}: give at least one, and none below 1")
        for low, high in pairwise(bits):
            if high <= low or high % low:
                raise SBSError(
                    f"bitwidths {list(bits)} do not nest: {high} is not a larger multiple of "
                    f"{low} (Theorem 1); use for example [2, 4, 8] or [3, 6, 12]"
                )
        return bits

    @property
    def lowest(self) -> int:
        """b_1."""
        return self[0]

    @property
    def highest(self) -> int:
        """b_K."""
        return self[-1]

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Validate as a tuple of integers, then with the constructor."""
        return core_schema.no_info_after_validator_function(
            cls._from_validated, handler.generate_schema(tuple[int, ...])
        )

    @classmethod
    def _from_validated(cls, value: tuple[int, ...]) -> Self:
        try:
            return cls(value)
        except SBSError as error:
            raise ValueError(str(error)) from error


class LayerPolicy(BaseModel):
    """Bitwidths of one convolution or linear layer, and the output filters that it keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight_bits: Bitwidth
    activation_bits: Bitwidth
    kept: tuple[int, ...] | None = None
    """Sorted indices of the kept output filters; ``None`` keeps all."""
    weight_shape: tuple[int, ...] | None = None
    """Shape of the unpruned weights; ``None`` in files of older versions."""

    @model_validator(mode="after")
    def _check_kept(self) -> LayerPolicy:
        if self.kept is not None:
            if not self.kept:
                raise ValueError("keeps no filter; a layer must keep at least one")
            if list(self.kept) != sorted(set(self.kept)) or self.kept[0] < 0:
                raise ValueError("kept filters must be distinct, ascending and not negative")
        return self


class Policy(BaseModel):
    """Network name and one :class:`sbs.policy.LayerPolicy` for each convolution and linear layer.

    Layers are found by name; their order means nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    network: str
    quantizer: str = "interval"
    """Name of the quantizer, see :mod:`sbs.nn.quantizers`."""
    layers: dict[str, LayerPolicy]

    @property
    def highest_bits(self) -> int:
        """The highest bitwidth of a quantized layer; 0 if nothing is quantized."""
        pairs = ((layer.weight_bits, layer.activation_bits) for layer in self.layers.values())
        return max((bits for pair in pairs for bits in pair if bits != FULL_PRECISION), default=0)

    def with_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> Policy:
        """A copy that also holds the shapes of the unpruned weights.

        Args:
            shapes: layer name -> shape of its weights, for every layer of the policy.
        """
        layers = {
            name: layer.model_copy(update={"weight_shape": shapes[name]})
            for name, layer in self.layers.items()
        }
        return self.model_copy(update={"layers": layers})

    def save(self, path: Path) -> None:
        """Write the policy as JSON, atomically."""
        atomic_write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, path: Path, network: str | None = None) -> Policy:
        """Read a policy.

        Args:
            path: file of :meth:`save`.
            network: required network of the policy; None accepts any.

        Raises:
            SBSError: the file is missing, differs from the run record beside it, is not JSON,
                breaks a rule (the message names the layer), or is for another network.
        """
        check_recorded(path)
        try:
            policy = cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise SBSError(f"{path}: cannot read the policy: {error.strerror}") from error
        except ValidationError as error:
            raise SBSError(f"{path}: not a valid policy: {_explain(error)}") from error
        if network not in (None, policy.network):
            raise SBSError(
                f"{path}: network: the policy is for {policy.network}, not for {network}; "
                f"use a policy of {network}, or choose {policy.network} as the network"
            )
        return policy

    def check(
        self, network: str, shapes: Mapping[str, tuple[int, ...]], prunable: Iterable[str]
    ) -> None:
        """Check the policy against a network.

        Args:
            network: name of the network.
            shapes: layer name -> shape of the unpruned weights, output filters first, for every
                layer of the network.
            prunable: names of the layers that can lose filters.

        Raises:
            SBSError: another network; an unknown or missing layer; weights of another shape; a
                filter index out of range; or removed filters in a layer that cannot be pruned.
                The message names the layer.
        """
        if self.network != network:
            raise SBSError(
                f"a policy of {self.network}, but the network is {network}; use a policy of "
                f"{network}"
            )
        unknown = sorted(self.layers.keys() - shapes.keys())
        missing = sorted(shapes.keys() - self.layers.keys())
        if unknown:
            raise SBSError(f"policy for {self.network}: unknown layer {unknown[0]!r}")
        if missing:
            raise SBSError(f"policy for {self.network}: no entry for layer {missing[0]!r}")
        allowed = set(prunable)
        for name, layer in self.layers.items():
            self._check_shape(name, layer.weight_shape, shapes[name])
            self._check_kept(name, layer.kept, shapes[name][0], name in allowed)

    def _check_shape(
        self, name: str, recorded: tuple[int, ...] | None, own: tuple[int, ...]
    ) -> None:
        if recorded not in (None, own):
            raise SBSError(
                f"policy for {self.network}: layer {name!r} had weights of shape "
                f"{_by(recorded)} in the search, but has {_by(own)} here; use a policy that was "
                "searched with this network and dataset"
            )

    def _check_kept(
        self, name: str, kept: tuple[int, ...] | None, filters: int, prunable: bool
    ) -> None:
        if kept is None:
            return
        if kept[-1] >= filters:
            raise SBSError(
                f"policy for {self.network}: layer {name!r} keeps filter {kept[-1]}, "
                f"but has only {filters}"
            )
        if len(kept) < filters and not prunable:
            raise SBSError(
                f"policy for {self.network}: layer {name!r} cannot be pruned; only the first "
                "convolution of a residual block can"
            )


def uniform_policy(
    network: str,
    layers: Iterable[str],
    bits: int,
    *,
    first_and_last_bits: int = ENDS_BITS,
    ends: Collection[str] | None = None,
) -> Policy:
    """The same bitwidth in all layers, except 8 bits in the first and last one (section 4.2).

    ``bits=32`` is the full-precision network; the first and last layer then have 32 bits too.

    Args:
        network: network name.
        layers: layer names in forward order.
        bits: weight and activation bitwidth.
        first_and_last_bits: bitwidth of the first and the last layer of a quantized network.
        ends: names of these layers, where a network has several inputs or outputs.
    """
    names = list(layers)
    special = {names[0], names[-1]} if ends is None else ends

    def one(name: str) -> LayerPolicy:
        at_end = name in special and bits != FULL_PRECISION
        chosen = first_and_last_bits if at_end else bits
        return LayerPolicy(weight_bits=chosen, activation_bits=chosen)

    return Policy(network=network, layers={name: one(name) for name in names})


def _by(shape: Iterable[int] | None) -> str:
    return " x ".join(map(str, shape or ()))


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = " -> ".join(str(part) for part in first["loc"]) or "the file"
    return f"{where}: {first['msg']}"
