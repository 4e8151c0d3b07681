"""Compile Python files to bytecode that is never compared with its source: `python compile.py FOLDER...`.

A pod's file system is read-only, so what is not compiled here would be compiled anew at each start: half of a step's
start-up. Unchecked-hash files (PEP 552) need no look at the source's time and are equal whenever the source is, so that
equal sources give equal layers. Files that do not compile (templates, Python 2 examples) stay as they are.
"""

import compileall
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from py_compile import PycInvalidationMode

MOST_PROCESSES = 4


def compile_file(path: str) -> None:
    compileall.compile_file(path, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, force=True)


if __name__ == "__main__":
    files = [str(path) for folder in sys.argv[1:] for path in sorted(Path(folder).rglob("*.py"))]
    with ProcessPoolExecutor(min(MOST_PROCESSES, os.cpu_count() or 1)) as pool:
        list(pool.map(compile_file, files, chunksize=200))
