"""Notices over real connections: what arrives, and what is said where nothing does."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import socket
import sys
import threading

import pytest

from autoscope.attention.channels import way_of
from autoscope.attention.config import DesktopConfig, EmailConfig, WebhookConfig
from autoscope.attention.message import Message, trial
from autoscope.attention.occurrences import Event, Notice
from autoscope.attention.reasons import Reason, Severity, Situation
from autoscope.clock import SystemClock
from autoscope.errors import ConfigError, NotDelivered, PluginError
from tests.unit.attention.servers import certificate, mail_server, of_body, web_server

WALL = "2026-01-01T20:00:00.000+00:00"
SILENT = Reason("silent", "no record for 100 s", Severity.TROUBLE)
MESSAGE = Message(Notice(Event.RAISED, SILENT, WALL, 0), Situation("night\n1 ü", "running", 7, (SILENT,)), WALL)


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Return the server's side of a certificate, and the file to trust."""
    return certificate(tmp_path_factory.mktemp("certificate"))


def send(config):
    way_of(config, lambda: None).send(MESSAGE)


def webhook(url, **given):
    return WebhookConfig(url=url, **given)


def mail(port, **given):
    given = {"security": "none", "timeout_s": 5.0} | given
    return EmailConfig(sender="scope@lab.org", to=("anna@lab.org", "ben@lab.org"), host="127.0.0.1", port=port, **given)


def test_a_webhook_gets_everything_signed(monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "pass phrase")
    with web_server() as (url, received):
        send(webhook(url + "?room=1", secret_env="HOOK_SECRET"))
    ((headers, body, path),) = received.posts
    assert path == "/hook/secret?room=1"
    made = hmac.new(b"pass phrase", body, hashlib.sha256).hexdigest()
    assert headers["X-Autoscope-Notice"].startswith("night%0A1%20%C3%BC/silent/2026")
    assert headers["X-Autoscope-Signature"] == f"sha256={made}"
    assert of_body(received.posts[0]) == {
        "schema": "autoscope.notice/1", "id": f"night\n1 ü/silent/{WALL}/raised/0", "event": "raised", "key": "silent",
        "severity": "trouble", "text": "no record for 100 s", "headline": "TROUBLE: night\n1 ü: no record for 100 s",
        "since": WALL, "sent": WALL, "run": "night\n1 ü", "state": "running", "acts": 7,
        "standing": [{"key": "silent", "severity": "trouble", "text": "no record for 100 s"}],
    }  # fmt: skip


def test_without_a_secret_a_webhook_is_not_signed(monkeypatch):
    with web_server() as (url, received):
        monkeypatch.setenv("HOOK", url)
        send(WebhookConfig(url_env="HOOK"))
    assert "X-Autoscope-Signature" not in received.posts[0][0]


@pytest.mark.parametrize(("status", "remedy"), [(302, "address"), (401, "secret"), (404, "address"), (500, "")])
def test_an_answer_that_is_no_success_is_told_without_the_path(status, remedy):
    with web_server() as (url, received):
        received.status = status
        with pytest.raises(NotDelivered, match=f"answered {status}.*{remedy}") as told:
            send(webhook(url))
    assert "secret" not in str(told.value).replace("Check the secret", "")
    assert len(received.posts) == 1, "a redirection was followed"


def test_a_server_that_sends_a_byte_now_and_then_is_cut_off():
    with web_server() as (url, received):
        received.drip, clock = threading.Event(), SystemClock()
        with pytest.raises(NotDelivered, match=r"no answer in time.*0\.3 s"):
            send(webhook(url, timeout_s=0.3))
        assert clock.now_s() < 5.0


def test_a_server_that_says_nothing_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        for config in (webhook(f"http://127.0.0.1:{port}/", timeout_s=0.2), mail(port, timeout_s=0.2)):
            with pytest.raises(NotDelivered, match="no answer in time"):
                send(config)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for config in (webhook(f"http://127.0.0.1:{port}/"), mail(port)):
        with pytest.raises(NotDelivered, match="cannot be reached: Connection refused"):
            send(config)


