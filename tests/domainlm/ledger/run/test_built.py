"""An image has no .git: what its build wrote down answers as git did, and sees what was changed since."""

from __future__ import annotations

import json
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_checkouts import ANNA, OLGA, TINA, VICTOR, commit, git

from domainlm.errors import ArtifactError
from domainlm.ledger.run import built
from domainlm.ledger.run.authorship import FIRST_COMMITS, NOBODY_KNOWS, Origin, authors_of
from domainlm.ledger.run.checkout import ROOMS, code_state, committed_digests, file_digests, not_as_committed
from domainlm.ledger.run.history import InCheckout, InImage, history_of
from domainlm.ledger.run.manifest import Authors
from domainlm.ledger.trust.gate import identity

SHIPPED = ("steps", "domainlm", "zenml_config.yaml", "pack", "data", "constraints.txt")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """tina wrote the code, olga the configuration, victor the data, and anna a branch that was merged."""
    made = tmp_path / "checkout"
    made.mkdir()
    git(made, "init", "-q", "-b", "main")
    commit(made, "steps/train.py", TINA)
    commit(made, "constraints.txt", TINA)
    commit(made, "zenml_config.yaml", OLGA)
    commit(made, "pack/contract.json", OLGA)
    commit(made, "data/glossary und mehr.csv", VICTOR)
    commit(made, "docs/page.md", VICTOR)
    git(made, "checkout", "-q", "-b", "branch")
    commit(made, "domainlm/redact/names.py", ANNA, f"names\n\nCo-authored-by: Olga <{OLGA}>")
    git(made, "checkout", "-q", "main")
    commit(made, "steps/train.py", TINA)
    git(made, "merge", "-q", "--no-ff", "-m", "merge", "branch", author=VICTOR)
    return made


def image_of(root: Path, folder: Path) -> Path:
    """The files that a build takes, without .git, and what it writes beside them."""
    known = [name for name in git(root, "ls-files", "-z", "--", *SHIPPED).split("\0") if (root / name).is_file()]
    for name in known:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / name)
    built.write(root, known, folder)
    return folder


def of(root: Path, champion: str | None = None, **given: object) -> Authors:
    sources = [Origin("", ["data/glossary und mehr.csv"])]
    return authors_of(root, root, ["zenml_config.yaml", "pack"], sources, champion, ["service"], **given)  # type: ignore[arg-type]


def test_an_image_knows_the_state_and_the_authors_that_its_checkout_had(root: Path, tmp_path: Path) -> None:
    image = image_of(root, tmp_path / "app")
    assert isinstance(history_of(root), InCheckout) and isinstance(history_of(image), InImage)
    assert code_state(image) == code_state(root) and code_state(root)["dirty"] is False
    commits = git(root, "log", "--format=%H").splitlines()
    assert of(image) == of(root)
    for champion in commits:
        assert of(image, champion) == of(root, champion)
        assert of(image, commit=champion) == of(root, commit=champion)
    assert of(image).data == [identity(VICTOR)] and identity(ANNA) in of(image).code


@pytest.mark.parametrize("champion", ["", "0" * 40, "HEAD~1", "--all"])
def test_a_champion_or_commit_that_is_no_commit_leaves_an_unknown_author(
    root: Path, tmp_path: Path, champion: str
) -> None:
    image = image_of(root, tmp_path / "app")
    assert NOBODY_KNOWS in of(image, champion).code and of(image, champion) == of(root, champion)
    assert of(image, commit=champion).code == [NOBODY_KNOWS] or champion == "HEAD~1"


def test_a_commit_that_is_no_ancestor_is_no_champion(root: Path, tmp_path: Path) -> None:
    git(root, "checkout", "-q", "-b", "other", "HEAD~1")
    elsewhere = commit(root, "steps/train.py", ANNA)
    git(root, "checkout", "-q", "main")
    assert NOBODY_KNOWS in of(image_of(root, tmp_path / "app"), elsewhere).code


