"""What was run and of which code: files that survive a kill, run records, digests."""
