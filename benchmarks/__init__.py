"""Benchmarks of time and memory of a training step, with baselines; see README.md."""
