"""The signer: a process of its own, which alone holds the service keys and adds to the ledger."""
