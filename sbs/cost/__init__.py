"""Cost models: the exact cost of a policy (:mod:`sbs.cost.exact`), and its expected cost.

A module here or in another package registers cost models with a tuple ``COSTS``.
"""
