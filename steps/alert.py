"""Notices in Slack, through the alerter of the active stack (docs/notices.md).

python -m steps.alert < text        in a process of its own, for one that must stay light: ZenML is 200 MB
"""

from __future__ import annotations

import sys

from domainlm.errors import ConfigurationError, NoticeNotSent

SLACK = "slack"  # ZenML's flavor


def post(text: str) -> None:
    """Post a text.

    Raises:
        ConfigurationError: the active stack has no alerter.
        NoticeNotSent: it did not take the text.
    """
    from zenml.client import Client

    stack = Client().active_stack
    if (alerter := stack.alerter) is None:
        raise ConfigurationError("has no alerter", f"stack '{stack.name}'", "register one: docs/notices.md, Slack")
    if not alerter.post(escaped(text) if alerter.flavor == SLACK else text):
        raise NoticeNotSent("the alerter did not post it", f"alerter '{alerter.name}'", "see its token and its channel")


def escaped(text: str) -> str:
    """As Slack wants what is no markup (docs.slack.dev, "Formatting message text"): so nobody is mentioned by it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


if __name__ == "__main__":
    post(sys.stdin.read())
