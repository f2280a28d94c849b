"""The device, seeds, progress and checkpoints of a running job."""
