"""Notices to an HTTP endpoint, signed as Standard Webhooks 1.0 says (standardwebhooks.com, 2023).

The address may itself be a secret, as a chat's incoming hook is: it comes from the environment or a private file, and
stands in no error. TLS is verified; plain HTTP goes to this machine alone; a redirection is refused, because it would
carry the notice and its signature to somebody else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import json
import time
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from domainlm.errors import ConfigurationError, NoticeNotSent, SecretError
from domainlm.retrain.notices.words import inert
from domainlm.retrain.secret_values import secret_value

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

    from domainlm.retrain.notices.notice import Notice
    from domainlm.retrain.settings import WebhookSettings

FORMAT = "domainlm.notice/1"
TIMEOUT_S = 10.0  # of connecting, and of each answer
LEAST_KEY_BYTES = 24  # the standard asks for 24 to 64
_PREFIX = "whsec_"


def post(notice: Notice, since: float, settings: WebhookSettings) -> None:
    """Send a notice; a receiver tells one that comes twice by `webhook-id`.

    The body is JSON: format, id, kind, title, run, step, cause, next_action, time, and `text` (all of it in lines,
    which incoming hooks of chats show: made inert, `domainlm.retrain.notices.words`).

    Args:
        since: Unix time at which it was posted.

    Raises:
        NoticeNotSent: nobody answered, or something else than 2xx.
        ConfigurationError: the address is no https one.
        SecretError: the address or the key is not there, or the key is too short.
    """
    import http.client
    import urllib.error
    import urllib.request

    url = secret_value(settings.url_variable)
    parts = _checked(url, settings.url_variable)
    body = json.dumps(_content(notice, since), ensure_ascii=False).encode()
    headers = {
        "Content-Type": "application/json; charset=utf-8", "User-Agent": "domainlm", "webhook-id": notice.id,
        "Idempotency-Key": notice.id,
    }  # fmt: skip
    if settings.secret_variable:
        headers |= signature(notice.id, int(time.time()), body, key_of(settings.secret_variable))
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    try:
        with _opener(is_loopback(parts.hostname or "")).open(request, timeout=TIMEOUT_S) as answer:
            if not 200 <= answer.status < 300:
                raise NoticeNotSent(f"the endpoint answered {answer.status}", settings.url_variable)
    except urllib.error.HTTPError as error:
        told = "the endpoint redirects elsewhere" if 300 <= error.code < 400 else f"the endpoint answered {error.code}"
        error.close()
        raise NoticeNotSent(told, settings.url_variable, "see to the endpoint and its address") from None
    except (OSError, http.client.HTTPException, ValueError) as error:  # whose words may name the address
        cause = getattr(error, "reason", error)
        raise NoticeNotSent(
            f"the endpoint cannot be reached ({type(cause).__name__})", settings.url_variable, "it is tried again"
        ) from None


def signature(id: str, moment: int, body: bytes, key: bytes) -> dict[str, str]:
    """The headers that prove where a body comes from, and when: HMAC-SHA-256 over "id.moment.body"."""
    signed = hmac.new(key, b".".join((id.encode(), str(moment).encode(), body)), hashlib.sha256).digest()
    return {"webhook-timestamp": str(moment), "webhook-signature": f"v1,{base64.b64encode(signed).decode()}"}


def key_of(variable: str) -> bytes:
    """The key that a variable holds: `whsec_` and base64, as the standard writes it, or plain text.

    Raises:
        SecretError: it is missing, no base64, or too short.
    """
    text = secret_value(variable)
    try:
        encoded = text.startswith(_PREFIX)
        found = base64.b64decode(text.removeprefix(_PREFIX), validate=True) if encoded else text.encode()
    except binascii.Error:
        raise SecretError(f"is no base64 after {_PREFIX}", variable, "make one: openssl rand -base64 32") from None
    if len(found) < LEAST_KEY_BYTES:
        raise SecretError(
            f"has {len(found)} bytes, at least {LEAST_KEY_BYTES} are needed", variable, "openssl rand -base64 32"
        )
    return found


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name: no name server is asked."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _content(notice: Notice, since: float) -> dict[str, str]:
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since))
    said = {name: getattr(notice, name) for name in ("id", "kind", "title", "run", "step", "cause", "next_action")}
    return {"format": FORMAT, **said, "time": moment, "text": "\n".join(map(inert, notice.lines()))}


def _checked(url: str, variable: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError("is no address of an endpoint", variable, "https://HOST/PATH")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        raise ConfigurationError("is not encrypted", variable, "https://...; plain http only to this machine")
    return parts


def _opener(here: bool) -> OpenerDirector:
    import ssl
    import urllib.request

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *given: object) -> None:
            return None

    handlers = [urllib.request.HTTPSHandler(context=ssl.create_default_context()), NoRedirect()]
    if here:  # no proxy stands between a machine and itself
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)
