"""What a run will take: times of jobs, estimated from their settings and from finished runs."""
