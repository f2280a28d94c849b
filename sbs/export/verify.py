"""Comparison of a network in ONNX with its packed file, layer by layer, and with integers.

onnxruntime runs the network once, and keeps the codes of every layer's input and its output. Each
layer is then computed anew from these codes: in PyTorch, and with integers
(:mod:`sbs.export.integer`). The rest of the network goes on in PyTorch from the integer result, up
to the codes of the next layer. So a difference arises in the first layer that shows it, and no
rounding of an earlier layer is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import onnx
import onnxruntime
import torch
from tabulate import tabulate
from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.export.codes import Codes
from sbs.export.inputs import InputQuantizer
from sbs.export.integer import IntegerLayer, has_integer_form
from sbs.export.packed import Content
from sbs.export.twin import TwinLayer, inference_twin
from sbs.training.batch import tensors_of

Inputs: TypeAlias = Tensor | tuple[Tensor, ...]

ROUNDED_OTHERWISE = 1e-3
"""Largest share of codes that may differ by one: their values lie on a tie but for rounding."""

CLOSE = 1e-4
"""Largest difference of a layer in PyTorch and in onnxruntime, of its largest output."""


@dataclass
class LayerCheck:
    """What was found about a layer, or about a quantizer that stands alone.

    Attributes:
        name: its name.
        weights: whether its weights are equal bit for bit; None if it has none.
        codes: number of codes of its input; 0 if the input is not quantized.
        different: how many of them differ between onnxruntime and integer arithmetic before.
        apart: largest difference of two codes.
        largest: largest magnitude of its outputs.
        pytorch: largest difference of its outputs between onnxruntime and PyTorch.
        integer: the same between onnxruntime and integer arithmetic; None if there is no such form.
        rounding: the largest part that this difference is of what rounding can do; above 1, it is
            no rounding.
    """

    name: str
    weights: bool | None = None
    codes: int = 0
    different: int = 0
    apart: float = 0.0
    largest: float = 0.0
    pytorch: float = 0.0
    integer: float | None = None
    rounding: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether nothing but rounding differs."""
        few = self.different <= ROUNDED_OTHERWISE * self.codes or self.different <= 1
        same_codes = few and self.apart <= 1
        close = self.pytorch <= CLOSE * max(self.largest, 1.0)
        return self.weights is not False and same_codes and close and self.rounding <= 1

    @property
    def row(self) -> tuple[str, ...]:
        """The line of the report."""
        return (
            self.name,
            {True: "equal", False: "DIFFER", None: "–"}[self.weights],
            f"{self.different} of {self.codes}" if self.codes else "–",
            f"{self.pytorch:.1g}" if self.largest else "–",
            "–" if self.integer is None else f"{self.integer:.1g}",
            "–" if self.integer is None else f"{self.rounding:.1g}",
            "yes" if self.agrees else "NO",
        )


HEADER = (
    "layer",
    "weights",
    "codes that differ",
    "from PyTorch",
    "from integers",
    "of rounding bound",
    "agrees",
)


