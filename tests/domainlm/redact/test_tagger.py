"""The tagger: that it learns, finds names that stand in no list, and never runs on weights that are not its own."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from domainlm.errors import ModelError
from domainlm.redact.engine import Scanner
from domainlm.redact.recognizers.tagged_names import TaggedNameRecognizer, tagger_digest
from domainlm.redact.settings import RedactSettings
from domainlm.redact.tagger import carriers, model, train
from domainlm.redact.tagger.features import NAME, PLACE, chunks
from domainlm.redact.tagger.tokens import tokenize

PACK = Path(__file__).parents[3] / "domains" / "finance"


@pytest.fixture(scope="module")
def tagger():
    return model.load(PACK / "tagger")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A tagger trained on a tenth of the text, and where it lies."""
    folder = tmp_path_factory.mktemp("tagger")
    return folder, train.write(PACK, folder, seed=5, scale=0.1)


def found(scanner, text, language="en"):
    return [(one.entity, one.value) for one in scanner.find(text, language)[1]]


def test_a_small_training_learns_names_that_no_list_has(small):
    _, card = small
    for language in ("en", "ko"):
        scores = card["held_out"][language]["PERSON"]
        assert scores["spans"] > 20
        assert scores["f2"] > 0.6, (language, scores)


def test_what_was_trained_is_what_is_loaded(small):
    folder, card = small
    tagger = model.load(folder)
    assert tagger.digest == card["weights_sha256"]
    arrays, texts = train.fit(PACK, card["seed"], card["scale"])
    assert train.digest_of(texts) == card["training_set_sha256"]
    again = model.unpack(arrays, card["low"], "")
    some = random.Random(3).sample(texts, 150)
    assert [again.tag(text.text) for text in some] == [tagger.tag(text.text) for text in some]
    assert sum(bool(again.tag(text.text)) for text in some) > 40


def test_check_tells_the_same_weights_from_others(small, capsys):
    folder, card = small
    assert train.main(["--check", "--out", str(folder)]) == 0
    assert "equal weights" in capsys.readouterr().out
    path = folder / model.CARD
    written = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(card | {"seed": 6}), encoding="utf-8")
    try:
        assert train.main(["--check", "--out", str(folder)]) == 1
    finally:
        path.write_text(written, encoding="utf-8")


def test_the_committed_weights_are_small_and_told_by_their_card():
    card = model.read_card(PACK / "tagger")
    assert (PACK / "tagger" / model.WEIGHTS).stat().st_size == card["weights_bytes"] < 2_000_000
    assert tagger_digest(RedactSettings()) == card["weights_sha256"]
    assert tagger_digest(RedactSettings(name_engine="none")) == ""
    names = carriers.Names(PACK)
    texts = carriers.training_texts(names, carriers.read_carriers(PACK), card["seed"], card["scale"])
    assert len(texts) < card["training_texts"]
    arrays = names.lists()
    assert model.load(PACK / "tagger").lists == replace(arrays), "the lists have changed since: train again"


@pytest.mark.parametrize("damage", ["weights", "card", "no weights", "no card", "features"])
def test_missing_or_changed_files_are_an_error_before_any_text_is_read(tmp_path, damage):
    for name in (model.WEIGHTS, model.CARD):
        (tmp_path / name).write_bytes((PACK / "tagger" / name).read_bytes())
    weights, card = tmp_path / model.WEIGHTS, tmp_path / model.CARD
    if damage == "weights":
        data = bytearray(weights.read_bytes())
        data[-100] ^= 1
        weights.write_bytes(data)
    elif damage == "card":
        card.write_text("[]", encoding="utf-8")
    elif damage == "features":
        card.write_text(json.dumps(json.loads(card.read_text()) | {"features_version": 0}), encoding="utf-8")
    else:
        (weights if damage == "no weights" else card).unlink()
    with pytest.raises(ModelError) as failure:
        Scanner(RedactSettings(tagger=str(tmp_path)))
    assert failure.value.remedy


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Could Gretel Oyelaran sign the form tomorrow?", ("PERSON", "Gretel Oyelaran")),
        ("I met Brunhild Szathmáry at the counter yesterday.", ("PERSON", "Brunhild Szathmáry")),
        ("we moved to 14 Thistledown Lane, Exeter EX4 6TL", ("LOCATION", "14 Thistledown Lane, Exeter EX4 6TL")),
        ("Please send my new card to Kwiatowa 12, 30-117 Kraków.", ("LOCATION", "Kwiatowa 12, 30-117 Kraków")),
        ("I live in Utrecht with my family.", ("LOCATION", "Utrecht")),
        ("어제 위준기가 지점에서 통장을 만들었어요.", ("PERSON", "위준기")),
        ("저는 안양에 살고 있어요.", ("LOCATION", "안양")),
    ],
)  # fmt: skip
def test_names_and_places_are_found_without_an_announcement(scanner, text, wanted):
    assert wanted in found(scanner, text)
    if wanted[0] == "PERSON":
        assert wanted not in found(Scanner(RedactSettings(name_engine="none")), text)


