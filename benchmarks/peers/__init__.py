"""What a user could take instead: the same network, target and budget in each tool."""
