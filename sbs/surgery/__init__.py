"""Turn a plain network into the network of a search or of a policy."""
