"""The whole configuration is checked before anything heavy is imported, and every fault has a line and a hint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from domainlm.config import RUN_KEYS, STEP_KEYS, RunConfiguration
from domainlm.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
        - name: corpus
          uri: corpus/*.md
          form: documents
          language: en
          licence: CC0-1.0
          consent: public
          purpose: model-training
          jurisdiction: us
"""
GOOD = f"""
steps:
  base_ingest:
    parameters:
      sources:{SOURCE}
  ingest:
    parameters:
      sources:{SOURCE}
"""


@pytest.fixture(autouse=True)
def image(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the configurations of a cluster take from the environment."""
    monkeypatch.setenv("DOMAINLM_IMAGE", "registry.bank.example/domainlm:0.1.0-cpu")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        RunConfiguration.load(write(tmp_path, text), list(overrides))
    return str(caught.value)


# audit.yaml says where evidence goes, not what a run does
RUN_CONFIGURATIONS = sorted(
    [ROOT / "zenml_config.yaml", *(path for path in (ROOT / "configs").glob("*.yaml") if path.name != "audit.yaml")]
)


@pytest.mark.parametrize("path", RUN_CONFIGURATIONS, ids=lambda p: p.name)
def test_every_configuration_of_the_repository_passes(path: Path) -> None:
    RunConfiguration.load(path)


@pytest.mark.parametrize(
    "path",
    RUN_CONFIGURATIONS,
    ids=lambda p: p.name,
)
def test_every_fine_tuning_of_the_repository_scores_tasks_that_its_sources_have(path: Path) -> None:
    loaded = RunConfiguration.load(path)
    if path.name != "pretraining.yaml":
        return loaded.require_scored_rows()
    with pytest.raises(ConfigurationError, match="no source to fine-tune on"):
        loaded.require_scored_rows()


def test_a_task_to_score_without_a_source_is_named_before_the_run() -> None:
    loaded = RunConfiguration.load(ROOT / "configs" / "one-gpu-8b.yaml", ["steps.evaluate.parameters.tasks=[]"])
    with pytest.raises(ConfigurationError, match="definition, intent, numeric") as caught:
        loaded.require_scored_rows()
    assert caught.value.remedy == "name the tasks to score: [extraction, general, sentiment]"


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    loaded = RunConfiguration.load(
        write(tmp_path, GOOD), ["steps.train.parameters.epochs=2", "parameters.controls=false"]
    )
    assert loaded.step("train").epochs == 2
    assert loaded.pipeline.controls is False


def test_an_override_reaches_into_lists(tmp_path: Path) -> None:
    loaded = RunConfiguration.load(write(tmp_path, GOOD), ["steps.ingest.parameters.sources.0.limit=7"])
    assert loaded.step("ingest").sources[0].limit == 7


def test_a_misspelled_parameter_names_line_key_and_the_nearest_right_one(tmp_path: Path) -> None:
    text = GOOD + "  train:\n    parameters:\n      epoch: 2\n"
    line = len(text.splitlines())
    told = refusal(tmp_path, text)
    assert f"config.yaml:{line}: steps.train.parameters.epoch: unknown key; did you mean 'epochs'?" in told


def test_a_misspelled_step_is_not_ignored_as_zenml_would(tmp_path: Path) -> None:
    assert "unknown step; did you mean 'train'?" in refusal(tmp_path, GOOD + "  trian:\n    parameters: {}\n")


def test_an_unknown_top_level_key_is_not_ignored_as_zenml_would(tmp_path: Path) -> None:
    assert "step: unknown key; did you mean 'steps'?" in refusal(tmp_path, GOOD + "step: {}\n")


def test_a_nested_misspelling_names_the_field_of_the_nested_model(tmp_path: Path) -> None:
    told = refusal(tmp_path, GOOD.replace("licence:", "license:"))
    assert "sources.0.license: unknown key; did you mean 'licence'?" in told
    assert "sources.0.licence: Field required" in told


def test_a_value_out_of_bounds_is_refused(tmp_path: Path) -> None:
    assert "steps.train.parameters.learning_rate" in refusal(tmp_path, GOOD, "steps.train.parameters.learning_rate=-1")


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    told = refusal(tmp_path, GOOD + "stesp: {}\n  \n", "steps.train.parameters.epochs=-1", "parameters.contrls=true")
    assert told.count("config.yaml") >= 3


def test_a_repeated_key_is_refused(tmp_path: Path) -> None:
    assert "'ingest' stands there twice" in refusal(tmp_path, GOOD + "  ingest: {}\n")


def test_a_yaml_error_names_its_line(tmp_path: Path) -> None:
    assert "config.yaml:2: is not valid YAML" in refusal(tmp_path, "steps:\n  train: ]\n")


@pytest.mark.parametrize("base", ["./no/such/base", "/no/such/base", "falcon"])
def test_a_base_that_does_not_exist_is_refused(tmp_path: Path, base: str) -> None:
    assert "parameters.base: no such path" in refusal(tmp_path, GOOD, f"parameters.base={base}")


def test_a_hub_id_is_taken_as_one(tmp_path: Path) -> None:
    assert (
        RunConfiguration.load(write(tmp_path, GOOD), ["parameters.base=tiiuae/falcon-7b"]).pipeline.base
        == "tiiuae/falcon-7b"
    )


def test_the_embedded_base_needs_a_corpus(tmp_path: Path) -> None:
    assert "base_ingest" in refusal(
        tmp_path,
        GOOD.replace("base_ingest", "base_redact").replace("      sources:" + SOURCE, "      processes: 1\n", 1),
    )


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such configuration file"):
        RunConfiguration.load(tmp_path / "none.yaml")


def test_the_check_imports_neither_torch_nor_zenml() -> None:
    code = (
        "import sys; from pathlib import Path; from domainlm.config import RunConfiguration; "
        "RunConfiguration.load(Path('zenml_config.yaml')); "
        "print(sorted({'torch', 'zenml', 'pandas', 'datasets', 'transformers', 'presidio_analyzer'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_lists_of_keys_are_those_of_the_installed_zenml() -> None:
    from zenml.config.pipeline_run_configuration import PipelineRunConfiguration
    from zenml.config.step_configurations import StepConfigurationUpdate

    assert set(PipelineRunConfiguration.model_fields) == RUN_KEYS
    assert set(StepConfigurationUpdate.model_fields) == STEP_KEYS


def test_a_hub_id_may_name_its_revision(tmp_path: Path) -> None:
    named = "tiiuae/falcon-7b@898df13"
    assert RunConfiguration.load(write(tmp_path, GOOD), [f"parameters.base={named}"]).pipeline.base == named


@pytest.mark.parametrize(
    "said",
    [
        "environment.DOMAINLM_PLACE=elsewhere", "environment.DOMAINLM_PLACE=", "environment.DOMAINLM_DEBUG=1",
        "environment.DOMAINLM_HOME=/tmp/x", "environment.DOMAINLM_KEY_FILE=/tmp/key",
        "steps.train.environment={DOMAINLM_PLACE: pod}", "steps.train.environment={DOMAINLM_DEBUG: 1}",
    ],
)  # fmt: skip
def test_a_configuration_does_not_say_where_evidence_goes(said: str) -> None:
    with pytest.raises(ConfigurationError, match="is not for a run configuration"):
        RunConfiguration.load(ROOT / "configs" / "kubernetes.yaml", [said])


def test_a_run_of_ones_own_machine_is_not_said_to_be_in_a_pod() -> None:
    with pytest.raises(ConfigurationError, match=r"environment.DOMAINLM_PLACE: goes only with settings.orchestrator"):
        RunConfiguration.load(ROOT / "zenml_config.yaml", ["environment={DOMAINLM_PLACE: pod}"])
    RunConfiguration.load(ROOT / "zenml_config.yaml", ["environment={NCCL_DEBUG: WARN}"])


FEED = SOURCE.replace("name: corpus", "name: news").replace("uri: corpus/*.md", "uri: news/*.md")
RETRAINING = f"""
steps:
  base_ingest:
    parameters:
      sources:{SOURCE}
  detect:
    parameters:
      feeds:{FEED}
"""


def test_a_retraining_may_live_on_what_lands_alone_and_a_fine_tuning_may_not(tmp_path: Path) -> None:
    RunConfiguration.load(write(tmp_path, RETRAINING))
    RunConfiguration.load(write(tmp_path, RETRAINING + "  ingest:\n    parameters: {split_salt: other}\n"))
    without = GOOD.replace(f"  ingest:\n    parameters:\n      sources:{SOURCE}", "  ingest:\n    parameters: {}\n")
    assert "steps.ingest.parameters.sources: must name at least one source" in refusal(tmp_path, without)


def test_a_feed_is_checked_as_a_source_is(tmp_path: Path) -> None:
    assert "did you mean 'new_rows'" in refusal(tmp_path, RETRAINING + "  decide:\n    parameters: {new_row: 3}\n")
    forbidden = RETRAINING.replace("CC0-1.0", "CC-BY-NC-4.0")
    message = refusal(tmp_path, forbidden.replace("CC-BY-NC-4.0", "CC0-1.0", 1))
    assert "steps.detect.parameters.feeds.0.licence" in message, "its terms bind as those of any source"


def test_a_landed_task_may_be_scored(tmp_path: Path) -> None:
    feed = FEED.replace("form: documents", "form: labelled\n          task: sentiment").replace("*.md", "*.csv")
    text = RETRAINING.replace(FEED, feed) + "  evaluate:\n    parameters: {tasks: [sentiment]}\n"
    RunConfiguration.load(write(tmp_path, text)).require_scored_rows()
