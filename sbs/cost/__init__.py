"""Cost models: what a policy costs, exactly (:mod:`sbs.cost.exact`) and in expectation.

A module here, or one of another package, registers cost models by a tuple ``COSTS``.
"""
