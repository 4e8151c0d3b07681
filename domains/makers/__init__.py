"""Programs that wrote the generated files of the domain packs.

`python -m domains.makers.NAME` rewrites a program's files byte for byte.
"""
