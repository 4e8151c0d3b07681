"""Notices by e-mail: SMTP (RFC 5321) over verified TLS; in plain text to this machine alone."""

from __future__ import annotations

import email.utils
from typing import TYPE_CHECKING

from domainlm.errors import ConfigurationError, NoticeNotSent
from domainlm.retrain.notices.webhook import is_loopback
from domainlm.retrain.secret_values import secret_value

if TYPE_CHECKING:
    from email.message import EmailMessage
    from smtplib import SMTP

    from domainlm.retrain.notices.notice import Notice
    from domainlm.retrain.settings import EmailSettings

TIMEOUT_S = 15.0  # of connecting, and of each answer


def mail(notice: Notice, since: float, settings: EmailSettings) -> None:
    """Send a notice to every recipient; a mailbox tells one that comes twice by its `Message-ID`.

    Raises:
        NoticeNotSent: the server cannot be reached, offers no TLS, or takes the mail for none or not for all.
        ConfigurationError: plain text was asked for, to another machine.
        SecretError: the password is not there.
    """
    import smtplib

    if settings.security == "none" and not is_loopback(settings.host):
        raise ConfigurationError("mail would go unencrypted to another machine", "email.security", "starttls or tls")
    password = secret_value(settings.password_variable) if settings.password_variable else ""
    try:
        with _connected(settings) as server:
            if settings.user:
                server.login(settings.user, password)
            refused = server.send_message(message(notice, since, settings))
    except (OSError, smtplib.SMTPException) as error:  # whose words may quote addresses, or what was sent
        code = getattr(error, "smtp_code", "")
        said = f"{type(error).__name__} {code}".strip()
        raise NoticeNotSent(f"the mail server did not take it ({said})", settings.host, "it is tried again") from None
    if refused:
        raise NoticeNotSent(
            f"the mail server refused {len(refused)} of {len(settings.recipients)} recipients", settings.host,
            "see to email.recipients",
        )  # fmt: skip


def message(notice: Notice, since: float, settings: EmailSettings) -> EmailMessage:
    """The mail: plain text, marked as written by a machine (RFC 3834)."""
    from email.message import EmailMessage

    made = EmailMessage()
    made["From"], made["To"] = settings.sender, ", ".join(settings.recipients)
    made["Subject"] = f"[domainlm] {notice.title}"
    made["Date"] = email.utils.formatdate(since)
    made["Message-ID"] = f"<{notice.id}@{settings.sender.rpartition('@')[2]}>"
    made["Auto-Submitted"] = "auto-generated"
    made.set_content("\n".join(notice.lines()) + "\n")
    return made


def _connected(settings: EmailSettings) -> SMTP:
    import smtplib
    import ssl

    if settings.security == "tls":
        return smtplib.SMTP_SSL(settings.host, settings.port, timeout=TIMEOUT_S, context=ssl.create_default_context())
    server = smtplib.SMTP(settings.host, settings.port, timeout=TIMEOUT_S)
    try:
        if settings.security == "starttls":
            server.starttls(context=ssl.create_default_context())  # raises where the server offers none
    except BaseException:
        server.close()
        raise
    return server
