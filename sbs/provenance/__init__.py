"""Atomic files, run records, and digests of files and code."""