def test_work_that_a_merge_threw_away_is_nobodys(root: Path, tmp_path: Path) -> None:
    git(root, "checkout", "-q", "-b", "other", "HEAD~1")
    commit(root, "pack/contract.json", ANNA)
    git(root, "checkout", "-q", "main")
    git(root, "merge", "-q", "-s", "ours", "-m", "not theirs", "other", author=VICTOR)
    found = of(image_of(root, tmp_path / "app"))
    assert found == of(root) and found.configuration == [identity(OLGA)]


def test_only_the_newest_commits_to_the_code_count_before_there_is_a_champion(root: Path, tmp_path: Path) -> None:
    for number in range(FIRST_COMMITS):
        (root / "steps/train.py").write_text(f"{number}\n")
        git(root, "commit", "-q", "-am", "more", author=VICTOR)
    assert of(image_of(root, tmp_path / "app")).code == [identity(VICTOR)] == of(root).code


def swapped_bytecode(source: Path) -> None:
    """Bytecode of other code beside an honest source, of the kind that Python never compares with it (PEP 552)."""
    other = source.with_name("other.py")
    other.write_text("CHANGED = True\n")
    target = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(other), str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    other.unlink()


@pytest.mark.parametrize(
    "tamper",
    [
        lambda app: (app / "steps/train.py").write_text("import os\n"),
        lambda app: (app / "steps/train.py").unlink(),
        lambda app: (app / "domainlm/added.py").write_text("import os\n"),
        lambda app: (app / "constraints.txt").write_text("torch==1\n"),
        lambda app: swapped_bytecode(app / "steps/train.py"),
        lambda app: (app / "steps/train.pyc").write_bytes(b"x"),
    ],
    ids=["changed", "removed", "added", "lock", "bytecode", "bytecode alone"],
)  # fmt: skip
def test_code_that_differs_from_what_was_built_is_dirty_and_its_runner_an_author(
    root: Path, tmp_path: Path, tamper: object
) -> None:
    app = image_of(root, tmp_path / "app")
    tamper(app)  # type: ignore[operator]
    assert code_state(app)["dirty"] is True
    assert identity("service") in of(app).code


def test_the_bill_of_materials_and_the_own_description_are_no_change(root: Path, tmp_path: Path) -> None:
    app = image_of(root, tmp_path / "app")
    (app / "sbom.json").write_text("{}")
    assert code_state(app)["dirty"] is False and identity("service") not in of(app).code


def test_a_configuration_or_data_that_was_mounted_over_counts_for_whoever_runs(root: Path, tmp_path: Path) -> None:
    app = image_of(root, tmp_path / "app")
    (app / "zenml_config.yaml").write_text("steps: {}\n")
    (app / "data/glossary und mehr.csv").write_text("other\n")
    found = of(app)
    assert identity("service") in found.configuration and identity("service") in found.data
    sources = [Origin("", ["s3://bank/rows.csv"])]
    outside = authors_of(app, app, ["/etc/run.yaml"], sources, None, ["service"])
    assert outside.configuration == [identity("service")] and outside.data == [NOBODY_KNOWS]


def test_a_build_from_a_changed_work_tree_is_dirty(root: Path, tmp_path: Path) -> None:
    (root / "steps/train.py").write_text("import os\n")
    app = image_of(root, tmp_path / "app")
    assert code_state(app)["dirty"] is True
    assert identity("service") in of(app).code and of(app) == of(root)


