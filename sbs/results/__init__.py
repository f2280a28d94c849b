"""Turn run records into tables and verdicts on the paper's claims."""
