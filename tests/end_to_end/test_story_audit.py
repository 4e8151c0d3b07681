"""The story of docs/audit.md, run line by line: what the page says is what the commands do."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from small_project import ROOT, Project, make_project

PAGE = ROOT / "docs" / "audit.md"
# Several commands of a block read their passphrase from one file; each reads 8,192 bytes ahead, so a line has 32 bytes.
PASSPHRASE = "a long passphrase, said each time"[:31]
EXIT = re.compile(r"exit code (\d+)")


def blocks() -> list[tuple[str, list[str], int]]:
    """(commands, expected lines, exit code) of the story's blocks; output belongs to the commands before it."""
    story = PAGE.read_text(encoding="utf-8").partition("## A story")[2].partition("\n## ")[0]
    found: list[tuple[str, list[str], int]] = []
    for kind, text in re.findall(r"```(sh|text)\n(.*?)```", story, re.DOTALL):
        if kind == "sh":
            found.append((text, [], 0))
        else:
            commands, _, _ = found[-1]
            lines = text.splitlines()
            codes = [int(match[1]) for line in lines if (match := EXIT.fullmatch(line))]
            found[-1] = (commands, [line for line in lines if not EXIT.fullmatch(line)], codes[0] if codes else 0)
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make_project(tmp_path_factory.mktemp("told"))
    made.domainlm("setup")
    (made.root / "answers").write_text((PASSPHRASE + "\n") * 4096)
    return made


def test_the_story_of_the_page_is_true(told: Project) -> None:
    story = blocks()
    assert len(story) >= 10
    for commands, lines, code in story:
        with open(told.root / "answers") as answers:
            done = subprocess.run(
                ["bash", "-e", "-c", commands], cwd=told.root, env=told.environment | {"COLUMNS": "150"}, text=True,
                stdin=answers, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
            )  # fmt: skip
        assert done.returncode == code, f"{commands}\n{done.stdout}"
        expected = ".*?".join("^" + re.escape(line).replace("…", "[^\n]*?") + "[ ]*$" for line in lines if line != "…")
        assert re.search(expected, done.stdout, re.DOTALL | re.MULTILINE), f"{commands}\n{lines}\n{done.stdout}"


def test_no_passphrase_of_the_story_is_left_anywhere(told: Project) -> None:
    for path in Path(told.state).rglob("*"):
        if path.is_file():
            assert PASSPHRASE.encode() not in path.read_bytes(), path
