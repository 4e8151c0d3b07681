"""Audit: evidence that needs no trust: lineage, approvals, verification, reports, erasure."""
