"""Checks of the paper's statements: exact in rational numbers, or measured."""
