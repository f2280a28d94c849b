"""From a plain network to the network of a search or of a policy."""
