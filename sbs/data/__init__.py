"""Datasets, and the batches that training and evaluation read.

A module here, or one of another package, registers datasets by a dictionary ``DATASETS`` and a
function ``load(name, directory, cache)``.
"""
