"""From run records to tables, claims and their verdicts."""
