"""Models of others that find names, by configuration: spaCy, transformers, stanza, GLiNER, through Presidio's engines.

    nlp_engine:                                    # Presidio's own NLP engine configuration
      nlp_engine_name: spacy
      models: [{lang_code: en, model_name: models/en_names}]
    nlp_engine:
      nlp_engine_name: transformers
      models: [{lang_code: en, model_name: {spacy: blank, transformers: models/bert-names}}]
      ner_model_configuration: {model_to_presidio_entity_mapping: {PER: PERSON, LOC: LOCATION}}
    nlp_engine:
      gliner: {model: models/gliner, threshold: 0.4}

What they find joins what rules and tagger find. Presidio and spaCy would download a model that they lack; here a model
is a folder (relative paths count from the project root) or an installed package, and anything else is an error.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domainlm.errors import ConfigurationError, ModelError, nearest
from domainlm.project import resolve
from domainlm.redact.settings import LOCATION, PERSON

if TYPE_CHECKING:
    from presidio_analyzer import EntityRecognizer
    from presidio_analyzer.nlp_engine import NlpEngine

    from domainlm.redact.settings import RedactSettings

LANGUAGES = ("en", "ko")
ENTITIES = (PERSON, LOCATION)
BLANK = "blank"
SPACY, TRANSFORMERS, STANZA, GLINER = "spacy", "transformers", "stanza", "gliner"
_KEYS = ("nlp_engine_name", "models", "ner_model_configuration", GLINER)
_GLINER_KEYS = ("model", "threshold", "labels")
# What GLiNER is asked for, in the words that its models know, and what we call it.
_GLINER_LABELS = {"person": PERSON, "name": PERSON, "address": LOCATION, "city": LOCATION}
_WHERE = "nlp_engine"
_REMEDY = "name a folder that holds the model, or an installed package; nothing is downloaded"


def build(settings: RedactSettings) -> tuple[NlpEngine | None, list[EntityRecognizer]]:
    """The NLP engine and the recognizers that `settings.nlp_engine` asks for.

    Returns:
        The engine, or None where the configuration names recognizers alone; and the recognizers.

    Raises:
        ConfigurationError: keys that Presidio or this function does not know.
        ModelError: a model or package that is not on this machine, or a model that cannot be loaded.
    """
    asked = settings.nlp_engine
    if not asked:
        return None, []
    for key in asked:
        if key not in _KEYS:
            raise ConfigurationError(f"unknown key '{key}': {nearest(key, _KEYS)}", _WHERE, "see docs/redact.md")
    recognizers: list[EntityRecognizer] = []
    nlp_engine = None
    entities = [entity for entity in ENTITIES if entity in settings.wanted]
    with _quiet():
        if "nlp_engine_name" in asked:
            nlp_engine = _engine({key: value for key, value in asked.items() if key != GLINER})
            recognizers += _readers(asked["nlp_engine_name"], entities)
        if GLINER in asked:
            recognizers += _gliner(asked[GLINER], entities)
    if not recognizers:
        raise ConfigurationError("neither nlp_engine_name nor gliner is given", _WHERE, "see docs/redact.md")
    return nlp_engine, recognizers


def model_folders(settings: RedactSettings) -> list[Path]:
    """The local folders of the models that the settings name, whose content belongs to the stage's identity."""
    asked = settings.nlp_engine or {}
    names = [model.get("model_name") for model in asked.get("models", []) if isinstance(model, Mapping)]
    flat = [one for name in names for one in (name.values() if isinstance(name, Mapping) else [name])]
    flat += [(asked.get(GLINER) or {}).get("model")]
    return [resolve(name) for name in flat if isinstance(name, str) and resolve(name).is_dir()]


