"""Registries of what one new file can add: methods, networks, datasets, cost models, notebooks.

A module registers by assigning a variable at its top level (``METHODS``, ``NETWORKS``,
``DATASETS``, ``COSTS``). Modules of this package are found in their folder, modules of other
packages by an entry point. A notebook registers by its header. Nothing here imports PyTorch.
"""
