"""Take the installer out of its wheel, so that a base without pip will do: `python unpack_uv.py WHEELS TARGET`."""

import sys
import zipfile
from pathlib import Path

wheels, target = Path(sys.argv[1]), Path(sys.argv[2])
[wheel] = wheels.glob("uv-*.whl")
with zipfile.ZipFile(wheel) as archive:
    [member] = [name for name in archive.namelist() if name.endswith("/scripts/uv")]
    target.write_bytes(archive.read(member))
target.chmod(0o755)
