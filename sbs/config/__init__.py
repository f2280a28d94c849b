"""Settings: what a scale file and the experiments sheet may say. No PyTorch here."""
