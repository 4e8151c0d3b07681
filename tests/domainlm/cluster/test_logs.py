"""No line of a log is shown that could quote data."""

from __future__ import annotations

import pytest
from small_pods import killed, look, pod

from domainlm.cluster.logs import LOGS_A_LOOK, LastWords, reason_of, shown

SECRET = "Kim Min-jun, 900101-1234567"


def test_known_lines_are_shown_and_the_rest_is_counted() -> None:
    text = f"""\x1b[37mStep \x1b[0m\x1b[38;5;105mredact\x1b[37m has started.\x1b[0m
{SECRET}
Traceback (most recent call last):
  File "/app/steps/redact.py", line 41, in redact
    redacted = Redactor(policy).run("{SECRET}")
               ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ValueError: could not convert string to float: '{SECRET}'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/steps/stage.py", line 90, in guarded
    raise StageFailed(what)
domainlm.errors.StageFailed: redact: ValueError at /app/domainlm/redact/x.py:3; its message is withheld
  -> repeat the run with DOMAINLM_DEBUG=1 (or --debug) to see it
warning: row 3 is {SECRET}
"""
    found = shown(text)
    assert SECRET not in "\n".join(found.lines)
    assert found.withheld == 2
    assert "Step redact has started." in found.lines
    assert '  File "/app/steps/redact.py", line 41, in redact' in found.lines
    assert "ValueError: its message is withheld, since it may quote data" in found.lines
    assert found.lines[-2].endswith("domainlm/redact/x.py:3; its message is withheld")
    assert found.lines[-1].startswith("  -> repeat the run")


@pytest.mark.parametrize(
    "line",
    [
        f"Step {SECRET} has started.",
        f"Step `redact` has started. {SECRET}",
        f"pydantic.ValidationError: {SECRET}",
        f'  File "{SECRET}", line 3, in f',
        f"Following steps failed: redact\t{SECRET}!",
        f"OSError: [Errno 2] No such file or directory: '/data/{SECRET}.csv'",
        f"  -> {SECRET}",
    ],
)
def test_data_in_the_place_of_a_known_line_is_not_shown(line: str) -> None:
    assert SECRET not in "\n".join(shown(line).lines)


def test_what_is_about_the_machinery_is_shown() -> None:
    assert shown("OSError: [Errno 30] Read-only file system: '/app/.zen/config.yaml'").lines == [
        "OSError: [Errno 30] Read-only file system"
    ]
    assert shown("ModuleNotFoundError: No module named 'steps.redact'").lines == [
        "ModuleNotFoundError: No module named 'steps.redact'"
    ]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("ModuleNotFoundError: No module named 'domainlm'", "ImageWithoutPackage", "image r/d:1 has no 'domainlm'"),
        ("ModuleNotFoundError: No module named 's3fs'", "ImageWithoutPackage", "that the project needs"),
        ("ImportError: cannot import name 'x' from 'steps.train' (/app/x.py)", "ImageWithoutPackage", "steps.train.x"),
        ("requests.exceptions.ConnectionError: HTTPConnectionPool(host='zenml', port=8080): Max retries exceeded",
         "Unreachable", "zenml:8080"),
        ('botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "http://store:9000/b"',
         "Unreachable", "the store http://store:9000"),
        ("botocore.exceptions.ClientError: An error occurred (AccessDenied) when", "StoreRefused", "AccessDenied"),
        ("zenml.exceptions.CredentialsNotValid: x", "ServerRefused", "token"),
        ("domainlm.errors.SourceError: data/a.csv: is empty", "Exception", "SourceError: data/a.csv: is empty"),
    ],
)  # fmt: skip
def test_a_process_that_came_to_no_step_says_why_in_its_log(line: str, code: str, words: str) -> None:
    found = reason_of(f"Traceback (most recent call last):\n{line}\n", "r/d:1")
    assert found.code == code
    assert words in found.what


def test_a_foreign_exception_is_named_by_its_type_alone() -> None:
    assert SECRET not in str(reason_of(f"KeyError: '{SECRET}'", "i"))
    assert "KeyError" in str(reason_of(f"KeyError: '{SECRET}'", "i"))
    assert reason_of("nothing happened", "i") is None


@pytest.mark.parametrize("kind", ["RunStoppedException", "RunInterruptedException"])
def test_a_pod_that_zenml_ended_for_anothers_failure_gives_no_reason(kind: str) -> None:
    assert reason_of(f"ValueError: x\n...\nzenml.exceptions.{kind}: Pipeline run is stopped.", "i") is None


class Logs:
    """Logs by the pod's name; what is read is written down."""

    def __init__(self, **said: str) -> None:
        self.said, self.read = said, []

    def __call__(self, name: str) -> str:
        self.read.append(name)
        return self.said.get(name.replace("-", "_"), "")


def test_the_last_words_of_each_pod_are_read_once() -> None:
    logs = Logs(ingest_0=f"{SECRET}\nKeyError: '{SECRET}'", train_0="nothing happened")
    words = LastWords(logs)
    found = words.of(look(killed("ingest"), killed("train"), killed("oom", "OOMKilled", 137), pod("works")))
    assert sorted(logs.read) == ["ingest-0", "train-0"], "what Kubernetes explains, and what works, is not read"
    assert {uid: (why.code, why.pod) for uid, why in found.items()} == {"pod-ingest-0": ("Exception", "ingest-0")}
    assert SECRET not in str(found)
    assert words.of(look(killed("ingest"), killed("train"))) == {} and len(logs.read) == 2


def test_a_log_that_cannot_be_read_is_tried_once_more_and_holds_up_no_look() -> None:
    logs, both = Logs(), look(killed("a", number=1), killed("b"))
    words = LastWords(logs)
    for _ in range(6):
        assert words.of(both) == {}
    assert logs.read == ["a-1", "a-1", "b-0", "b-0"], "one a look"
    logs.said["c_0"] = "ModuleNotFoundError: No module named 'domainlm'"
    assert words.of(look(killed("c")))["pod-c-0"].code == "ImageWithoutPackage"


def test_a_look_reads_few_logs_the_newest_first() -> None:
    many = [killed("ingest", number=number) for number in range(LOGS_A_LOOK + 3)]
    logs = Logs(**{f"ingest_{number}": "KeyError: 1" for number in range(len(many))})
    words = LastWords(logs)
    assert list(words.of(look(*many))) == [f"pod-ingest-{number}" for number in (6, 5, 4, 3)]
    assert len(words.of(look(*many))) == 3
