"""Datasets, and batches for training and evaluation.

A module here or in another package registers datasets with a dictionary ``DATASETS``, and a
function ``load(name, directory, cache)`` that reads them.
"""
