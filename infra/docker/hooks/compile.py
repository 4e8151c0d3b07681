"""Compile Python files to bytecode that is never compared with its source: `python compile.py FOLDER...`.

A pod's file system is read-only, so what is not compiled here would be compiled anew at each start: half of a step's
start-up. Unchecked-hash files (PEP 552) need no look at the source's time and are equal whenever the source is, so that
equal sources give equal layers. Files that do not compile (templates, Python 2 examples) stay as they are.

transformers holds 400 families of models, 50 MB of bytecode, of which a run imports one or two: only the families of
domains/finance/bases.yaml are compiled. Another one is compiled when it is imported, which costs a second or so.
"""

import compileall
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from py_compile import PycInvalidationMode

MOST_PROCESSES = 4
FAMILIES = frozenset(
    "auto bert bloom deberta deberta_v2 distilbert electra encoder_decoder exaone4 falcon gemma gemma2 gemma3 gpt2 "
    "gpt_neox llama mistral mixtral modernbert olmo2 phi phi3 qwen2 qwen3 qwen3_moe roberta "
    "smollm3 xlm xlm_roberta".split()
)


def compile_file(path: str) -> None:
    compileall.compile_file(path, quiet=2, invalidation_mode=PycInvalidationMode.UNCHECKED_HASH, force=True)


def wanted(path: Path) -> bool:
    """Everything but the models of families that no base of ours belongs to."""
    parts = path.parts
    return parts[-4:-2] != ("transformers", "models") or parts[-2] in FAMILIES


if __name__ == "__main__":
    files = [str(path) for folder in sys.argv[1:] for path in sorted(Path(folder).rglob("*.py")) if wanted(path)]
    with ProcessPoolExecutor(min(MOST_PROCESSES, os.cpu_count() or 1)) as pool:
        list(pool.map(compile_file, files, chunksize=200))
