"""How fast a step is, how much memory it takes, and beside what: see README.md."""
