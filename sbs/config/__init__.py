"""Settings: the content of scale files and of the experiments sheet. Imports no PyTorch."""
