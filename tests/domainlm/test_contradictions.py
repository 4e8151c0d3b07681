"""Rows that contradict each other, in one file and between files that are read one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from domainlm.contradictions import Contradictions
from domainlm.errors import SourceError
from domainlm.sources import RowStream, SourceSettings

TERMS = {
    "name": "qa", "form": "pairs", "task": "definition", "licence": "CC0-1.0", "consent": "public",
    "purpose": "model-training", "jurisdiction": "us", "language": "en",
}  # fmt: skip


def check(folder: Path, *files: str, allow: bool = False) -> None:
    contradictions = None
    for number, content in enumerate(files):
        path = folder / f"{number}.csv"
        path.write_text(content, encoding="utf-8")
        source = SourceSettings(uri=str(path), columns={"id": "id"}, **TERMS)
        contradictions = contradictions or Contradictions(source, allow)
        for row in RowStream(source):
            contradictions.check(row)


def test_two_files_with_other_ids_and_equal_answers_agree(tmp_path: Path) -> None:
    check(
        tmp_path,
        "id,instruction,response\n1,What is a bond?,A loan\n",
        "id,instruction,response\n2,what is a BOND,a loan\n",
    )


def test_an_id_of_another_file_is_found_though_the_row_has_the_same_number(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"1\.csv, row 1 \(line 2\): has the same id as row 1 of .*0\.csv"):
        check(tmp_path, "id,instruction,response\n1,What is a bond?,x\n", "id,instruction,response\n1,What is FX?,y\n")


def test_another_answer_in_another_file_is_found_unless_it_is_allowed(tmp_path: Path) -> None:
    files = ("id,instruction,response\n1,What is FX?,x\n", "id,instruction,response\n2,What is FX?,Kim Minsu\n")
    with pytest.raises(SourceError, match="another answer than row 1") as raised:
        check(tmp_path, *files)
    assert "Kim" not in str(raised.value)
    check(tmp_path, *files, allow=True)
