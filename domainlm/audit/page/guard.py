"""What every request passes first, and what every answer bears: host, origin and size; headers that let a browser do
nothing but show the page.

The host is checked against a list, so that a foreign name which resolves to this machine (DNS rebinding) reaches
nothing. A form must come from the page's own origin; browsers state it, and a request that states none is refused.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 << 10  # a signed approval takes about 3 kB
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # nothing leaves to another site; `no-referrer` would also hide the origin of the page's own forms, which is checked
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "cache-control": "no-store",
}
HSTS = "max-age=31536000"


class Guard:
    """Middleware around the whole application.

    Args:
        app: what it guards.
        public_url: scheme, host and port as the browser shows them.
    """

    def __init__(self, app: ASGIApp, public_url: str) -> None:
        parts = urlsplit(public_url)
        self.app, self.origin, self.host, self.secure = app, public_url, parts.netloc, parts.scheme == "https"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], Headers(scope=scope))
        answer = self.app if refusal is None else PlainTextResponse(refusal[1], refusal[0])

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self.secure:
                    headers["strict-transport-security"] = HSTS
            await send(message)

        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> tuple[int, str] | None:
        if headers.getlist("host") != [self.host]:
            return 421, "this is not the host that the page is served for"
        if method not in ("GET", "HEAD", "POST"):
            return 405, "GET and POST only"
        if method == "POST":
            if headers.getlist("origin") != [self.origin]:
                return 403, "a form of another page"
            length = headers.get("content-length", "")
            if not (length.isascii() and length.isdigit() and "transfer-encoding" not in headers):
                return 411, "say how long it is"
            if int(length) > MAX_BODY_BYTES:
                return 413, "too large"
        return None
