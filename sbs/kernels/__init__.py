"""Fast versions of :mod:`sbs.quantization`, forward and backward."""
