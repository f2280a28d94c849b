# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Compress your own network: an example
#
# A small network for scikit-learn's handwritten digits is trained, compressed and exported. The
# outputs below were made when this page was built, in less than a minute on one CPU core.
# [Compress your own network](compress.md) explains all arguments.
#
# ## A trained network
#
# Two thirds of the images train the network, the rest tests it.

# %%
import onnxruntime
import torch
from IPython.display import SVG
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import sbs

torch.set_num_threads(1)
torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)
train_loader = DataLoader(TensorDataset(images[:1200], labels[:1200]), 32, shuffle=True)
val_loader = DataLoader(TensorDataset(images[1200:], labels[1200:]), 256)


class Net(nn.Module):
    """Three convolutions and two linear layers."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv2, self.norm2 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv3, self.norm3 = nn.Conv2d(32, 32, 3), nn.BatchNorm2d(32)
        self.hidden, self.last = nn.Linear(128, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.relu(self.norm3(self.conv3(x)))
        return self.last(F.relu(self.hidden(x.flatten(1))))


model = Net()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for _ in range(6):
    for batch, answers in train_loader:
        optimizer.zero_grad()
        F.cross_entropy(model(batch), answers).backward()
        optimizer.step()

# %% [markdown]
# ## What can be compressed
#
# The first and the last layer get 8 bits. The others can get 2, 4 or 8 bits for their weights and
# for their inputs. Convolutions can also lose filters. The last lines say how low a target can be.

# %%
print(sbs.inspect(model, images[:1]))

# %% [markdown]
# ## Search and fine-tune
#
# The target is half a percent of the bit operations at full precision. The search decides the bits
# and the filters. Then the compressed network is trained for a few epochs more.

# %%
result = sbs.compress(
    model, train_loader, 0.005, val_loader=val_loader, search_epochs=10, epochs=4, verbose=False
)
print(result)

# %% [markdown]
# `result.model` is a module like any other, without the pruned filters. `result.history` has a line
# for each epoch. Here is the cost in the search, as a share of full precision:

# %%
for epoch in result.history["search"]:
    print(f"epoch {epoch['epoch']}: {epoch['cost'] / result.full_cost():.4f}")

# %% [markdown]
# ## Several targets
#
# Each target has a search of its own. The last row is the network at full precision.

# %%
front = sbs.front(
    model,
    train_loader,
    ["6-bit", "4-bit", "3-bit"],
    val_loader=val_loader,
    search_epochs=8,
    epochs=4,
    verbose=False,
)
front.table().round(4)

# %% [markdown]
# `front.plot` draws the score against the cost:

# %%
front.plot("front.svg")
SVG("front.svg")

# %% [markdown]
# ## Files
#
# `save` writes packed integers, and `sbs.load` reads them.

# %%
result.save("digits.sbs")
again = sbs.load("digits.sbs", model).eval()
with torch.no_grad():
    logits = result.model(images[:256])
    print("largest difference:", float((again(images[:256]) - logits).abs().max()))

# %% [markdown]
# `export` writes ONNX. The file reads a batch of any size. onnxruntime adds in another order, so a
# value on the edge between two codes can be rounded to the other one. The predictions are
# compared with those of PyTorch:

# %%
result.export("digits.onnx")
session = onnxruntime.InferenceSession("digits.onnx")
(scores,) = session.run(None, {session.get_inputs()[0].name: images[:256].numpy()})
same = (torch.tensor(scores).argmax(1) == logits.argmax(1)).float().mean()
print(f"same prediction for {float(same):.1%} of the images")
