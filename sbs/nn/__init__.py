"""Quantized layers, gates and batch norms as modules."""
