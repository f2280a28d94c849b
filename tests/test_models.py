"""Networks: their layouts load public weights, and what they say of themselves is true."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models as torchvision_models
from torchvision.ops.misc import SqueezeExcitation

from sbs.errors import SBSError
from sbs.networks import Prunable, build_network, get_spec
from sbs.networks.prunable import Span
from sbs.registry.networks import networks

CIFAR = {"resnet20": 3, "resnet32": 5, "resnet44": 7, "resnet56": 9}  # blocks a stage
TORCHVISION = {
    "resnet18": (torchvision_models.resnet18, torchvision_models.ResNet18_Weights),
    "resnet50": (torchvision_models.resnet50, torchvision_models.ResNet50_Weights),
    "mobilenet_v2": (torchvision_models.mobilenet_v2, torchvision_models.MobileNet_V2_Weights),
}
# Residual blocks, without those of the MobileNets that do not expand.
PRUNABLES = {name: 3 * blocks for name, blocks in CIFAR.items()}
PRUNABLES |= {"resnet18": 8, "resnet50": 16, "mobilenet_v2": 16, "mobilenet_v3": 14}
NETWORKS = list(PRUNABLES)


def leaves(model: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}


def image(name: str, batch: int = 2) -> Tensor:
    """Images small enough to be quick, large enough that no layer reads a single pixel early."""
    size = 64 if get_spec(name).image_size == 224 else 32
    return torch.randn(batch, 3, size, size)


def test_the_names_are_the_networks() -> None:
    assert set(NETWORKS) <= set(networks())
    for name in networks():
        assert get_spec(name).name == name


def test_an_unknown_network_is_refused_with_the_known_ones() -> None:
    for call in (lambda: get_spec("resnet21"), lambda: build_network("resnet21", 10)):
        with pytest.raises(SBSError, match="resnet21") as caught:
            call()
        assert all(name in str(caught.value) for name in networks())


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_turn_images_into_logits(name: str) -> None:
    model = build_network(name, 7).eval()
    with torch.no_grad():
        assert model(image(name)).shape == (2, 7)


@pytest.mark.parametrize("name", TORCHVISION)
def test_networks_for_colour_images_refuse_others(name: str) -> None:
    with pytest.raises(SBSError, match=f"{name}.*1 channel"):
        build_network(name, 10, in_channels=1)


# --- CIFAR ResNets


@pytest.mark.parametrize(("name", "blocks"), CIFAR.items())
def test_cifar_resnets_have_the_layout_of_the_public_checkpoints(name: str, blocks: int) -> None:
    norm = r"(weight|bias|running_mean|running_var|num_batches_tracked)"
    layout = re.compile(
        r"conv1\.weight|fc\.(weight|bias)"
        rf"|bn1\.{norm}|layer[123]\.\d+\.bn[12]\.{norm}"
        r"|layer[123]\.\d+\.conv[12]\.weight"
        rf"|layer[23]\.0\.downsample\.(0\.weight|1\.{norm})"
    )
    keys = build_network(name, 100).state_dict().keys()
    assert [key for key in keys if not layout.fullmatch(key)] == []
    # Stem 1 + 5, a block 2 + 10, two shortcuts 1 + 5 each, the linear layer 2.
    assert len(keys) == 6 + 3 * blocks * 12 + 2 * 6 + 2


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_public_cifar_checkpoints_load(name: str, weights_dir: Path) -> None:
    found = sorted(weights_dir.glob(f"*{name}B.pth"))
    if not found:
        pytest.skip(f"no *{name}B.pth in {weights_dir}")
    state = torch.load(found[0], map_location="cpu", weights_only=True)
    build_network(name, 100).load_state_dict(state, strict=True)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (3, 32, 32), (3, 33, 31)])
def test_cifar_resnets_read_images_of_any_size(shape: tuple[int, int, int]) -> None:
    model = build_network("resnet20", 10, in_channels=shape[0])
    assert model(torch.randn(2, *shape)).shape == (2, 10)


def test_every_rectifier_of_a_cifar_resnet_is_a_module_of_its_own() -> None:
    model = build_network("resnet20", 10)
    calls: Counter[str] = Counter()
    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace, name
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    model(image("resnet20"))
    assert len(calls) == 1 + 2 * 9
    assert set(calls.values()) == {1}


def test_cifar_resnets_start_from_kaiming_normal_weights() -> None:
    weight = build_network("resnet56", 10).get_submodule("layer3.8.conv2").weight
    assert isinstance(weight, Tensor)
    # 36,864 draws: the sample deviation is within 0.4 % of its expectation, one sigma.
    assert float(weight.detach().std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert abs(float(weight.detach().mean())) < 0.001


# --- torchvision's networks


@pytest.mark.parametrize("name", TORCHVISION)
def test_imagenet_networks_have_the_layout_of_the_public_weights(name: str) -> None:
    build, weights = TORCHVISION[name]
    ours = {key: value.shape for key, value in build_network(name, 1000).state_dict().items()}
    public = {key: value.shape for key, value in build(weights=None).state_dict().items()}
    assert ours == public
    counted = sum(parameter.numel() for parameter in build_network(name, 1000).parameters())
    assert counted == weights.IMAGENET1K_V1.meta["num_params"]


def test_mobilenet_v3_is_the_large_one_but_for_its_squeeze_widths() -> None:
    ours = build_network("mobilenet_v3", 100).state_dict()
    large = torchvision_models.mobilenet_v3_large(weights=None, num_classes=100).state_dict()
    assert ours.keys() == large.keys()
    different = {key for key in ours if ours[key].shape != large[key].shape}
    assert different
    assert all(re.search(r"\.fc[12]\.(weight|bias)$", key) for key in different)


def test_mobilenet_v3_squeezes_to_exactly_a_quarter() -> None:
    model = build_network("mobilenet_v3", 100)
    squeezes = [m for m in model.modules() if isinstance(m, SqueezeExcitation)]
    assert [(s.fc1.in_channels, s.fc1.out_channels) for s in squeezes] == [
        (72, 18), (120, 30), (120, 30), (480, 120), (672, 168), (672, 168), (960, 240), (960, 240)
    ]  # fmt: skip


def test_mobilenet_v3_has_running_statistics_that_keep_up() -> None:
    norms = [
        m for m in build_network("mobilenet_v3", 10).modules() if isinstance(m, nn.BatchNorm2d)
    ]
    assert {norm.momentum for norm in norms} == {0.1}
    assert {norm.eps for norm in norms} == {0.001}


def test_mobilenet_v3_reads_grey_images() -> None:
    torch.manual_seed(0)
    grey, colour = (build_network("mobilenet_v3", 10, channels) for channels in (1, 3))
    with torch.no_grad():
        assert grey(torch.rand(2, 1, 8, 8)).shape == (2, 10)
    stems = [model.get_parameter("features.0.0.weight").detach() for model in (grey, colour)]
    assert [tuple(stem.shape) for stem in stems] == [(16, 1, 3, 3), (16, 3, 3, 3)]
    assert float(stems[0].std()) == pytest.approx(float(stems[1].std()), rel=0.2)


def test_mobilenet_v3_shrinks_its_images_three_times() -> None:
    model = build_network("mobilenet_v3", 100).eval()
    sizes: list[int] = []
    for stage in model.features.children():  # type: ignore[union-attr]
        stage.register_forward_hook(lambda _, __, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
    assert sizes == [32] * 4 + [16] * 3 + [8] * 6 + [4] * 4


# --- what the descriptions claim


@pytest.mark.parametrize(("name", "count"), PRUNABLES.items())
def test_channels_of_a_prunable_convolution_fit_all_that_shrinks_with_it(
    name: str, count: int
) -> None:
    model = build_network(name, 10)
    found = get_spec(name).prunables(model)
    assert len({prunable.layer for prunable in found}) == len(found) == count
    for prunable in found:
        conv = model.get_submodule(prunable.layer)
        assert isinstance(conv, nn.Conv2d)
        assert conv.groups == 1
        filters = conv.out_channels
        for norm in map(model.get_submodule, names_of(prunable.norms)):
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.num_features == filters
        for producer in map(model.get_submodule, prunable.producers):
            assert isinstance(producer, nn.Conv2d)
            assert producer.out_channels == filters
        for consumer in map(model.get_submodule, names_of(prunable.consumers)):
            assert isinstance(consumer, nn.Conv2d)
            assert (consumer.in_channels, consumer.groups) == (filters, 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_first_norm_of_a_prunable_convolution_reads_its_output(name: str) -> None:
    model = build_network(name, 10).eval()
    written: dict[str, Tensor] = {}
    read: dict[str, Tensor] = {}
    found = get_spec(name).prunables(model)
    for prunable in found:
        conv, norm = prunable.layer, prunable.norms[0].name
        model.get_submodule(conv).register_forward_hook(
            lambda _, __, output, key=conv: written.update({key: output})
        )
        model.get_submodule(norm).register_forward_hook(
            lambda _, inputs, __, key=conv: read.update({key: inputs[0]})
        )
    with torch.no_grad():
        model(image(name))
    assert [p.layer for p in found if read[p.layer] is not written[p.layer]] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pruned_channel_reaches_the_rest_only_through_what_its_description_names(
    name: str,
) -> None:
    """With the norms' channel at zero, no weight that reads or writes the channel matters."""
    model = lively(name).double().eval()
    x = image(name).double()
    found = get_spec(name).prunables(model)
    with torch.no_grad():
        for prunable in found:
            for norm in map(model.get_submodule, names_of(prunable.norms)):
                norm.weight[-1] = norm.bias[-1] = 0  # type: ignore[operator]
        want = model(x)
        for prunable in found:
            disturb_last_channel(model, prunable)
        torch.testing.assert_close(model(x), want, atol=1e-10, rtol=1e-10)
        # The check can fail: the same disturbance of a channel that is alive shows.
        for norm in map(model.get_submodule, names_of(found[0].norms)):
            norm.weight[-1] = norm.bias[-1] = 1  # type: ignore[operator]
        assert not torch.allclose(model(x), want)


