"""Grids and the precision that holds them: bf16 has 8 significant bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from sbs.config.scale import Scale, load_scale, stage_settings
from sbs.errors import SBSError
from sbs.kernels import build as native
from sbs.kernels import fused as kernels
from sbs.networks import build_network
from sbs.policy import Bitwidths, uniform_policy
from sbs.quantization import gates
from sbs.quantization import uniform as quantizer
from sbs.runtime.checkpoints import save_weights
from sbs.stages import finetune
from sbs.stages.stage_run import Job
from sbs.surgery.layers import leaf_layers
from tests.conftest import ROOT


def levels_left(bits: int, v: float) -> int:
    """Levels of the signed grid on [-v, v] that differ in bf16."""
    levels = v * (2 * torch.arange(2**bits) / (2**bits - 1) - 1)
    return len(levels.to(torch.bfloat16).unique())


@pytest.mark.parametrize("v", [0.3, 1.0, 1.01, 1.5, 1.99])
def test_bf16_holds_8_bits_and_not_12(v: float) -> None:
    for bits in range(1, 9):
        assert levels_left(bits, v) == 2**bits
    assert levels_left(12, v) < 2**11


def test_scales_of_bf16_with_more_than_8_bits_are_refused(tmp_path: Path) -> None:
    text = (ROOT / "config" / "config.yaml").read_text()
    text = text.replace("bitwidths: [2, 4, 8]", "bitwidths: [3, 6, 12]")
    path = tmp_path / "fine.yaml"
    path.write_text(text)
    load_scale(path)
    path.write_text(text.replace("precision: fp32", "precision: bf16"))
    message = r"fine\.yaml: search: bitwidths: 12 bits are more than runtime\.precision: bf16"
    with pytest.raises(SBSError, match=message):
        load_scale(path)


def test_options_of_the_sheet_are_checked_too(default_scale: Scale) -> None:
    overrides: dict[str, Any] = {"search.bitwidths": [3, 6, 12]}
    stage_settings(default_scale, "search", overrides)
    with pytest.raises(SBSError, match="12 bits are more than"):
        stage_settings(default_scale, "search", overrides | {"runtime.precision": "bf16"})


def test_fine_tuning_in_bf16_refuses_policies_of_more_bits(
    default_scale: Scale, digits_file: Path, tmp_path: Path
) -> None:
    model = build_network("resnet20", 10, 1)
    policy, start = tmp_path / "policy.json", tmp_path / "start.safetensors"
    uniform_policy("resnet20", list(leaf_layers(model)), 12).save(policy)
    save_weights(model.state_dict(), start)
    settings = stage_settings(default_scale, "finetune", {"runtime.precision": "bf16"})
    job = Job("resnet20", "fixed12", "default", 0, "digits", tmp_path / "resume", settings)
    with pytest.raises(SBSError, match=r"policy\.json: 12 bits are more than.*take fp32"):
        finetune.run(job, digits_file, policy, start, tmp_path / "w", tmp_path / "r")


def test_full_precision_layers_may_be_in_bf16() -> None:
    assert uniform_policy("resnet20", ["a", "b", "c"], 32).highest_bits == 0
    assert uniform_policy("resnet20", ["a", "b", "c"], 4).highest_bits == 8


@pytest.mark.parametrize("available", [True, False])
def test_bf16_is_quantized_in_single_precision(
    available: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not available:
        monkeypatch.setattr(native, "available", lambda: False)
    elif not native.available():
        pytest.skip("no C++ compiler")
    x = torch.randn(4000).to(torch.bfloat16)
    v, alpha = torch.tensor(0.9), torch.zeros(2)
    bits = Bitwidths((2, 4, 8))
    spec = kernels.QuantizerSpec(alpha, bits, True, 8)
    got = kernels.gated_fake_quantize(x, v, spec)
    want, _, metrics = gates.gated_fake_quantize(x.float(), v, alpha, bits, signed=True)
    torch.testing.assert_close(got.values, want.to(torch.bfloat16))
    torch.testing.assert_close(got.metrics, metrics)
    for bits_of_one in (2, 8):
        fixed = kernels.fake_quantize(x, v, bits_of_one, signed=False)
        reference = quantizer.fake_quantize(x.float(), v, bits_of_one, signed=False)
        assert fixed.dtype == torch.bfloat16
        torch.testing.assert_close(fixed, reference.to(torch.bfloat16))