def test_who_speaks_something_else_is_told():
    with mail_server() as (port, _), pytest.raises(NotDelivered, match="not answer as a web server"):
        send(webhook(f"http://127.0.0.1:{port}/"))


def test_an_encrypted_webhook_needs_a_certificate_that_is_trusted(tls):
    context, file = tls
    with web_server(context) as (url, received):
        with pytest.raises(NotDelivered, match=r"certificate is not trusted.*ca_file"):
            send(webhook(url))
        assert not received.posts
        send(webhook(url, ca_file=file))
        assert len(received.posts) == 1


@pytest.mark.parametrize("whole", [False, True])
def test_a_mail_arrives_encrypted_with_the_password_of_a_private_file(tls, tmp_path, whole):
    context, file = tls
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    security = "tls" if whole else "starttls"
    given = {"user": "scope", "password_file": secret, "security": security, "ca_file": file}
    with mail_server(context, None if whole else "s3cret", whole_tls=whole) as (port, mailbox):
        send(mail(port, **given) if not whole else mail(port, security=security, ca_file=file))
        with pytest.raises(NotDelivered, match="certificate is not trusted"):
            send(mail(port, security=security))
    ((sender, to, content, encrypted),) = mailbox.mails
    assert (sender, to) == ("scope@lab.org", ("anna@lab.org", "ben@lab.org"))
    assert encrypted
    read = email.message_from_bytes(content, policy=email.policy.default)
    assert read["Subject"] == "[autoscope] TROUBLE: night 1 ü: no record for 100 s"
    assert (read["Auto-Submitted"], read["Importance"]) == ("auto-generated", "high")
    assert "state: running" in read.get_content()


def test_a_wrong_password_is_told_and_not_shown(tls, monkeypatch):
    context, file = tls
    monkeypatch.setenv("MAIL_PASSWORD", "wr0ng")
    given = {"user": "scope", "password_env": "MAIL_PASSWORD", "security": "starttls", "ca_file": file}
    refused = pytest.raises(NotDelivered, match="does not accept user and password")
    with mail_server(context, "s3cret") as (port, mailbox), refused as told:
        send(mail(port, **given))
    assert "wr0ng" not in str(told.value)
    assert not mailbox.mails


def test_who_is_refused_is_told():
    with mail_server() as (port, mailbox):
        mailbox.refuse = "ben@lab.org"
        with pytest.raises(NotDelivered, match=r"did not take it for ben@lab\.org"):
            send(mail(port))
        assert [to for _, to, _, _ in mailbox.mails] == [("anna@lab.org",)]


def test_a_server_without_encryption_gets_no_mail():
    refused = pytest.raises(NotDelivered, match=r"STARTTLS.*Check 'port' and 'security'")
    with mail_server() as (port, mailbox), refused:
        send(mail(port, security="starttls"))
    assert not mailbox.mails


def test_secrets_that_are_absent_or_open_to_others_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.delenv("NO_SUCH", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH: the environment variable is not set"):
        way_of(webhook("http://127.0.0.1/", secret_env="NO_SUCH"), lambda: None)
    file = tmp_path / "password"
    with pytest.raises(ConfigError, match="cannot be read"):
        way_of(mail(25, user="scope", password_file=file), lambda: None)
    file.write_text("s3cret")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"others can read.*'644', limit 600.*chmod 600") as told:
        way_of(mail(25, user="scope", password_file=file), lambda: None)
    assert "s3cret" not in str(told.value)


def test_without_the_library_the_desktop_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "desktop_notifier", None)
    with pytest.raises(PluginError, match=r"autoscope\[notify\]"):
        way_of(DesktopConfig(), lambda: None)


def test_without_a_desktop_a_notice_is_not_taken_for_shown(monkeypatch):
    pytest.importorskip("desktop_notifier")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent/bus")
    with pytest.raises(NotDelivered, match="no desktop shows it"):
        way_of(DesktopConfig(), lambda: None).send(trial(WALL))
