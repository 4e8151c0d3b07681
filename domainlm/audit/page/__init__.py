"""The officer's page: the ledger for people who must judge it, in their language, served to signed-in members alone.

It is a reader of the evidence and a desk to sign at. It holds no key: a person's key stays in their browser or with
their command line, the services' keys with the signer. What it shows was verified by the same gate as the signer's.
"""