@pytest.mark.parametrize(
    "text",
    [
        "Revenue in the United States, Germany and Japan rose 4% in fiscal 2019.",
        "The Group operates plants in Germany, Ghana, India, Ireland and Italy.",
        "Deferred Revenue | 1,234 | 5,678 | Accrued Liabilities | 910",
        "Shares of Norvia Steel fell 3.2% as the Federal Reserve raised rates.",
        "The Black-Scholes Model and the Sharpe Ratio are explained in Section 4.",
        "What are the fees of the Premier Savings Account on Monday?",
        "코스피가 2% 상승한 2,300.45에 마감했다. 정부는 세제를 발표했다.",
        "정기예금 금리가 인상되었나요? 이자율과 수수료를 알려 주세요.",
    ],
)
def test_firms_products_markets_and_courtesies_stay(scanner, text):
    assert [one for one in found(scanner, text) if one[0] in ("PERSON", "LOCATION")] == []


def test_a_higher_least_score_asks_for_surer_names(scanner):
    texts = [
        text.text
        for text in carriers.training_texts(carriers.Names(PACK), carriers.read_carriers(PACK)[:60], seed=99, scale=0.2)
    ]
    counts = []
    for least in (0.1, 0.4, 0.55):
        counts.append(sum(len(scanner.find(text, "en", {"PERSON": least})[1]) for text in texts))
    assert counts[0] > counts[1] > counts[2] > 0


def test_the_score_has_the_chosen_threshold_where_cues_begin(scanner):
    one = TaggedNameRecognizer("en", RedactSettings())
    scores = [one.score(chance / 100) for chance in range(101)]
    assert scores == sorted(scores) and scores[0] == 0 and scores[-1] < 0.6
    assert one.score(model.read_card(PACK / "tagger")["thresholds"]["PERSON"]) == pytest.approx(0.4)


def test_fast_and_plain_find_the_same_names():
    fast, plain = Scanner(RedactSettings()), Scanner(RedactSettings(), plain=True)
    names = carriers.Names(PACK)
    texts = [text.text for text in carriers.training_texts(names, carriers.read_carriers(PACK), seed=31, scale=0.04)]
    texts += [text.text for text in carriers.pack_texts(PACK)[::60]]
    chance = random.Random(4)
    texts += [text[: chance.randrange(len(text))] + chance.choice(texts) for text in texts]
    assert len(texts) > 800
    assert [fast.find(text, "en")[1] for text in texts] == [plain.find(text, "en")[1] for text in texts]


def test_offsets_are_those_of_the_original_text(scanner):
    text = "Ｐｌｅａｓｅ ａｓｋ\u200b Gretel Oye\u200blaran, 김\u200b민준님"
    spans = {(text[one.start : one.end], one.value) for one in scanner.find(text, "en")[1] if one.entity == "PERSON"}
    assert ("Gretel Oye\u200blaran", "Gretel Oyelaran") in spans


@pytest.mark.parametrize(
    "text",
    ["A b" * 60_000, "김민준" * 60_000, "Smith " * 30_000, "\n" * 150_000, "x" * 190_000, "- A " * 45_000,
     "12 Ba " * 30_000],
    ids=lambda text: repr(text[:6]),
)  # fmt: skip
def test_long_and_odd_texts_are_tagged_in_bounded_time(tagger, text):
    import time

    started = time.process_time()
    for start, end, label, chance in tagger.tag(text):
        assert 0 <= start < end <= len(text) and label in (NAME, PLACE) and 0 < chance <= 1.0000001
    assert time.process_time() - started < 20


def test_a_text_whose_time_is_over_is_not_tagged_to_its_end(tagger):
    def over():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        tagger.tag("Ask Gretel Oyelaran. " * 500, over)


def test_the_pieces_of_a_long_text_are_the_text():
    text = "".join(random.Random(1).choices("ab \n.", k=20_000))
    assert "".join(piece for _, piece in chunks(text)) == text
    assert all(text[offset : offset + len(piece)] == piece for offset, piece in chunks(text))


def test_tokens_cut_particles_and_owners_from_names():
    def words(text):
        return [text[start:end] for start, end in tokenize(text)]

    assert words("O'Brien's Jean-Pierre") == ["O'Brien", "'s", "Jean-Pierre"]
    assert words("위준기인데요 남궁민수입니다") == ["위준기", "인데요", "남궁민수", "입니다"]
    assert words("안양에 살아요") == ["안양", "에", "살아요"]


def test_a_carrier_is_labelled_where_its_slots_are():
    filler = carriers.Filler(carriers.Names(PACK), seed=8)
    for language, section, shape in carriers.read_carriers(PACK):
        labelled = filler.fill(shape, language)
        assert "{" not in labelled.text and "[" not in labelled.text, shape
        slots = sum(shape.count("{" + slot + "}") for slot in "PGSRAC")
        assert len(labelled.spans) <= slots if slots else not labelled.spans
        if section in ("plain", "news", "tables"):
            assert not labelled.spans


def test_half_of_unlisted_names_are_found_in_a_customers_words(tagger):
    """Names made of syllables that the lists lack, in a sentence that no carrier holds."""
    chance = random.Random(11)
    starts, ends = (
        ["Quor", "Vash", "Blemi", "Tark", "Ozwe", "Jilk", "Phren", "Zou"],
        ["dane", "mir", "lotte", "vik", "ush", "ora"],
    )
    hits = 0
    for _ in range(60):
        given, family = (chance.choice(starts) + chance.choice(ends) for _ in range(2))
        text = f"Yesterday {given} {family} brought my bank card back, so please unblock it."
        at = text.index(given)
        hits += any(
            start <= at and end >= at + len(given) + 1 + len(family)
            for start, end, label, chance_ in tagger.tag(text)
            if label == NAME and chance_ > 0.5
        )
    assert hits >= 30
