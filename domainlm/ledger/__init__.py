"""What a run leaves behind as evidence: one manifest a run."""
