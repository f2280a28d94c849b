"""The one call: search a policy for a network, and fine-tune the compressed network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from sbs.compression.call import Call
from sbs.compression.goal import Goal
from sbs.compression.progress import Callback
from sbs.compression.result import Compressed
from sbs.compression.scoring import Metric
from sbs.compression.settings import UserOptimizer, UserSchedule
from sbs.compression.stages import results_of
from sbs.runtime.seeding import own_random_states
from sbs.training.batch import Batch
from sbs.training.recipe import Objective, cross_entropy


def compress(
    model: nn.Module,
    train_loader: Iterable[Batch],
    target: str | float = "4-bit",
    *,
    loss: Objective = cross_entropy,
    val_loader: Iterable[Batch] | None = None,
    metric: Metric | None = None,
    example_input: Tensor | tuple[Any, ...] | None = None,
    epochs: int = 10,
    search_epochs: int | None = None,
    learning_rate: float = 0.02,
    optimizer: UserOptimizer | None = None,
    schedule: UserSchedule = "cosine",
    quantize: bool = True,
    prune: bool = True,
    bitwidths: Sequence[int] = (2, 4, 8),
    group_size: int = 4,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    checkpoint: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    verbose: bool = True,
) -> Compressed:
    """Compress a trained network: search bitwidths and filters, then fine-tune (Algorithm 1).

    Args:
        model: the trained network; not changed. :func:`sbs.inspect` says what of it can be
            compressed.
        train_loader: batches, whenever it is iterated; pairs of inputs and labels for the default
            loss.
        target: the cost to reach, see :meth:`sbs.compression.goal.Goal.parse`: ``"4-bit"``, a share
            such as 0.1, ``"630.6 M"`` bit operations, ``"memory: 200 KB"``, ``"latency: 20 ms"``.
        loss: (network, batch) -> mean loss of the batch. The network has the layers and the forward
            pass of ``model``, but none of its other attributes and methods: take those from
            ``model`` itself, ``lambda net, batch: model.weight * F.mse_loss(net(batch[0]), ...)``.
        val_loader: batches to score the networks on.
        metric: (network, batch) -> mean score of the batch, of networks as for ``loss``; default:
            accuracy in percent for the default loss, else the loss.
        example_input: input of the network for one item, a tensor (1, ...) or a tuple of its
            arguments; default: the first item of the first batch.
        epochs: epochs of the fine-tuning.
        search_epochs: epochs of the search; default: as many.
        learning_rate: of SGD with momentum, in both stages; without meaning if ``optimizer`` is
            given.
        optimizer: parameters -> optimizer of weights and intervals. Thresholds have their own.
        schedule: ``"cosine"``, ``"constant"``, or a function from the share of a stage that is over
            to the factor of the learning rate.
        quantize: whether to search bitwidths.
        prune: whether to search filters.
        bitwidths: candidates; each is a multiple of the one before.
        group_size: filters per pruning group.
        seed: of all random choices. The generators of Python, NumPy and PyTorch are afterwards as
            they were before.
        device: auto: CUDA if there is one.
        precision: bf16: autocast.
        checkpoint: folder for the state after each epoch. The same call resumes there, and a
            finished one returns its result at once. Data, loss and optimizer cannot be compared:
            use another folder when they change.
        callbacks: called after each epoch with a :class:`sbs.compression.progress.EpochEnd`.
        verbose: write a line per epoch to standard error.

    Returns:
        The compressed network, its policy, and what was measured.

    Raises:
        SBSError: the target is out of reach, nothing of the network can be compressed, or an
            argument is not valid.

    Example:
        >>> import sbs, torch
        >>> from sklearn.datasets import load_digits
        >>> digits, _ = load_digits(), torch.manual_seed(0)
        >>> images = torch.tensor(digits.images, dtype=torch.float32)[:640, None] / 16
        >>> labels = torch.tensor(digits.target)[:640]
        >>> model = torch.nn.Sequential(  # best trained before
        ...     torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3),
        ...     torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(128, 10),
        ... )
        >>> batches = list(zip(images.split(32), labels.split(32)))
        >>> result = sbs.compress(
        ...     model, batches, "4-bit", search_epochs=5, epochs=1, verbose=False
        ... )
        >>> result.cost() < result.full_cost() / 30
        True
    """
    options = {
        "loss": loss,
        "val_loader": val_loader,
        "metric": metric,
        "example_input": example_input,
        "epochs": epochs,
        "search_epochs": search_epochs,
        "learning_rate": learning_rate,
        "optimizer": optimizer,
        "schedule": schedule,
        "quantize": quantize,
        "prune": prune,
        "bitwidths": bitwidths,
        "group_size": group_size,
        "seed": seed,
        "device": device,
        "precision": precision,
        "checkpoint": checkpoint,
        "callbacks": callbacks,
        "verbose": verbose,
    }
    with own_random_states(cuda=device != "cpu"):
        (result,) = results_of([Call.of(model, train_loader, Goal.parse(target), options)])
    return result
