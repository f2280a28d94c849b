"""The one resumable training loop, classification, evaluation."""
