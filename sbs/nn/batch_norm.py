"""Batch norm that is computed together with the following quantizer, in one pass over memory.

Between a convolution and the quantizer of the next one there is a batch norm, and often an addition
and a ReLU: cheap arithmetic, but each is a pass over memory. So :class:`GatedBatchNorm2d` returns a
:class:`Pending` result. It records an addition and a ReLU, and is computed when its values are
needed: fused with the quantizer if a quantizer needs them, by PyTorch's own functions otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sbs.kernels import fused as kernels
from sbs.kernels import norm as norm_kernels
from sbs.nn.filter_gate import FilterGate


class GatedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm in a quantized network. Pruning gates can close its channels.

    The gates multiply scale and shift, which costs nothing per pixel. The output of a pruned filter
    is zero.

    Attributes:
        private: only one quantized layer reads the output, with at most a ReLU in between.
        shared: in training, take the statistics of the batches of all processes.
    """

    def __init__(
        self,
        channels: int,
        *,
        private: bool,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Create it without a gate; :meth:`gate_by` adds one.

        Args:
            channels: C.
            private: only one quantized layer reads the output, with at most a ReLU in between.
            device: device of the input.
            dtype: type of the parameters.
        """
        super().__init__(channels, device=device, dtype=dtype)
        self.private = private
        self.shared = False
        # In a list the gate is not registered as a submodule; it belongs to its convolution.
        self._gates: list[tuple[FilterGate, bool]] = []

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, *, private: bool) -> GatedBatchNorm2d:
        """The same batch norm, with the same tensors as parameters and buffers."""
        new = cls(
            norm.num_features, private=private, device=norm.weight.device, dtype=norm.weight.dtype
        )
        new.eps, new.momentum = norm.eps, norm.momentum
        new.weight, new.bias = norm.weight, norm.bias
        for name, value in norm.named_buffers():
            setattr(new, name, value)
        return new.train(norm.training)

    def gate_by(self, gate: FilterGate, *, differentiable: bool) -> None:
        """Close channels with ``gate``; it gets a gradient from here if ``differentiable``."""
        self._gates.append((gate, differentiable))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W); the result is a tensor or a :class:`Pending`."""
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        # With running statistics the kernel has no backward pass.
        joins = norm_kernels.joins_norm(x) and not self.shared
        if joins and self.training == torch.is_grad_enabled():
            return Pending(self, x)  # type: ignore[return-value]
        return norm_kernels.norm_reference(x, self.operation(), None, relu=False)

    def operation(self) -> norm_kernels.Norm:
        """The batch norm of this step, with the gates applied to scale and shift."""
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        for gate, differentiable in self._gates:
            factor = gate.factor if differentiable else gate.mask
            weight, bias = weight * factor, bias * factor
        assert self.running_mean is not None
        assert self.running_var is not None
        return norm_kernels.Norm(
            weight,
            bias,
            self.running_mean,
            self.running_var,
            self.training,
            self.momentum if self.momentum is not None else 0.0,
            self.eps,
            self.shared,
        )


def share_statistics(model: nn.Module) -> None:
    """Let all batch norms take the statistics of the batches of all processes, in place.

    Parameters and buffers stay the same tensors.
    """
    for name, norm in list(model.named_modules()):
        if isinstance(norm, nn.BatchNorm2d) and not isinstance(norm, GatedBatchNorm2d):
            new = GatedBatchNorm2d.of(norm, private=False)
            model.set_submodule(name, new)
            norm = new
        if isinstance(norm, GatedBatchNorm2d):
            norm.shared = True


_ADDITIONS = {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__}


class Pending:
    """A batch norm's output, perhaps with a residual and a ReLU, that is not computed yet.

    PyTorch's functions accept it as a tensor, and compute it first. The exceptions are addition and
    ReLU, which it records.
    """

    def __init__(
        self,
        norm: GatedBatchNorm2d,
        raw: Tensor,
        residual: Tensor | None = None,
        *,
        relu: bool = False,
    ) -> None:
        self._norm, self._raw, self._residual, self._relu = norm, raw, residual, relu
        self._value: Tensor | None = None
        self._spent = False

    def __add__(self, other: Values | float) -> Values:
        """Record the residual of a block; add anything else immediately."""
        added = tensor(other)
        noted = self._residual is None and not self._relu and self._value is None
        if noted and isinstance(added, Tensor) and added.shape == self._raw.shape:
            self._spend()
            return Pending(self._norm, self._raw, added)
        summed: Tensor = self.tensor() + added
        return summed

    __radd__ = __add__

    def rectified(self) -> Values:
        """Record a ReLU."""
        if self._relu or self._value is not None:
            return F.relu(self.tensor())
        self._spend()
        return Pending(self._norm, self._raw, self._residual, relu=True)

    def tensor(self) -> Tensor:
        """The values, computed on first use."""
        if self._value is None:
            self._spend()
            self._value = norm_kernels.norm_reference(
                self._raw, self._norm.operation(), self._residual, relu=self._relu
            )
        return self._value

    def quantized(self, interval: Tensor, spec: kernels.QuantizerSpec) -> kernels.Quantized:
        """The quantized values; the input values are kept too, unless the norm is private."""
        if self._value is not None:
            return kernels.gated_fake_quantize(self._value, interval, spec)
        self._spend()
        result, self._value = norm_kernels.norm_quantize(
            self._raw,
            self._norm.operation(),
            self._residual,
            interval,
            spec,
            relu=self._relu,
            keep=not self._norm.private,
        )
        return result

    def __getattr__(self, name: str) -> Any:
        """Attributes and methods of tensors, for hooks that inspect the output."""
        return getattr(self.tensor(), name)

    def _spend(self) -> None:
        """Make sure that the norm runs only once: each run updates its running statistics."""
        if self._spent:
            raise RuntimeError(
                "fused batch norm: its output has a second consumer that surgery did not find"
            )
        self._spent = True

    @classmethod
    def __torch_function__(
        cls,
        function: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Called by PyTorch's functions when an argument is a Pending."""
        if function in (F.relu, torch.relu) and isinstance(args[0], Pending):
            return args[0].rectified()
        if function in _ADDITIONS and isinstance(args[1], Pending):
            return args[1] + args[0]
        return function(*map(tensor, args), **{k: tensor(v) for k, v in (kwargs or {}).items()})


def _operator(name: str) -> Callable[..., Any]:
    def apply(self: Pending, *operands: Any) -> Any:
        return getattr(self.tensor(), name)(*map(tensor, operands))

    return apply


# Python looks up operators in the class, without __getattr__.
for _name in ("mul", "rmul", "sub", "rsub", "truediv", "neg", "getitem", "len"):
    setattr(Pending, f"__{_name}__", _operator(f"__{_name}__"))

Values: TypeAlias = Tensor | Pending


T = TypeVar("T")


@overload
def tensor(value: Pending) -> Tensor: ...
@overload
def tensor(value: T) -> T: ...
def tensor(value: Any) -> Any:
    """The values of a :class:`Pending`; anything else is returned unchanged."""
    return value.tensor() if isinstance(value, Pending) else value
