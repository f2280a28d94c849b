"""The paper's arithmetic as plain functions of tensors, and the quantizers of its peers."""
