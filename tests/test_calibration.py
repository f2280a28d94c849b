"""Ranges of HAQ's quantizers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sbs.methods.haq.calibration import SAMPLE, Calibration, kl_threshold
from sbs.networks import build_network

IMAGE = (1, 8, 8)


def sample(kind: str) -> Tensor:
    """A hundred thousand values."""
    generator = torch.Generator().manual_seed(0)
    if kind == "laplace":
        size = torch.empty(100_000).exponential_(generator=generator)
        return size * (torch.rand(len(size), generator=generator) > 0.5)
    values = torch.randn(100_000, generator=generator)
    return values.relu() if kind == "relu" else values


def test_a_long_tail_is_cut_and_an_even_range_kept() -> None:
    generator = torch.Generator().manual_seed(0)
    even = torch.rand(20_000, generator=generator, dtype=torch.float64)
    assert kl_threshold(even, 7) > 0.9
    tailed = torch.cat([even, torch.tensor([20.0, 25.0, 30.0], dtype=torch.float64)])
    assert kl_threshold(tailed, 7) < 5
    assert kl_threshold(torch.zeros(10), 7) == 1


@pytest.mark.parametrize("kind", ["relu", "laplace", "normal"])
def test_more_bits_reach_further(kind: str) -> None:
    values = sample(kind)
    found = [kl_threshold(values, (1 << bits) - 1) for bits in (1, 2, 3, 4)]
    assert found == sorted(found)
    # Three levels above zero are well spent on what a half-normal holds up to two deviations.
    assert found[1] > 2
    assert found[-1] <= float(values.abs().max())


def test_the_many_zeros_behind_a_relu_do_not_count() -> None:
    values = sample("relu")
    positive = values[values > 0]
    for levels in (3, 7, 15):
        assert kl_threshold(values, levels) == kl_threshold(positive, levels)


def test_ranges_cover_peaks_at_many_bits_and_cut_tails_at_few() -> None:
    model = build_network("resnet20", 10, 1)
    with torch.no_grad():
        model.get_parameter("layer1.0.conv1.weight")[0, 0, 0, 0] = 3.0
    calibration = Calibration(model, torch.rand(16, *IMAGE), frozenset({"conv1"}))
    assert calibration.range("weights", "layer1.0.conv1", 8) == 3
    assert calibration.range("weights", "layer1.0.conv1", 4) < 2


def test_the_largest_input_counts_wherever_it_is() -> None:
    model = nn.Sequential(nn.Conv2d(1, 1, 1))
    images = torch.rand(4, 1, 300, 300)
    assert images.numel() > 2 * SAMPLE
    images.view(-1)[1] = 50.0
    calibration = Calibration(model, images, frozenset())
    assert calibration.range("input", "0", 8) == 50
