"""An e-mail through the mail server of the house."""

from __future__ import annotations

import datetime
import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from autoscope.attention.channels.conversing import GRACE_S, bounded, trusted
from autoscope.attention.channels.credentials import from_file, from_variable
from autoscope.attention.config import EmailConfig
from autoscope.attention.message import Message
from autoscope.attention.reasons import Severity
from autoscope.errors import NotDelivered

READY = 220


class Email:
    """Sends each notice to everybody it is for.

    Parameters
    ----------
    config : EmailConfig
        The server, and who is told.

    Raises
    ------
    ConfigError
        The password is not there, or others could read it.
    """

    def __init__(self, config: EmailConfig) -> None:
        self._config, self._context = config, trusted(config.ca_file)
        self._password = _password(config)

    def send(self, message: Message) -> None:
        """Hand a message to the server; see `Way.send`."""
        config, where = self._config, f"{self._config.host}:{self._config.port}"
        server = _server(config, self._context)
        try:
            with bounded(config.timeout_s, lambda: server.sock, where):
                refused = self._talk(server, mail_of(message, config))
        except smtplib.SMTPException as error:
            what, remedy = _explained(error)
            raise NotDelivered(what, where=where, remedy=remedy) from error
        finally:
            server.close()
        if refused:
            raise NotDelivered(f"the server did not take it for {', '.join(sorted(refused))}", where=where)

    def _talk(self, server: smtplib.SMTP, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        code, said = server.connect(self._config.host, self._config.port)
        if code != READY:
            raise smtplib.SMTPConnectError(code, said)
        if self._config.security == "starttls":
            server.starttls(context=self._context)
        if self._password:
            server.login(self._config.user, self._password)
        return server.send_message(mail)


def mail_of(message: Message, config: EmailConfig) -> EmailMessage:
    """Return a notice as an e-mail; nobody's holiday mail answers it (RFC 3834)."""
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = message.subject, config.sender, ", ".join(config.to)
    mail["Date"] = format_datetime(datetime.datetime.fromisoformat(message.sent))
    mail["Message-ID"] = make_msgid(domain=config.sender.partition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Autoscope-Notice"] = " ".join(message.id.split())
    if message.notice.reason.severity is Severity.TROUBLE:
        mail["Importance"] = "high"
    mail.set_content(message.text)
    return mail


def _server(config: EmailConfig, context: ssl.SSLContext) -> smtplib.SMTP:
    """Return a client that is not connected yet, so that even a slow greeting can be cut off."""
    name = socket.gethostname() or "localhost"
    server = (
        smtplib.SMTP_SSL(local_hostname=name, timeout=config.timeout_s + GRACE_S, context=context)
        if config.security == "tls"
        else smtplib.SMTP(local_hostname=name, timeout=config.timeout_s + GRACE_S)
    )
    server._host = config.host  # type: ignore[attr-defined]  # whom the certificate must name; set by SMTP(host)
    return server


def _password(config: EmailConfig) -> str:
    if config.password_env:
        return from_variable(config.password_env)
    return from_file(config.password_file) if config.password_file else ""


def _explained(error: smtplib.SMTPException) -> tuple[str, str]:
    """Return what a mail server's answer means, and what to do; answers never hold the password."""
    match error:
        case smtplib.SMTPAuthenticationError():
            return f"the mail server does not accept user and password ({error.smtp_code})", "Check both"
        case smtplib.SMTPNotSupportedError():
            return f"the mail server cannot do what is asked: {error}", "Check 'port' and 'security'"
        case smtplib.SMTPSenderRefused():
            return f"the mail server does not take mail from {error.sender} ({error.smtp_code})", "Check 'from'"
        case smtplib.SMTPRecipientsRefused():
            return f"the mail server takes mail for none of {', '.join(sorted(error.recipients))}", "Check 'to'"
        case smtplib.SMTPServerDisconnected():
            return "the mail server hung up", "Check 'port' and 'security'"
        case smtplib.SMTPResponseException():
            return f"the mail server answered {error.smtp_code}", ""
    return f"no answer of a mail server: {type(error).__name__}", "Check 'port'"
