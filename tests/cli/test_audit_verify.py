"""`domainlm audit verify` and `bundle`, as an operator and as a third party run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pyrage
import pytest
import sqlalchemy as sa
from small_ledgers import ORIGIN, SmallLedger, small_ledger, small_run

from domainlm.audit.proof.bundle_export import export
from domainlm.ledger import entries
from domainlm.ledger.anchors import Published
from domainlm.ledger.findings import CODES
from domainlm.ledger.run import manifest as manifests

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "verification.md"
REQUIREMENTS = ROOT / "infra" / "verifier" / "requirements.txt"
AT_THE_SIGNER = {"clock-ahead", "overtaken"}  # refusals of what is new; a ledger cannot hold them


@pytest.fixture
def made(tmp_path: Path, home: Path) -> SmallLedger:
    """A project's ledger with three runs, their manifests beside it, and everybody's keys in files."""
    made = small_ledger(tmp_path / "ledger")
    for number in range(3):
        made.enter_run(small_run(number))
        manifests.write(small_run(number))
    return made


@pytest.fixture
def variables(made: SmallLedger, home: Path, tmp_path: Path) -> dict[str, str]:
    """What makes the commands find that ledger, and no anchors."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOMAINLM_", "ZENML_"))}
    settings = tmp_path / "audit.yaml"
    settings.write_text(f"origin: {ORIGIN}\n")
    return kept | made.as_files() | {
        "DOMAINLM_HOME": str(home), "DOMAINLM_PROJECT": str(ROOT), "DOMAINLM_AUDIT": str(settings),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip


def do(
    variables: dict[str, str], *arguments: str, cwd: Path = ROOT, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", "audit", *arguments], cwd=cwd, env=variables, input=typed,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def note_of(made: SmallLedger, folder: Path) -> Path:
    path = folder / "checkpoint.txt"
    path.write_text(made.ledger.checkpoints()[-1])
    return path


def test_the_project_s_ledger_is_unanchored_then_good_then_broken(
    made: SmallLedger, variables: dict[str, str], tmp_path: Path, home: Path
) -> None:
    done = do(variables, "verify")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout.splitlines()[-2] == f"unanchored: {ORIGIN}: 4 of 4 entries"
    note = note_of(made, tmp_path)
    done = do(variables, "verify", "--anchor", note.name, cwd=tmp_path)  # relative to where the user stands
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[0] == (
        f"good: {ORIGIN}: 4 of 4 entries, borne out by the checkpoint that was published for 4"
    )
    path = home / "runs" / f"{small_run(1).run_id}.json"
    path.write_text(path.read_text().replace("0.51", "0.91"))
    done = do(variables, "verify", "--anchor", str(note), "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1 and found["verdict"] == "broken"
    assert [finding["code"] for finding in found["findings"]] == ["replaced-artifact"]


def test_an_entry_that_is_changed_in_the_database_is_named(
    made: SmallLedger, variables: dict[str, str], tmp_path: Path
) -> None:
    with made.ledger.engine.connect() as connection, connection.begin():
        for (name,) in connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f'DROP TRIGGER "{name}"'))
        raw = connection.execute(sa.text("SELECT entry FROM ledger_entries WHERE number = 2")).scalar()
        changed = raw[:500] + bytes([raw[500] ^ 1]) + raw[501:]
        connection.execute(sa.text("UPDATE ledger_entries SET entry = :entry WHERE number = 2"), {"entry": changed})
    done = do(variables, "verify", "--anchor", str(note_of(made, tmp_path)))
    assert done.returncode == 1 and "broken: edited: entry 2: " in done.stdout, done.stdout + done.stderr
    # the whole ledger is exported as it is, and said to be broken, also where the signer adds nothing to such a one
    done = do(variables, "bundle", "broken.tar", cwd=tmp_path)
    assert done.returncode == 1 and "broken: edited: entry 2: " in done.stderr, done.stdout + done.stderr
    assert "was not entered" in done.stderr and len(list(made.ledger.raw())) == 4
    root = variables["DOMAINLM_ROOT"]
    done = do(variables, "verify", "--bundle", str(tmp_path / "broken.tar"), "--root", root)
    assert done.returncode == 1 and "broken: edited: entry" in done.stdout
    done = do(variables, "bundle", "model.tar", "--model", "domainlm-finance/2", cwd=tmp_path)
    assert done.returncode == 1 and not (tmp_path / "model.tar").exists()


def test_one_model_s_bundle_is_borne_out_by_a_place_that_the_configuration_does_not_name(
    made: SmallLedger, variables: dict[str, str], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    subprocess.run(["git", "init", "-q", str(outside)], check=True, timeout=60)
    done = do(variables, "anchor", "--git", str(outside), "--same-volume")
    assert done.returncode == 0, done.stdout + done.stderr
    made.enter_run(small_run(8))
    done = do(variables, "bundle", "model.tar", "--model", "domainlm-finance/1", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = do(variables, "verify", "--bundle", "model.tar", "--root", variables["DOMAINLM_ROOT"], "--anchor",
              str(outside), cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "borne out by the checkpoint that was published for 4" in done.stdout


def test_a_bundle_is_exported_on_the_record_and_verified(
    made: SmallLedger, variables: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "evidence.tar"
    done = do(variables, "bundle", out.name, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    last = list(made.evidence().stated)[-1]
    assert (last.header.kind, last.act.page) == (entries.READ, "bundle")
    assert f"{last.number + 1} entries of {ORIGIN}" in done.stdout
    root, note = Path(variables["DOMAINLM_ROOT"]), note_of(made, tmp_path)
    done = do(variables, "verify", "--bundle", str(out), "--root", str(root), "--anchor", str(note))
    assert done.returncode == 0, done.stdout + done.stderr
    assert do(variables, "verify", "--bundle", str(out), "--root", str(root)).returncode == 2
    for wrong in (["--bundle", str(out)], ["--bundle", str(out), "--root", str(root), "--artifacts"]):
        done = do(variables, "verify", *wrong)  # not 2, which says that nothing was altered
        assert done.returncode == 1 and "ConfigurationError" in done.stderr
    other = made.folder / "anna.public.pem"
    other.write_text(_public(made, "anna"))
    done = do(variables, "verify", "--bundle", str(out), "--root", str(other), "--anchor", str(note))
    assert done.returncode == 1 and "untrusted-root" in done.stdout


def _public(made: SmallLedger, who: str) -> str:
    from domainlm.ledger.trust.signing import public_pem

    return public_pem(made.keys[who].public_key)


def test_one_model_encrypted_for_a_recipient_or_by_a_passphrase(
    made: SmallLedger, variables: dict[str, str], tmp_path: Path
) -> None:
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(str(identity))
    (tmp_path / "key.txt").chmod(0o600)
    (tmp_path / "report.html").write_text("<p>good</p>")
    root = variables["DOMAINLM_ROOT"]
    sealed = do(variables, "bundle", "model.age", "--model", "domainlm-finance/1", "--encrypt-to",
                str(identity.to_public()), "--artifact", "report.html", cwd=tmp_path)  # fmt: skip
    assert sealed.returncode == 0, sealed.stdout + sealed.stderr
    shown = do(variables, "verify", "--bundle", "model.age", "--identity", "key.txt", "--root", root, "--anchor",
               str(note_of(made, tmp_path)), cwd=tmp_path)  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "2 of 5 entries, those that concern the model" in shown.stdout and "1 artifacts" in shown.stdout
    closed = do(variables, "verify", "--bundle", "model.age", "--root", root, cwd=tmp_path)
    assert closed.returncode == 1 and "--identity" in closed.stderr
    phrase = "correct horse battery\n"
    by_phrase = do(variables, "bundle", "ledger.age", "--passphrase", cwd=tmp_path, typed=phrase * 2)
    assert by_phrase.returncode == 0 and phrase.strip() not in by_phrase.stdout + by_phrase.stderr
    opened = do(
        variables, "verify", "--bundle", "ledger.age", "--passphrase", "--root", root, cwd=tmp_path, typed=phrase
    )
    assert opened.returncode == 2, opened.stdout + opened.stderr
    unknown = do(variables, "bundle", "x.tar", "--model", "domainlm-finance/77", cwd=tmp_path)
    assert unknown.returncode == 1 and not (tmp_path / "x.tar").exists()


def test_what_a_hostile_bundle_says_cannot_steer_the_terminal(
    made: SmallLedger, variables: dict[str, str], tmp_path: Path
) -> None:
    place = Published("\x1b[2J\x1b[Hgood: bank/models\r\n", made.ledger.checkpoints()[-1])
    export(tmp_path / "x.tar", made.ledger.raw(), made.ledger.checkpoints(), [place], ORIGIN)
    done = do(variables, "verify", "--bundle", "x.tar", "--root", variables["DOMAINLM_ROOT"], cwd=tmp_path)
    assert "\x1b" not in done.stdout and "\\x1b[2J" in done.stdout
    assert not any(line.startswith("good") for line in done.stdout.splitlines())


def verifier_site(folder: Path) -> Path:
    """A site with the packages of the verifier's requirements, and domainlm as `pip install --no-deps` has it."""
    site = folder / "site"
    site.mkdir()
    for name in pins():
        found = distribution(name)
        for top in {file.parts[0] for file in found.files if file.parts[0] not in ("..", "__pycache__")}:
            (site / top).symlink_to(found.locate_file(top))
    for package in ("cli", "domainlm", "materializers", "pipelines", "steps"):
        (site / package).symlink_to(ROOT / package)
    return site


def pins() -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines())
    return dict(line.split("==") for line in lines if line)


WITHOUT_NETWORK = """
import socket, sys
def closed(*_, **__):
    raise OSError("there is no network here")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = closed
sys.path.insert(0, {site!r})
sys.argv = ["domainlm", "audit", "verify", *{arguments!r}]
from cli.main import main
main()
"""


def test_a_third_party_verifies_with_a_few_small_packages_and_nothing_else(made: SmallLedger, tmp_path: Path) -> None:
    site = verifier_site(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    for name, note in (("good.tar", None), ("model.tar", small_run(1).model.identity)):
        export(tmp_path / name, made.ledger.raw(), made.ledger.checkpoints(), [], ORIGIN, model=note or "",
               numbers={0, 2} if note else None)  # fmt: skip
    identity = pyrage.x25519.Identity.generate()
    (tmp_path / "key.txt").write_text(str(identity))
    (tmp_path / "key.txt").chmod(0o600)
    export(tmp_path / "good.age", made.ledger.raw(), made.ledger.checkpoints(), [], ORIGIN,
           recipients=[str(identity.to_public())])  # fmt: skip
    raws = [raw for _, raw in made.ledger.raw()]
    swapped = [raws[0], raws[2], raws[1], raws[3]]
    export(tmp_path / "bad.tar", enumerate(swapped), made.ledger.checkpoints(), [], ORIGIN)
    (tmp_path / "root.pem").write_text(_public(made, "root"))
    note = note_of(made, tmp_path)

    def third_party(*arguments: str) -> subprocess.CompletedProcess[str]:
        code = WITHOUT_NETWORK.format(site=str(site), arguments=arguments)
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", code], cwd=empty, env={"HOME": str(empty), "PATH": os.environ["PATH"]},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    common = ["--root", str(tmp_path / "root.pem"), "--anchor", str(note)]
    for name, code, verdict in (("good.tar", 0, "good"), ("model.tar", 0, "good"), ("bad.tar", 1, "broken")):
        done = third_party("--bundle", str(tmp_path / name), *common)
        assert done.returncode == code, done.stdout + done.stderr
        assert f"{verdict}: {ORIGIN}: " in done.stdout
    assert "broken: reordered: entry 1: " in done.stdout
    done = third_party("--bundle", str(tmp_path / "good.age"), "--identity", str(tmp_path / "key.txt"), *common)
    assert done.returncode == 0, done.stdout + done.stderr
    assert third_party("--bundle", str(tmp_path / "good.tar"), *common[:2]).returncode == 2
    assert list(empty.iterdir()) == []


def test_the_verifier_s_requirements_are_the_lock_s() -> None:
    lock = dict(re.findall(r"(?m)^([a-z0-9._-]+)==(\S+)", (ROOT / "constraints.txt").read_text()))
    assert pins() and all(lock[name] == version for name, version in pins().items())
    assert {"zenml", "torch", "mlflow", "sqlalchemy", "numpy"}.isdisjoint(pins())


def test_the_page_explains_every_code() -> None:
    told = set(re.findall(r"`([a-z-]+)`", DOCS.read_text().partition("## Findings")[2].partition("## Bundles")[0]))
    assert set(CODES) - AT_THE_SIGNER <= told
    assert told & set(CODES) == set(CODES) - AT_THE_SIGNER


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_recipe_with_openssl_and_the_standard_library_works_and_sees_a_change(
    made: SmallLedger, tmp_path: Path
) -> None:
    recipe = re.search(r"```bash\n(tar -xf evidence\.tar\n.*?)```", DOCS.read_text(), re.DOTALL)
    assert recipe is not None
    raws = [raw for _, raw in made.ledger.raw()]

    def follow(name: str, raws: list[bytes]) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / name
        folder.mkdir()
        export(folder / "evidence.tar", enumerate(raws), made.ledger.checkpoints(), [], ORIGIN)
        (folder / "root.pem").write_text(_public(made, "root"))
        # the standard library alone: python3 of the system or this one, without any package
        (folder / "python3").symlink_to(sys.executable)
        return subprocess.run(
            ["bash", "-e", "-c", recipe[1]], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
            env={"PATH": f"{folder}:{os.environ['PATH']}", "PYTHONNOUSERSITE": "1"},
        )  # fmt: skip

    done = follow("good", raws)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Signature Verified Successfully") == 3
    assert "the tree over 4 entries" in done.stdout
    envelope = json.loads(raws[1])
    envelope["payload"] = (
        envelope["payload"][:40] + ("A" if envelope["payload"][40] != "A" else "B") + envelope["payload"][41:]
    )
    changed = json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode()
    assert "the tree is another" in follow("changed", [raws[0], changed, *raws[2:]]).stderr
    assert follow("short", raws[:3]).returncode != 0
