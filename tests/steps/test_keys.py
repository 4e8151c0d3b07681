"""The key out of ZenML's secret manager, in a process and a store of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from domainlm.errors import SecretError
from domainlm.keys import KeyRing

ROOT = Path(__file__).resolve().parents[2]
STORY = """
import os
from zenml.client import Client
from domainlm.errors import SecretError
from domainlm.keys import KeyRing
from steps.keys import load_keys

old = KeyRing("bank-2023", bytes(range(32)))
ring = old.succeeded_by(KeyRing("bank-2024", bytes(range(1, 33))))
Client().create_secret("redaction-key", values=ring.to_json())
Client().create_secret("broken", values={"key_id": "x", "secret": "hunter2"})
os.environ["DOMAINLM_KEY_SECRET"] = "redaction-key"
assert load_keys() == ring
os.environ["DOMAINLM_MODE"] = "production"
assert load_keys() == ring
for name, said in (("redaction", "does not hand it out"), ("broken", "is not a key")):
    os.environ["DOMAINLM_KEY_SECRET"] = name
    try:
        load_keys()
    except SecretError as error:
        assert said in str(error) and "hunter2" not in str(error), error
    else:
        raise AssertionError(name)
print("told")
"""


def test_the_key_comes_from_zenmls_secret_store(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "ZENML_CONFIG_PATH": str(tmp_path / "zenml"),
        "ZENML_LOCAL_STORES_PATH": str(tmp_path / "zenml" / "local_stores"), "ZENML_REPOSITORY_PATH": str(tmp_path),
        "ZENML_LOGGING_VERBOSITY": "ERROR",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", STORY], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("told\n")


def test_without_the_layer_that_can_ask_it_a_named_secret_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOMAINLM_KEY_SECRET", "redaction-key")
    with pytest.raises(SecretError, match="cannot be asked from here"):
        KeyRing.load()
    content = json.dumps(KeyRing("redaction-key", bytes(32)).to_json())
    assert KeyRing.load(read_secret=lambda name: content).key_id == "redaction-key"
