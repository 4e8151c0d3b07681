"""Write the image's bill of materials, in the image itself: `python bill.py LOCK EPOCH TARGET`."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, "/app")  # the server image has no such package
from domainlm.audit.standards.bom import image_bom

lock, epoch, target = sys.argv[1:]
bill = image_bom(Path(lock), Path("/var/lib/dpkg/status"), datetime.fromtimestamp(int(epoch), UTC))
Path(target).write_text(json.dumps(bill, ensure_ascii=False, separators=(",", ":"), sort_keys=True), encoding="utf-8")