def _engine(configuration: dict[str, Any]) -> NlpEngine:
    from presidio_analyzer.nlp_engine import NlpEngineProvider, SpacyNlpEngine

    name, models = configuration["nlp_engine_name"], configuration.get("models")
    if name not in (SPACY, TRANSFORMERS, STANZA):
        raise ConfigurationError(
            f"unknown engine '{name}': {nearest(str(name), (SPACY, TRANSFORMERS, STANZA))}",
            _WHERE,
            "see docs/redact.md",
        )
    if name == STANZA:
        _need("stanza", name)
    if not isinstance(models, list) or not models:
        raise ConfigurationError("models is empty", _WHERE, "list lang_code and model_name of each model")
    local = [_local(model, name) for model in models]
    try:
        provider = NlpEngineProvider(
            nlp_engines=(SpacyNlpEngine, _stanza_engine(), _transformers_engine()),
            nlp_configuration=configuration | {"models": local},
        )
    except Exception as error:  # pydantic's or Presidio's own; both quote the configuration only
        raise ConfigurationError(f"Presidio refuses the configuration: {error}", _WHERE, "see docs/redact.md") from None
    try:
        engine = provider.create_engine()
    except Exception as error:
        raise ModelError(f"a model cannot be loaded ({type(error).__name__})", _WHERE, _REMEDY) from error
    for language in LANGUAGES:  # what has no model is cut into words and nothing else
        if language not in engine.nlp:
            engine.nlp[language] = _blank(language)
    return engine


def _local(model: Any, engine: str) -> dict[str, Any]:
    """The configuration of one model with paths made absolute."""
    if not isinstance(model, Mapping) or not {"lang_code", "model_name"} <= set(model):
        raise ConfigurationError("a model lacks lang_code or model_name", _WHERE, "list both for each model")
    if model["lang_code"] not in LANGUAGES:
        raise ConfigurationError(
            f"unknown language '{model['lang_code']}': {nearest(str(model['lang_code']), LANGUAGES)}", _WHERE,
            "texts are read as en or ko; give the model one of the two",
        )  # fmt: skip
    name = model["model_name"]
    if engine == TRANSFORMERS:
        if not isinstance(name, Mapping) or not {SPACY, TRANSFORMERS} <= set(name):
            raise ConfigurationError(
                "model_name needs two entries, spacy and transformers", _WHERE, "spacy: blank serves where no model is"
            )
        places = {SPACY: _place(name[SPACY], package=True), TRANSFORMERS: _place(name[TRANSFORMERS], package=False)}
        return {**model, "model_name": places}
    if engine == STANZA:  # its models have names of languages and lie in its own folder, which it must not fill
        return dict(model)
    return {**model, "model_name": _place(name, package=True)}


def _place(name: Any, package: bool) -> str:
    """Where a model lies.

    Raises:
        ModelError: nowhere on this machine.
    """
    if not isinstance(name, str) or not name:
        raise ConfigurationError("model_name is no text", _WHERE, _REMEDY)
    if package and name == BLANK:
        return name
    folder = resolve(name)
    if folder.is_dir():
        return str(folder)
    if package:
        import spacy

        if spacy.util.is_package(name):
            return name
    raise ModelError(f"model '{name}' is not on this machine", _WHERE, _REMEDY)


def _need(package: str, engine: str) -> None:
    if find_spec(package) is None:
        raise ModelError(
            f"engine '{engine}' needs the package {package}, which is not installed", _WHERE, f"install {package}"
        )


def _blank(language: str) -> Any:
    import spacy

    # Korean's default tokenizer needs a dictionary.
    rules = {"nlp": {"tokenizer": {"@tokenizers": "spacy.Tokenizer.v1"}}}
    return spacy.blank(language, config=rules if language == "ko" else {})


def _stanza_engine() -> type:
    from presidio_analyzer.nlp_engine import StanzaNlpEngine

    class LocalStanzaEngine(StanzaNlpEngine):
        """Presidio's stanza engine, which does not fetch the models that stanza's folder lacks."""

        def __init__(self, models: Any = None, ner_model_configuration: Any = None) -> None:
            super().__init__(models, ner_model_configuration, download_if_missing=False)

    return LocalStanzaEngine


