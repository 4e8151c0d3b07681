"""Models of others by configuration: a spaCy pipeline and a transformers model that the test makes itself."""

import random

import pytest

from domainlm.errors import ConfigurationError, ModelError
from domainlm.redact.engine import Scanner
from domainlm.redact.nlp import build, model_folders
from domainlm.redact.settings import RedactSettings

NAMES = ["brontosa", "quixelle", "zumbrick", "tolvanna"]
FRAMES = ["we saw {} today", "the {} is late", "ask {} about it", "a letter for {} came"]


@pytest.fixture(scope="module")
def spacy_model(tmp_path_factory):
    """A pipeline that learned to call four invented words in small letters names, which no rule of ours does."""
    import spacy
    from spacy.training import Example

    nlp = spacy.blank("en")
    nlp.add_pipe("ner").add_label("PERSON")
    examples = []
    for frame in FRAMES:
        for name in NAMES:
            text, at = frame.format(name), frame.index("{")
            examples.append(Example.from_dict(nlp.make_doc(text), {"entities": [(at, at + len(name), "PERSON")]}))
    for text in ("we saw nothing today", "the train is late", "ask them about it"):
        examples.append(Example.from_dict(nlp.make_doc(text), {"entities": []}))
    random.seed(0)
    spacy.util.fix_random_seed(0)
    nlp.initialize(lambda: examples)
    for _ in range(15):
        nlp.update(examples)
    folder = tmp_path_factory.mktemp("models") / "spacy"
    nlp.to_disk(folder)
    return folder


@pytest.fixture(scope="module")
def transformers_model(tmp_path_factory):
    """A one-layer token classifier that calls two words of its vocabulary names, by weights set by hand."""
    import torch
    from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "bert"
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "we", "saw", "today", ".", *NAMES]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = BertTokenizerFast(vocab={word: place for place, word in enumerate(words)}, model_max_length=64)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, id2label={0: "O", 1: "B-PERSON"}, label2id={"O": 0, "B-PERSON": 1},
    )  # fmt: skip
    model = BertForTokenClassification(config).eval()
    with torch.no_grad():
        for parameter in model.bert.encoder.parameters():
            parameter.mul_(0.01)  # next to nothing but the word itself
        embedding = model.bert.embeddings.word_embeddings.weight
        embedding.mul_(0.01)
        embedding[-len(NAMES) :, 0] = 50.0
        embedding[: -len(NAMES), 0] = -50.0
        model.bert.embeddings.position_embeddings.weight.zero_()
        model.bert.embeddings.token_type_embeddings.weight.zero_()
        model.classifier.weight.zero_()
        model.classifier.weight[1, 0], model.classifier.weight[0, 0] = 4.0, -4.0
        model.classifier.bias.zero_()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def settings(nlp_engine, **more):
    return RedactSettings(nlp_engine=nlp_engine, name_engine="none", **more)


def spacy_settings(folder, **more):
    models = [{"lang_code": "en", "model_name": str(folder)}]
    return settings({"nlp_engine_name": "spacy", "models": models}, **more)


def transformers_settings(folder):
    models = [{"lang_code": "en", "model_name": {"spacy": "blank", "transformers": str(folder)}}]
    rules = {"model_to_presidio_entity_mapping": {"PERSON": "PERSON"}, "stride": 8}
    return settings({"nlp_engine_name": "transformers", "models": models, "ner_model_configuration": rules})


def found(scanner, text, language="en"):
    return [(one.entity, one.value) for one in scanner.find(text, language)[1]]


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
def test_a_spacy_pipeline_adds_its_names_to_those_of_the_rules(spacy_model, plain):
    scanner = Scanner(spacy_settings(spacy_model), plain=plain)
    assert found(scanner, "we saw zumbrick today") == [("PERSON", "zumbrick")]
    assert found(scanner, "we saw quixelle today, card 4111 1111 1111 1111") == [
        ("PERSON", "quixelle"),
        ("CREDIT_CARD", "4111 1111 1111 1111"),
    ]
    assert found(Scanner(settings(None), plain=plain), "we saw zumbrick today") == []


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
def test_a_language_without_a_model_is_read_by_the_rules_alone(spacy_model, plain):
    scanner = Scanner(spacy_settings(spacy_model), plain=plain)
    assert found(scanner, "예금주: 김민준, 010-1234-5678", "ko") == [
        ("PERSON", "김민준"),
        ("PHONE_NUMBER", "010-1234-5678"),
    ]


@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
def test_a_transformers_model_adds_its_names(transformers_model, plain):
    scanner = Scanner(transformers_settings(transformers_model), plain=plain)
    assert found(scanner, "we saw tolvanna today .") == [("PERSON", "tolvanna")]
    assert found(scanner, "we saw today .") == []
    assert found(scanner, "예금주: 김민준", "ko") == [("PERSON", "김민준")]


def test_a_transformers_model_reads_to_the_end_of_a_long_text(transformers_model):
    scanner = Scanner(transformers_settings(transformers_model))
    assert found(scanner, "we saw today . " * 100 + "brontosa") == [("PERSON", "brontosa")]


def test_an_entity_that_is_off_is_not_asked_of_a_model(spacy_model):
    scanner = Scanner(spacy_settings(spacy_model, entities=("EMAIL_ADDRESS",)))
    assert found(scanner, "we saw zumbrick today") == []


def test_a_model_that_is_not_here_is_an_error_and_no_download(monkeypatch):
    import spacy

    def download(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(spacy.cli, "download", download)
    for name in ("en_core_web_lg", "no/such/folder"):
        asked = settings({"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": name}]})
        with pytest.raises(ModelError, match="not on this machine"):
            build(asked)
    names = {"spacy": "blank", "transformers": "dslim/bert-base-NER"}
    asked = settings({"nlp_engine_name": "transformers", "models": [{"lang_code": "en", "model_name": names}]})
    with pytest.raises(ModelError, match="not on this machine"):
        build(asked)


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("domainlm.redact.nlp.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="needs the package gliner"):
        build(settings({"gliner": {"model": str(tmp_path)}}))
    models = [{"lang_code": "en", "model_name": "en"}]
    with pytest.raises(ModelError, match="needs the package stanza"):
        build(settings({"nlp_engine_name": "stanza", "models": models}))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"nlp_engine": "spacy"}, "unknown key 'nlp_engine'"),
        ({"nlp_engine_name": "spacey", "models": []}, "unknown engine 'spacey'"),
        ({"nlp_engine_name": "spacy", "models": []}, "models is empty"),
        ({"nlp_engine_name": "spacy", "models": [{"lang_code": "en"}]}, "lacks lang_code or model_name"),
        ({"nlp_engine_name": "spacy", "models": [{"lang_code": "xx", "model_name": "a"}]}, "unknown language 'xx'"),
        ({"gliner": {}}, "names no model"),
        ({"gliner": {"model": "x", "size": 1}}, "unknown key 'size'"),
        ({"ner_model_configuration": {}}, "neither nlp_engine_name nor gliner"),
    ],
)
def test_a_configuration_that_nothing_knows_is_an_error_with_a_remedy(asked, said):
    with pytest.raises(ConfigurationError, match=said) as failure:
        build(settings(asked))
    assert failure.value.remedy


def test_the_folders_of_the_models_are_told(spacy_model, transformers_model, tmp_path):
    assert model_folders(spacy_settings(spacy_model)) == [spacy_model]
    assert model_folders(transformers_settings(transformers_model)) == [transformers_model]
    assert model_folders(settings({"gliner": {"model": str(tmp_path)}})) == [tmp_path]
    assert model_folders(settings(None)) == []
