"""What a run on a cluster needs that is no stage: where the cluster is, what it allows, and what its pods did.

Imports no ZenML, and `kubernetes` late.
"""
