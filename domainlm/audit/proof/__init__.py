"""Is it true: verification of a ledger, and bundles that a third party verifies."""
