"""The drift of a language: files by year, what counts as said before, and gains that are what was planted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from domainlm.errors import SourceError
from domainlm.retrain.simulation import plots
from domainlm.retrain.simulation.language import Passage, Reader, dated_files, glossary_terms, language_of

ROOT = Path(__file__).parents[4]
STATEMENTS = Path("fomc_statements") / "statement_text"


def test_files_are_sorted_into_the_years_of_their_names(tmp_path: Path) -> None:
    for name in ("20050105.txt", "20050302.txt", "minutes-2004-12-31.txt", "20061301.txt", "note.txt", "20070101.md",
                 "20080101.txt"):  # fmt: skip
        (tmp_path / name).touch()
    assert dated_files(tmp_path) == {
        2004: ("minutes-2004-12-31.txt",),
        2005: ("20050105.txt", "20050302.txt"),
        2008: ("20080101.txt",),
    }


def test_texts_of_fewer_than_three_years_are_refused(tmp_path: Path) -> None:
    (tmp_path / "20050105.txt").touch()
    with pytest.raises(SourceError, match="dated texts of 1 years"):
        dated_files(tmp_path)


def told(year: int) -> list[Passage]:
    """Two texts a year: a sentence that never changes but for its figure, and one of the year's own."""
    own = {2001: "tariff", 2002: "pandemic", 2003: "guidance", 2004: "asset"}[year]
    return [Passage(f"The rate is {year % 7} percent.", f"{year}-1"), Passage(f"Here {own} counts.", f"{year}-2")]


PASSAGES = {year: told(year) for year in (2001, 2002, 2003, 2004)}


class Counting:
    """Four bits a character; one less for each year that was read."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, years: Sequence[int]) -> Reader:
        self.asked.append(tuple(years))
        rate = 4.0 - len(years)
        return lambda passages: [rate * len(one.text) for one in passages]


def test_a_year_is_scored_by_models_that_read_nothing_of_it() -> None:
    teach = Counting()
    found = language_of(PASSAGES, teach, 2001, ["tariff"])
    assert teach.asked == [(), (2001,), (2001,), (2001, 2002), (2001, 2002, 2003)]
    assert [year.base.value for year in found.years] == [4.0] * 4
    assert [year.frozen.value if year.frozen else None for year in found.years] == [None, 3.0, 3.0, 3.0]
    assert [year.retrained.value if year.retrained else None for year in found.years] == [None, 3.0, 2.0, 1.0]


def test_the_gain_is_weighed_by_characters() -> None:
    found = language_of(PASSAGES, Counting(), 2001, ["tariff"])
    lengths = [sum(len(one.text) for one in PASSAGES[year]) for year in (2002, 2003, 2004)]
    assert found.gain.value == pytest.approx((lengths[1] + 2 * lengths[2]) / sum(lengths))
    assert found.last_gain.value == found.gain.value  # fewer than five years: all of them


def test_what_stood_in_an_earlier_year_but_for_its_figures_is_no_new_text() -> None:
    found = language_of(PASSAGES, Counting(), 2001, ["tariff"])
    same, own = (sum(len(PASSAGES[year][place].text) for year in (2002, 2003, 2004)) for place in (0, 1))
    assert found.repeated == pytest.approx(same / (same + own), abs=1e-4)


def test_terms_are_shares_of_texts_and_those_that_move_are_shown() -> None:
    found = language_of(PASSAGES, Counting(), 2001, ["tariff", "asset", "rate", "swaption"])
    assert found.terms == ("tariff", "asset")  # fading first; one that never moves is not shown
    assert found.years[0].terms == {"tariff": 0.5, "rate": 0.5}
    assert found.years[3].terms == {"asset": 0.5, "rate": 0.5}


def test_new_words_are_those_that_no_year_before_had() -> None:
    years = language_of(PASSAGES, Counting(), 2001, ["tariff"]).years
    assert years[0].new_words == 1.0
    assert years[1].new_words == pytest.approx(1 / 7, abs=1e-4)


@pytest.mark.parametrize("early", [2000, 2004])
def test_there_must_be_years_on_both_sides(early: int) -> None:
    with pytest.raises(SourceError, match="both sides"):
        language_of(PASSAGES, Counting(), early, ["tariff"])


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    plots.draw_language(language_of(PASSAGES, Counting(), 2001, ["tariff", "asset"]), tmp_path / "language.png")
    assert (tmp_path / "language.png").read_bytes().startswith(b"\x89PNG")


def test_the_packs_glossary_has_terms() -> None:
    assert "Index" in glossary_terms(ROOT / "domains" / "finance" / "glossary.csv")


def test_real_statements_move(pytestconfig: pytest.Config) -> None:
    """The statements of the Federal Open Market Committee: other terms after the crisis than before it."""
    if not (shared := pytestconfig.getoption("--shared-data")) or not (Path(shared) / STATEMENTS).is_dir():
        pytest.skip("fomc_statements is not there: name its folder's parent by --shared-data")
    folder = Path(shared) / STATEMENTS
    passages = {
        year: [Passage((folder / name).read_text(encoding="utf-8"), name) for name in names]
        for year, names in dated_files(folder).items()
    }
    found = language_of(passages, Counting(), 2006, glossary_terms(ROOT / "domains" / "finance" / "glossary.csv"))
    assert len(found.years) >= 25
    assert found.terms
    assert all(year.texts == len(passages[year.year]) for year in found.years)
