"""Sources of raw text: what a configuration says of them, what the manifest proves of them, and how their rows are read.

The rows that `stream_records` yields are raw: only `redact` may store what it makes of them.
"""
