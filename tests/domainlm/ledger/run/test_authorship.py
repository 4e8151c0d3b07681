"""Who wrote code, configuration and data: whom four eyes are counted against, and that doubt closes the gate."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from small_checkouts import ANNA, OLGA, TINA, VICTOR, commit, git

from domainlm.ledger.run.authorship import FIRST_COMMITS, NOBODY_KNOWS, Origin, authors_of, whoever_runs
from domainlm.ledger.run.checkout import code_state
from domainlm.ledger.run.manifest import Authors
from domainlm.ledger.trust.gate import identity


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """tina wrote the code, olga the configuration, victor the data."""
    made = tmp_path / "checkout"
    made.mkdir()
    git(made, "init", "-q")
    commit(made, "steps/train.py", TINA)
    commit(made, "zenml_config.yaml", OLGA)
    commit(made, "pack/contract.json", OLGA)
    commit(made, "data/glossary.csv", VICTOR)
    return made


def of(root: Path, champion: str | None = None, runner: tuple[str, ...] = ("service",), **given: object) -> Authors:
    sources = given.pop("sources", [Origin("", ["data/glossary.csv"])])
    return authors_of(root, root, ["zenml_config.yaml", "pack"], sources, champion, runner, **given)  # type: ignore[arg-type]


def ids(*people: str) -> list[str]:
    return sorted(identity(person) if person else "" for person in people)


def test_authors_count_also_when_a_service_account_ran_the_training(root: Path) -> None:
    found = of(root)
    assert found.code == ids(TINA) and found.configuration == ids(OLGA) and found.data == ids(VICTOR)
    assert found.trained_by == identity("service")


def test_only_code_since_the_champion_counts(root: Path) -> None:
    champion = git(root, "rev-parse", "HEAD")
    assert of(root, champion).code == []
    commit(root, "domainlm/new.py", ANNA)
    commit(root, "docs/page.md", VICTOR)  # no code
    assert of(root, champion).code == ids(ANNA)


def test_a_co_author_is_an_author(root: Path) -> None:
    champion = git(root, "rev-parse", "HEAD")
    commit(root, "steps/train.py", TINA, f"change\n\nCo-authored-by: Anna <{ANNA}>\nco-authored-by: V <{VICTOR}>")
    assert of(root, champion).code == ids(TINA, ANNA, VICTOR)


def test_a_co_author_without_an_address_is_one_whom_nobody_knows(root: Path) -> None:
    commit(root, "steps/train.py", TINA, "change\n\nCo-authored-by: my colleague")
    assert of(root).code == ids(NOBODY_KNOWS, TINA)


@pytest.mark.parametrize("champion", ["", "0" * 40, "HEAD~999"])
def test_a_champion_whose_code_is_not_in_the_history_leaves_an_unknown_author(root: Path, champion: str) -> None:
    assert of(root, champion).code == ids(NOBODY_KNOWS, TINA)


def test_a_champion_of_another_branch_leaves_an_unknown_author(root: Path) -> None:
    git(root, "checkout", "-q", "-b", "other")
    elsewhere = commit(root, "steps/train.py", ANNA)
    git(root, "checkout", "-q", "-")
    assert NOBODY_KNOWS in of(root, elsewhere).code


def test_before_the_first_champion_the_last_hundred_commits_count(root: Path) -> None:
    git(root, "reset", "-q", "--hard")
    for _ in range(FIRST_COMMITS):
        git(root, "commit", "-q", "--allow-empty", "-m", "not to the code", author=VICTOR)
    assert of(root).code == ids(TINA)


def test_code_that_was_checked_out_while_the_run_was_at_work_does_not_count(root: Path) -> None:
    ran = git(root, "rev-parse", "HEAD")
    commit(root, "steps/train.py", ANNA)
    assert of(root, commit=ran).code == ids(TINA)
    assert of(root, commit="").code == ids(NOBODY_KNOWS)
    assert of(root, commit="--all").code == ids(NOBODY_KNOWS)


def test_a_shallow_clone_leaves_an_unknown_author(root: Path, tmp_path: Path) -> None:
    commit(root, "steps/train.py", ANNA)
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{root}", str(tmp_path / "shallow")], check=True)
    found = of(tmp_path / "shallow")
    assert NOBODY_KNOWS in found.code and NOBODY_KNOWS in found.data


def test_code_without_git_has_an_unknown_author(root: Path, tmp_path: Path) -> None:
    bare = tmp_path / "installed"
    bare.mkdir()
    found = authors_of(bare, root, ["zenml_config.yaml"], [Origin(ANNA, [])], None, ["service"])
    assert NOBODY_KNOWS in found.code and found.data == ids(ANNA)


def test_whoever_runs_uncommitted_code_is_its_author(root: Path) -> None:
    (root / "steps" / "new.py").write_text("x\n")
    assert of(root, git(root, "rev-parse", "HEAD"), runner=("tina",)).code == ids("tina")


def test_whoever_runs_a_changed_or_unknown_configuration_is_its_author(root: Path) -> None:
    assert of(root, runner=("tina", TINA)).configuration == ids(OLGA, TINA)
    assert of(root, runner=("tina",), overridden=True).configuration == ids(OLGA, "tina")
    (root / "pack" / "contract.json").write_text("weaker\n")
    assert of(root, runner=("tina",)).configuration == ids(OLGA, "tina")
    found = authors_of(root, root, ["/elsewhere/run.yaml"], [], None, ["tina"])
    assert found.configuration == ids("tina")


def test_a_stated_steward_answers_for_the_data(root: Path) -> None:
    assert of(root, sources=[Origin(ANNA, ["data/glossary.csv"])]).data == ids(ANNA)


@pytest.mark.parametrize("file", ["s3://bucket/rows.csv", "/mnt/rows.csv", "data/new.csv"])
def test_data_that_git_does_not_know_have_an_unknown_author(root: Path, file: str) -> None:
    (root / "data" / "new.csv").write_text("x\n")
    found = of(root, sources=[Origin("", [file]), Origin("", ["data/glossary.csv"])])
    assert found.data == ids(NOBODY_KNOWS, VICTOR)
    assert NOBODY_KNOWS in of(root, sources=[Origin("", [])]).data


def test_changed_data_are_also_the_runners(root: Path) -> None:
    (root / "data" / "glossary.csv").write_text("changed\n")
    assert of(root, runner=("tina",)).data == ids(VICTOR, "tina")


def test_a_file_with_a_name_beyond_ascii_is_found(root: Path) -> None:
    commit(root, "data/용어집.csv", ANNA)
    assert of(root, sources=[Origin("", ["data/용어집.csv"])]).data == ids(ANNA)


def test_replaced_objects_do_not_hide_an_author(root: Path) -> None:
    champion = git(root, "rev-parse", "HEAD")
    guilty = commit(root, "steps/train.py", ANNA)
    innocent = git(root, "commit-tree", f"{guilty}^{{tree}}", "-p", champion, "-m", "change", author=TINA)
    git(root, "replace", guilty, innocent)
    assert git(root, "log", "-1", "--format=%ae") == TINA, "the replacement works for everybody else"
    assert of(root, champion).code == ids(ANNA)


def test_gits_variables_show_no_other_history(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    commit(other, "steps/train.py", ANNA)
    mine = tmp_path / "gitconfig"
    mine.write_text(f"[user]\n\temail = {VICTOR}\n")
    git(root, "config", "user.email", TINA)
    state, found = code_state(root), of(root)
    for name, value in {
        "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_CONFIG_GLOBAL": str(mine), "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "user.email",
        "GIT_CONFIG_VALUE_0": VICTOR,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert code_state(root) == state and of(root) == found
    assert whoever_runs(root)[1] == TINA


def test_whoever_runs_is_the_system_user_and_the_address_that_git_was_told(root: Path) -> None:
    git(root, "config", "user.email", TINA)
    found = whoever_runs(root)
    assert found[0] and found[1] == TINA
