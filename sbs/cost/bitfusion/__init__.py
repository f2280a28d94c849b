"""BitFusion: latency and energy of a network on an accelerator for mixed bitwidths."""