def _transformers_engine() -> type:
    from presidio_analyzer.nlp_engine import NlpArtifacts, TransformersNlpEngine

    class LocalTransformersEngine(TransformersNlpEngine):
        """Presidio's transformers engine without spacy-huggingface-pipelines: transformers' own, local files alone."""

        is_available = True

        def load(self) -> None:
            import spacy
            from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

            self.nlp, self._pipes = {}, {}
            for model in self.models:
                language, names = model["lang_code"], model["model_name"]
                words = names[SPACY]
                self.nlp[language] = (
                    _blank(language) if words == BLANK else spacy.load(words, exclude=["parser", "ner"])
                )
                place, rules = names[TRANSFORMERS], self.ner_model_configuration
                self._pipes[language] = pipeline(
                    "token-classification",
                    model=AutoModelForTokenClassification.from_pretrained(place, local_files_only=True),
                    tokenizer=AutoTokenizer.from_pretrained(place, local_files_only=True),
                    aggregation_strategy=rules.aggregation_strategy,
                    stride=rules.stride,  # a long text in pieces that overlap
                    device="cpu",
                )

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            from spacy.tokens import SpanGroup

            doc = self.nlp[language](text)
            spans, scores = [], []
            for found in self._pipes[language](text) if language in self._pipes and text.strip() else []:
                mode = self.ner_model_configuration.alignment_mode
                label = found.get("entity_group") or found.get("entity", "")
                span = doc.char_span(found["start"], found["end"], label=label, alignment_mode=mode)
                if span is not None and len(span):
                    spans.append(span)
                    scores.append(float(found["score"]))
            doc.spans[self.entity_key] = SpanGroup(doc, attrs={"scores": scores}, spans=spans)
            return self._doc_to_nlp_artifact(doc, language)

        def _get_entities(self, doc: Any) -> list[Any]:
            return list(doc.spans[self.entity_key]) if self.entity_key in doc.spans else []

        def _get_scores_for_entities(self, doc: Any) -> list[float]:
            return list(doc.spans[self.entity_key].attrs["scores"]) if self.entity_key in doc.spans else []

    return LocalTransformersEngine


def _readers(engine: str, entities: list[str]) -> list[EntityRecognizer]:
    """Presidio's recognizers that hand on what the engine found."""
    from presidio_analyzer.predefined_recognizers import SpacyRecognizer, StanzaRecognizer, TransformersRecognizer

    kind = {SPACY: SpacyRecognizer, TRANSFORMERS: TransformersRecognizer, STANZA: StanzaRecognizer}[engine]
    return [kind(supported_language=language, supported_entities=list(entities)) for language in LANGUAGES]


def _gliner(asked: Any, entities: list[str]) -> list[EntityRecognizer]:
    if not isinstance(asked, Mapping) or "model" not in asked:
        raise ConfigurationError("gliner names no model", f"{_WHERE}.gliner", "gliner: {model: PATH}")
    for key in asked:
        if key not in _GLINER_KEYS:
            raise ConfigurationError(
                f"unknown key '{key}': {nearest(key, _GLINER_KEYS)}", f"{_WHERE}.gliner", "drop it"
            )
    _need("gliner", GLINER)
    place = _place(asked["model"], package=False)
    labels = asked.get("labels") or _GLINER_LABELS
    from presidio_analyzer.predefined_recognizers import GLiNERRecognizer

    try:
        first = GLiNERRecognizer(
            supported_language=LANGUAGES[0],
            entity_mapping={label: entity for label, entity in labels.items() if entity in entities},
            model_name=place,
            threshold=float(asked.get("threshold", 0.3)),
            map_location="cpu",
            local_files_only=True,
        )
    except Exception as error:
        raise ModelError(f"a model cannot be loaded ({type(error).__name__})", f"{_WHERE}.gliner", _REMEDY) from error
    others = []
    for language in LANGUAGES[1:]:  # one model in memory for all languages
        other = copy.copy(first)
        other.supported_language, other.id = language, f"{first.id}_{language}"
        others.append(other)
    return [first, *others]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' notices out of the terminal: Presidio says which models it loads, transformers how."""
    loggers = [logging.getLogger(name) for name in ("presidio-analyzer", "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
