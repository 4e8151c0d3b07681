"""A secret's file is ours alone, or root's in a mounted volume; no third user's."""

from __future__ import annotations

import os
import stat

import pytest

from domainlm.private_files import others_can_read

OWN, ROOT, THIRD = 10001, 0, 20002


@pytest.mark.parametrize(
    ("owner", "mode", "private"),
    [
        (OWN, 0o600, True), (OWN, 0o400, True), (OWN, 0o440, False), (OWN, 0o604, False),
        (ROOT, 0o440, True), (ROOT, 0o400, True), (ROOT, 0o640, True), (ROOT, 0o460, False), (ROOT, 0o444, False),
        (ROOT, 0o441, False), (ROOT, 0o442, False), (ROOT, 0o450, False),
        (THIRD, 0o440, False), (THIRD, 0o400, False), (THIRD, 0o640, False), (THIRD, 0o600, False),
    ],
)  # fmt: skip
def test_who_can_read_it(monkeypatch: pytest.MonkeyPatch, owner: int, mode: int, private: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OWN)
    assert others_can_read(os.stat_result((stat.S_IFREG | mode, 0, 0, 1, owner, 10001, 0, 0, 0, 0))) != private


def test_roots_own_file_is_no_mounted_one_to_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: ROOT)
    assert others_can_read(os.stat_result((stat.S_IFREG | 0o440, 0, 0, 1, ROOT, 0, 0, 0, 0, 0)))
