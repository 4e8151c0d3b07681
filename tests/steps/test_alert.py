"""Notices in Slack, by ZenML's own alerter and Slack's own client, against a stand-in for Slack's API on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from domainlm.errors import ConfigurationError, NoticeNotSent
from domainlm.retrain.book import open_book
from domainlm.retrain.notices import Notice, deliver, tell
from domainlm.retrain.settings import SettleSettings
from steps.alert import escaped, post

pytest.importorskip("slack_sdk")
ROOT = Path(__file__).resolve().parents[2]


class Slack:
    """As much of Slack's Web API as the alerter uses: auth.test, conversations.info, chat.postMessage."""

    def __init__(self) -> None:
        self.messages: list[dict[str, str]] = []
        self.tokens: set[str] = set()
        self.refuses = False
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                stub.tokens.add(self.headers["Authorization"])
                good = True
                if self.path == "/api/chat.postMessage":
                    good = not stub.refuses
                    if good:
                        stub.messages.append(json.loads(body))
                answer = json.dumps({"ok": good} | ({} if good else {"error": "not_in_channel"})).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/"


@pytest.fixture(scope="module")
def slack(stores: Path) -> Iterator[Slack]:
    """A stack with an alerter whose token is a secret of ZenML's store; Slack's client asks the stand-in."""
    from slack_sdk import WebClient
    from zenml.client import Client
    from zenml.enums import StackComponentType

    made = Slack()
    threading.Thread(target=made.server.serve_forever, args=(0.05,), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        first = WebClient.__init__
        patch.setattr(WebClient, "__init__", lambda self, **given: first(self, **({"base_url": made.url} | given)))
        client = Client()
        client.create_secret("slack", values={"token": "xoxb-loopback"})
        client.create_stack_component(
            "slack", "slack", StackComponentType.ALERTER,
            {"slack_token": "{{slack.token}}", "slack_channel_id": "C1"},
        )  # fmt: skip
        parts = {StackComponentType.ORCHESTRATOR: "default", StackComponentType.ARTIFACT_STORE: "default"}
        client.create_stack("quiet", parts)
        client.create_stack("told", parts | {StackComponentType.ALERTER: "slack"})
        client.activate_stack("told")
        yield made
    made.server.shutdown()
    made.server.server_close()


def test_a_notice_is_posted_by_the_stacks_alerter_and_mentions_nobody(slack: Slack) -> None:
    post("domainlm: a run failed\ncause: <!channel> & <@U1>")
    sent = slack.messages[-1]
    assert sent["channel"] == "C1" and slack.tokens == {"Bearer xoxb-loopback"}
    assert sent["text"] == "domainlm: a run failed\ncause: &lt;!channel&gt; &amp; &lt;@U1&gt;"


def test_a_delivery_posts_there_and_tries_again_where_slack_refuses(slack: Slack, tmp_path: Path, monkeypatch) -> None:
    from domainlm.retrain.book import outbox

    monkeypatch.setattr(outbox, "FIRST_PAUSE_S", 0.0)
    book, settings = open_book(f"sqlite:///{tmp_path / 'book.sqlite'}"), SettleSettings(slack=True)
    tell(book, Notice(kind="failed", run="r1", step="train", cause="out of memory"))
    before, slack.refuses = len(slack.messages), True
    (line,) = deliver(book, settings, post)
    assert line.startswith("slack: the alerter did not post it") and len(slack.messages) == before
    slack.refuses = False
    assert deliver(book, settings, post) == [] and deliver(book, settings, post) == []
    assert len(slack.messages) == before + 1 and "step: train" in slack.messages[-1]["text"]
    book.close()


def test_a_stack_without_an_alerter_is_named(slack: Slack) -> None:
    from zenml.client import Client

    Client().activate_stack("quiet")
    try:
        with pytest.raises(ConfigurationError, match="stack 'quiet': has no alerter"):
            post("x")
    finally:
        Client().activate_stack("told")


def test_slack_that_is_away_is_an_error_of_ours(slack: Slack, monkeypatch: pytest.MonkeyPatch) -> None:
    from slack_sdk.errors import SlackApiError
    from zenml.integrations.slack.alerters import slack_alerter

    def away(self, **given: object) -> None:
        raise SlackApiError("no", {"error": "ratelimited"})

    monkeypatch.setattr(slack_alerter.WebClient, "chat_postMessage", away)
    with pytest.raises(NoticeNotSent):
        post("x")


def test_what_is_no_markup_stays_as_it_is() -> None:
    assert escaped("a -> b & c") == "a -&gt; b &amp; c"


def test_a_process_of_its_own_posts_what_it_reads(slack: Slack, tmp_path: Path) -> None:
    """As the watcher has it done, which must not load ZenML."""
    site = tmp_path / "sitecustomize.py"
    site.write_text(
        "import slack_sdk\nfirst = slack_sdk.WebClient.__init__\n"
        f"slack_sdk.WebClient.__init__ = lambda self, **given: first(self, **({{'base_url': {slack.url!r}}} | given))\n"
    )
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-m", "steps.alert"], input="from a child", text=True, capture_output=True, timeout=120,
        env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    assert slack.messages[-1]["text"] == "from a child"