@dataclass
class Comparison:
    """Result of :func:`compare`.

    Attributes:
        layers: the checks, in the order of the network.
        predictions: number of predicted classes: one for each input, or more if the network
            classifies parts of it, such as pixels; 0 if its first output is one number.
        same: how many of them onnxruntime and the packed network agree on.
        outputs: largest difference of their outputs.
    """

    layers: list[LayerCheck]
    predictions: int = 0
    same: int = 0
    outputs: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether nothing but rounding differs in any layer."""
        return all(layer.agrees for layer in self.layers)

    def __str__(self) -> str:
        """What `sbs verify` prints."""
        table = tabulate([layer.row for layer in self.layers], HEADER, tablefmt="simple")
        bad = [layer.name for layer in self.layers if not layer.agrees]
        verdict = f"no: {', '.join(bad)}" if bad else "yes"
        same = f"{self.same} of {self.predictions} predictions are the same; "
        return (
            f"{table}\n\n{same if self.predictions else ''}outputs differ by at most "
            f"{self.outputs:.2g}\nsame network: {verdict}"
        )


def compare(path: Path, packed: Content, batches: Iterable[Inputs]) -> Comparison:
    """Compare a network in ONNX with the network of a packed file.

    Args:
        path: file of :func:`sbs.export.onnx_file.export_onnx`.
        packed: content of the packed file (:func:`sbs.export.packed.read`).
        batches: inputs (N, ...): a tensor, or a tuple of the tensors that the network takes.

    Raises:
        SBSError: the file is no ONNX, or not of this network.
    """
    checks = _Checks(packed)
    whole, opened = _session(path, ()), _session(path, checks.values)
    checks.compare_weights(path)
    result = Comparison(list(checks.layers.values()))
    for batch in batches:
        inputs = batch if isinstance(batch, tuple) else (batch,)
        outputs = _run(whole, inputs)
        recorded = _run(opened, inputs)[-len(checks.values) :]
        with torch.no_grad():
            checks.compare_layers(dict(zip(checks.values, recorded, strict=True)), inputs)
            wanted = tensors_of(packed.model(*inputs))
        for output, want in zip(outputs, wanted, strict=True):
            result.outputs = max(result.outputs, _largest(output - want))
        if outputs[0].dim() > 1:
            same = outputs[0].argmax(1) == wanted[0].argmax(1)
            result.predictions += same.numel()
            result.same += int(same.sum())
    return result


def input_shapes(path: Path) -> tuple[tuple[int, ...], ...]:
    """Shape of each input of a network in ONNX, without the batch.

    Raises:
        SBSError: the file is no ONNX.
    """
    return tuple(tuple(one.shape[1:]) for one in _session(path, ()).get_inputs())


class _Checks:
    """The packed network in PyTorch, with hooks that compare its layers with recorded values.

    Attributes:
        layers: the checks, by name.
        values: names of the values that ONNX must record.
    """

    def __init__(self, packed: Content) -> None:
        self.layers: dict[str, LayerCheck] = {}
        self.values: list[str] = []
        self._twin = inference_twin(packed.model, packed.codes)
        self._recorded: dict[str, Tensor] = {}
        self._integer: dict[str, IntegerLayer] = {}
        self._weights: dict[str, Tensor] = {}
        within: set[nn.Module] = set()
        for name, module in self._twin.named_modules():
            if isinstance(module, TwinLayer):
                within |= set(module.children())
                self._add_layer(name, module, packed.codes.get(name))
            elif isinstance(module, InputQuantizer) and module not in within:
                self.layers[name] = LayerCheck(name)
                self.values.append(f"{name}.codes")
                module.register_forward_hook(partial(self._after_quantizer, name))

    def compare_weights(self, path: Path) -> None:
        """Compare all weights bit for bit, as onnxruntime decodes them.

        Raises:
            SBSError: the file is of another network.
        """
        session = _session(path, list(self._weights))
        example = tuple(torch.zeros(1, *shape) for shape in input_shapes(path))
        found = _run(session, example)[-len(self._weights) :]
        for (name, weight), own in zip(self._weights.items(), found, strict=True):
            if own.shape != weight.shape:
                raise SBSError(
                    f"{path}: {name} has the shape {tuple(own.shape)}, but {tuple(weight.shape)} "
                    "in the packed file; export both from the same policy and weights"
                )
            self.layers[name.removesuffix(".weight")].weights = torch.equal(own, weight)

    def compare_layers(self, recorded: dict[str, Tensor], inputs: tuple[Tensor, ...]) -> None:
        """Compare all layers for one batch.

        Args:
            recorded: what ONNX recorded, by name.
            inputs: those of the network (N, ...).
        """
        self._recorded = recorded
        self._twin(*inputs)

    def _add_layer(self, name: str, layer: TwinLayer, codes: Codes | None) -> None:
        self.layers[name] = LayerCheck(name, weights=True)
        self._weights[f"{name}.weight"] = layer.weight
        self.values.append(f"{name}.output")
        if layer.quantizer is not None:
            self.values.append(f"{name}.quantizer.codes")
        if codes is not None and has_integer_form(layer, codes):
            self._integer[name] = IntegerLayer(layer, codes)
            self.layers[name].integer = 0.0
        layer.register_forward_hook(partial(self._after_layer, name))

    def _after_layer(self, name: str, layer: TwinLayer, args: tuple[Tensor], y: Tensor) -> Tensor:
        """Compare a layer; go on with its integer result, or else with that of ONNX."""
        output = self._recorded.pop(f"{name}.output", None)
        if output is None:  # the network calls the layer once more
            return y
        check, codes = self.layers[name], None
        if layer.quantizer is not None:
            codes = self._recorded[f"{name}.quantizer.codes"]
            _compare_codes(check, layer.quantizer.codes(args[0]), codes)
            y = layer.multiply(layer.quantizer.values(codes))
        check.largest = max(check.largest, _largest(output))
        check.pytorch = max(check.pytorch, _largest(output - y))
        if name not in self._integer:
            return output
        assert codes is not None
        assert check.integer is not None
        exact = self._integer[name](codes)
        apart = (output - exact).abs()
        check.integer = max(check.integer, _largest(apart))
        bound = self._integer[name].rounding(codes)
        check.rounding = max(check.rounding, _largest(apart / bound))
        return exact.to(y.dtype)

    def _after_quantizer(
        self, name: str, quantizer: InputQuantizer, args: tuple[Tensor], y: Tensor
    ) -> Tensor:
        """Compare the codes of a quantizer; go on with those of ONNX."""
        codes = self._recorded.pop(f"{name}.codes", None)
        if codes is None:
            return y
        _compare_codes(self.layers[name], quantizer.codes(args[0]), codes)
        return quantizer.values(codes)


def _compare_codes(check: LayerCheck, own: Tensor, codes: Tensor) -> None:
    apart = (own - codes).abs()
    check.codes += codes.numel()
    check.different += int(apart.count_nonzero())
    check.apart = max(check.apart, _largest(apart))


def _largest(values: Tensor) -> float:
    return float(values.abs().max())


def _session(path: Path, recorded: Sequence[str]) -> onnxruntime.InferenceSession:
    """The network in onnxruntime, with copies of values as further outputs."""
    if not path.is_file():
        raise SBSError(f"{path}: no such ONNX file")
    try:
        model = onnx.load(path)
        known = {name for node in model.graph.node for name in node.output}
        known |= {tensor.name for tensor in model.graph.initializer}
        for name in recorded:
            if name not in known:
                raise SBSError(
                    f"{path}: has no value {name!r}; export it from the policy and weights of the "
                    "packed file, with `sbs export`"
                )
            copy = onnx.helper.make_node("Identity", [name], [f"{name}.copy"])
            model.graph.node.append(copy)
            model.graph.output.append(onnx.ValueInfoProto(name=copy.output[0]))
        content = model.SerializeToString()
        return onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except SBSError:
        raise
    except Exception as error:  # those of onnx and onnxruntime have no common type
        raise SBSError(f"{path}: onnxruntime cannot run the file ({error})") from error


def _run(session: onnxruntime.InferenceSession, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """All outputs of a batch."""
    names = [one.name for one in session.get_inputs()]
    feed = {name: tensor.contiguous().numpy() for name, tensor in zip(names, inputs, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, feed)]
