"""Searched configurations: the table against the committed policies, and what its figure shows."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from sbs.errors import SBSError
from sbs.networks import build_network
from sbs.plots.configurations import draw_configurations
from sbs.plots.trajectory import save_svg
from sbs.policy import Policy
from sbs.provenance.records import RunRecord
from sbs.results.configurations import configurations
from tests.conftest import ROOT

SEARCHES = ROOT / "results" / "measured" / "digits" / "search"
SEEDS = 5


def searches(*rows: str) -> tuple[list[RunRecord], list[Policy]]:
    folders = [SEARCHES / row / f"seed-{seed}" for row in rows for seed in range(SEEDS)]
    return (
        [RunRecord.load(folder / "search.json") for folder in folders],
        [Policy.load(folder / "policy.json") for folder in folders],
    )


def table_of(*rows: str) -> pd.DataFrame:
    return configurations(*searches(*rows))


def test_every_layer_of_every_seed_has_a_row() -> None:
    rows = ("resnet20/sbs/default", "resnet56/sbs/memory")
    table = table_of(*rows)
    assert len(table) == SEEDS * (22 + 58)
    found = table.set_index(["network", "variant", "seed", "layer"])
    for record, policy in zip(*searches(*rows), strict=True):
        of_search = found.loc[(record.network, record.variant, record.seed)]
        assert list(of_search["position"]) == list(range(1, len(policy.layers) + 1))
        for name, layer in policy.layers.items():
            row = of_search.loc[name]
            assert row["weight_bits"] == layer.weight_bits
            assert row["activation_bits"] == layer.activation_bits


def test_pruned_is_the_share_of_removed_filters() -> None:
    table = table_of("resnet56/sbs/default")
    filters = {
        name: module.weight.shape[0]
        for name, module in build_network("resnet56", 10, 1).named_modules()
        if name.endswith("conv1")
    }
    (record, *_), (policy, *_) = searches("resnet56/sbs/default")
    first = table[table["seed"] == record.seed].set_index("layer")["pruned"]
    pruned = {name: layer.kept for name, layer in policy.layers.items() if layer.kept is not None}
    assert pruned
    for name, kept in pruned.items():
        assert first[name] == pytest.approx(1 - len(kept) / filters[name])
    # Only the first convolution of a block can lose filters.
    assert set(first.dropna().index) == {name for name in filters if "." in name}
    assert first.dropna().drop(list(pruned)).eq(0).all()


def test_layers_that_downsample_follow_from_their_shapes() -> None:
    table = table_of("resnet20/sbs_q/default")
    marked = table[table["downsampling"] & (table["seed"] == 0)]
    assert dict(zip(marked["layer"], marked["kernel"], strict=True)) == {
        "layer2.0.conv1": "3x3",
        "layer2.0.downsample.0": "1x1",
        "layer3.0.conv1": "3x3",
        "layer3.0.downsample.0": "1x1",
    }


def test_a_policy_of_another_network_is_refused() -> None:
    records, _ = searches("resnet20/sbs/default")
    _, policies = searches("resnet56/sbs/default")
    with pytest.raises(SBSError, match="a policy of resnet56, but the network is resnet20"):
        configurations(records, policies)


def panels(*rows: str) -> list[Axes]:
    figure = draw_configurations(table_of(*rows))
    plt.close(figure)
    return figure.axes


def test_a_block_has_the_panels_that_its_method_chooses() -> None:
    axes = panels("resnet20/sbs/default", "resnet56/sbs_q/memory", "resnet20/sbs_p/default")
    labels = [axis.get_ylabel() for axis in axes]
    bits = ["weight bits", "input bits"]
    assert labels == [*bits, "pruned (%)", *bits, "pruned (%)"]
    titles = [axis.get_title(loc="left") for axis in axes]
    assert [title for title in titles if title] == [
        "SBS on ResNet-20, 5 seeds",
        "SBS-Q (memory) on ResNet-56, 5 seeds",
        "SBS-P on ResNet-20, 5 seeds",
    ]
    assert [bool(axis.get_xlabel()) for axis in axes] == [False, False, True, False, True, True]


def test_a_panel_shows_every_seed_and_the_mean() -> None:
    table = table_of("resnet20/sbs/default")
    weights, _, pruned = panels("resnet20/sbs/default")
    by_layer = table.pivot(index="position", columns="seed", values="weight_bits")
    (mean,) = (patch for patch in weights.patches if hasattr(patch, "get_data"))
    assert mean.get_data().values == pytest.approx(by_layer.mean(axis=1).to_numpy())
    assert len(weights.collections) == SEEDS
    for lines, seed in zip(weights.collections, by_layer, strict=True):
        drawn = [segment[0][1] for segment in lines.get_segments()]
        # Shifted by less than half of the way to the next bitwidth.
        assert drawn == pytest.approx(by_layer[seed].to_numpy(), rel=0.1)
    shares = 100 * table.pivot(index="position", columns="seed", values="pruned").dropna()
    bars = [bar.get_height() for bar in pruned.containers[0]]
    assert bars == pytest.approx(shares.mean(axis=1).to_numpy())
    dots = [list(line.get_ydata()) for line in pruned.lines]
    assert dots == [pytest.approx(shares[seed].to_numpy()) for seed in shares]


def test_downsampling_layers_are_shaded() -> None:
    for axis in panels("resnet20/sbs/default"):
        spans = [patch for patch in axis.patches if patch.get_zorder() == 0]
        assert [span.get_x() + 0.5 for span in spans] == [8, 10, 15, 17]
        hatched = [bool(span.get_hatch()) for span in spans]
        assert hatched == [False, True, False, True]


def test_one_seed_is_drawn_at_its_place() -> None:
    table = table_of("resnet20/sbs/default")
    figure = draw_configurations(table[table["seed"] == 0])
    plt.close(figure)
    (lines,) = figure.axes[0].collections
    drawn = [segment[0][1] for segment in lines.get_segments()]
    assert drawn == list(table[table["seed"] == 0]["weight_bits"])


def test_a_method_without_choices_is_refused() -> None:
    table = table_of("resnet20/sbs/default").assign(method="fixed32")
    with pytest.raises(SBSError, match="fixed32 chooses neither bits nor filters; remove conf"):
        draw_configurations(table)


def test_the_figure_is_the_same_file_each_time(tmp_path: Path) -> None:
    table = table_of("resnet20/sbs/default", "resnet20/sbs_q/default")
    for name in ("a.svg", "b.svg"):
        figure = draw_configurations(table)
        save_svg(figure, tmp_path / name)
        plt.close(figure)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
