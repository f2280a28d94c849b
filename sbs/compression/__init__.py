"""Compress anybody's network in one call: search, fine-tune, and a result to take away."""
