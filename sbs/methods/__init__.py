"""Compression methods: each is a file or a folder here, or a module of another package.

A method is a :class:`sbs.registry.methods.Method` among the ``METHODS`` of its module. Its search
is imported on demand, so that a search depends on the code of its own method alone: an edit of one
method makes the results of no other stale.
"""
