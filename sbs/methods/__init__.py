"""Compression methods. Each is a file or a folder here, or a module of another package.

A method is a :class:`sbs.registry.methods.Method` in the ``METHODS`` of its module. Its search is
imported on demand, so a search depends only on the code of its own method: editing one method does
not make the results of others out of date.
"""
