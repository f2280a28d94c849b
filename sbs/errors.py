"""The one exception that the command line shows without a traceback."""


class SBSError(Exception):
    """A mistake in the input: a config, a policy, a checkpoint, a dataset.

    The message names the file, the key or layer at fault, and the remedy.
    """