def test_a_build_from_a_shallow_clone_has_an_unknown_author(root: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{root}", str(shallow)], check=True, timeout=60)
    found = of(image_of(shallow, tmp_path / "app"))
    assert NOBODY_KNOWS in found.code and NOBODY_KNOWS in found.data


def test_the_description_holds_no_address_and_is_the_same_twice(root: Path, tmp_path: Path) -> None:
    first = (image_of(root, tmp_path / "a") / built.FILE).read_bytes()
    assert first == (image_of(root, tmp_path / "b") / built.FILE).read_bytes()
    assert b"bank.example" not in first


def test_a_folder_without_git_cannot_be_built_from(tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    with pytest.raises(ArtifactError, match="checkout that git can read"):
        built.write(tmp_path / "bare", [], tmp_path)


def test_a_description_beside_a_git_folder_is_not_believed(root: Path, tmp_path: Path) -> None:
    app = image_of(root, tmp_path / "app")
    shutil.copyfile(app / built.FILE, root / built.FILE)
    assert isinstance(history_of(root), InCheckout)
    assert code_state(root)["dirty"] is True  # the file itself is unknown to git


def test_a_broken_description_is_an_error_that_names_the_file(root: Path, tmp_path: Path) -> None:
    app = image_of(root, tmp_path / "app")
    content = json.loads((app / built.FILE).read_text())
    (app / built.FILE).write_text(json.dumps(content | {"surprise": 1}))
    with pytest.raises(ArtifactError, match="no description of a checkout"):
        code_state(app)
    (app / built.FILE).write_text(json.dumps(content | {"format": "domainlm.checkout/9"}))
    with pytest.raises(ArtifactError, match="checkout/9"):
        code_state(app)


PLACES = [*ROOMS, "pack", "zenml_config.yaml"]


def test_a_commits_files_are_what_a_clean_checkout_of_it_has(root: Path, tmp_path: Path) -> None:
    (root / "pack/binary").write_bytes(bytes(range(256)) + b"\r\n\0")
    (root / "pack/leer").write_bytes(b"")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "bytes")
    head, files = git(root, "rev-parse", "HEAD"), file_digests(root, PLACES)
    assert committed_digests(root, head, PLACES) == files
    assert committed_digests(image_of(root, tmp_path / "app"), head, PLACES) == files
    commit(root, "steps/train.py", OLGA)
    (root / "steps/train.py").write_text("not committed\n")
    assert committed_digests(root, head, PLACES) == files


@pytest.mark.parametrize("name", ["", "0" * 40, "HEAD", "--all", "f" * 64])
def test_a_commit_that_is_unknown_here_says_nothing(root: Path, tmp_path: Path, name: str) -> None:
    for place in (root, image_of(root, tmp_path / "app"), tmp_path):
        assert (
            committed_digests(place, name, PLACES) is None and not_as_committed(place, name, {"steps/x.py": ""}) == []
        )


def test_an_image_of_a_changed_checkout_does_not_speak_for_its_commit(root: Path, tmp_path: Path) -> None:
    (root / "steps/train.py").write_text("changed\n")
    app = image_of(root, tmp_path / "app")
    assert committed_digests(app, git(root, "rev-parse", "HEAD"), PLACES) is None


def test_what_a_forged_description_hides_the_commit_shows(root: Path, tmp_path: Path) -> None:
    app = image_of(root, tmp_path / "app")
    head = git(root, "rev-parse", "HEAD")
    assert not_as_committed(root, head, file_digests(app, PLACES)) == []
    for name in ("steps/train.py", "domainlm/added.py", "zenml_config.yaml", "pack/own.json"):
        (app / name).write_text("forged\n")
    (app / "domainlm/redact/names.py").unlink()
    described = json.loads((app / built.FILE).read_text())
    described["files"] = file_digests(app, described["files"] | {"domainlm/added.py": "", "pack/own.json": ""})
    described["files"].pop("domainlm/redact/names.py", None)
    (app / built.FILE).write_text(json.dumps(described))
    assert code_state(app)["dirty"] is False, "the image alone believes it"
    found = not_as_committed(root, head, file_digests(app, PLACES))
    # a run may have a configuration of its own, which the commit does not have
    assert found == ["domainlm/added.py", "domainlm/redact/names.py", "steps/train.py", "zenml_config.yaml"]