def names_of(spans: Iterable[Span]) -> list[str]:
    return [span.name for span in spans]


def disturb_last_channel(model: nn.Module, prunable: Prunable) -> None:
    """Other weights wherever the last channel of a prunable convolution is written or read."""
    for layer in map(model.get_submodule, (prunable.layer, *prunable.producers)):
        layer.weight[-1] += 0.5  # type: ignore[operator,index]
    for layer in map(model.get_submodule, names_of(prunable.consumers)):
        layer.weight[:, -1] += 0.5  # type: ignore[operator,index]


@pytest.mark.parametrize("name", NETWORKS)
def test_signed_inputs_are_exactly_those_that_can_be_negative(name: str) -> None:
    model = lively(name).train()
    lowest: dict[str, float] = {}
    for layer, module in leaves(model).items():
        module.register_forward_hook(
            lambda _, inputs, __, key=layer: lowest.update({key: float(inputs[0].min())})
        )
    with torch.no_grad():
        model(image(name, batch=4))
    negative = {layer for layer, value in lowest.items() if value < 0}
    assert lowest.keys() == leaves(model).keys()
    assert get_spec(name).signed_inputs(model) == negative


def lively(name: str) -> nn.Module:
    """A network whose batch norms scale and shift, so that every sign occurs."""
    torch.manual_seed(3)
    model = build_network(name, 10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    return model
