"""Top-1 and top-5 accuracy of a network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sbs.runtime import processes


@dataclass(frozen=True)
class Accuracy:
    """Accuracies in percent."""

    top1: float
    top5: float


@torch.inference_mode()
def evaluate(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], device: torch.device
) -> Accuracy:
    """Accuracy over all batches; the counts stay on the device until the end.

    Always in single precision: bf16 is only for training, and would change accuracies by about 0.1
    points.

    Args:
        model: network on ``device``; left in evaluation mode.
        batches: images (B, C, H, W) and labels (B,) on ``device``; of several processes, each
            gives its share.
        device: device of model and batches.
    """
    model.eval()
    hits = torch.zeros(2, dtype=torch.long, device=device)
    seen = 0
    for images, labels in batches:
        logits = model(images)
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hit = ranked == labels[:, None]
        hits += torch.stack([hit[:, 0].sum(), hit.any(dim=1).sum()])
        seen += len(labels)
    counts = processes.total(torch.cat([hits, hits.new_tensor([seen])]))
    first, among_five, images_in_all = counts.tolist()
    return Accuracy(100 * first / images_in_all, 100 * among_five / images_in_all)
