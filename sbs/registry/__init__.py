"""What can be added by one new file: methods, networks, datasets, cost models.

Each kind has a registry. A module registers by what it assigns at its top level (``METHODS``,
``NETWORKS``, ``DATASETS``, ``COSTS``). Modules of this package are found in their room, modules of
other packages by an entry point. Nothing here imports PyTorch.
"""
