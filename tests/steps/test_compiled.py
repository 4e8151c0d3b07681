"""What a step knows of its run's configuration: the settings of every step, and nothing that the pipeline handed in."""

from __future__ import annotations

from domainlm.config import PipelineSettings
from steps.compiled import Compiled

RUN = Compiled(
    "1", PipelineSettings(pack="domains/finance"),
    {
        "train": {"max_steps": 7, "definitions": [{"name": "sentiment"}], "licences": {}},
        "register": {"name": "bank", "experiment": "e"},
        "load_artifact": {"anything": 1},
    },
)  # fmt: skip


def test_settings_are_checked_and_have_their_defaults() -> None:
    assert RUN.settings("train").max_steps == 7 and RUN.settings("train").method
    assert RUN.settings("register").name == "bank"
    assert RUN.settings("decide").lease_s > 0, "a step that was told nothing has its defaults"
    assert RUN.pipeline.base == "embedded"


def test_what_is_no_setting_is_left_out() -> None:
    assert RUN.all_settings() == {"train": {"max_steps": 7}, "register": {"name": "bank", "experiment": "e"}}
