"""The file that says who is told what."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from autoscope.attention.config import AttentionConfig, read_attention
from autoscope.cli.app import app
from autoscope.cli.watching import require_channels
from autoscope.config import Document
from autoscope.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "configs" / "attention" / "lab.yaml"
MAIL = "kind: email, from: a@b.org, to: [c@d.org], host: mail.b.org"


def read(text):
    return Document(text, "a.yaml").validate(AttentionConfig)


def test_the_example_is_understood_and_told_in_words():
    said = CliRunner().invoke(app, ["watch", "--check", "--config", str(EXAMPLE)])
    assert said.exit_code == 0
    mail = (
        "trouble or worse, what stood for 120 s, quiet from 22:00 to 07:00 (Europe/Vienna), where only trouble is told"
    )
    assert f"email: email to anna@example.org: {mail}" in said.output.splitlines()
    assert "lab chat: webhook, signed: notice or worse, at any hour" in said.output.splitlines()


def test_a_time_of_day_may_be_written_without_quotes():
    (hours,) = read("quiet_hours: [{from: 22:00, to: 07:00, days: [fri, sat]}]").quiet_hours
    assert (hours.begin, hours.end, hours.days) == ("22:00", "07:00", ("fri", "sat"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("chanels: []", r"a.yaml:1: chanels: no such setting. Did you mean 'channels'\?"),
        ("channels: []", "at least 1"),
        ("channels: [{kind: email, too: [a@b.c]}]", r"channels.0.too: no such setting. Did you mean 'to'\?"),
        ("channels: [{kind: bell}, {kind: bell}]", "different names; give 'name' to those called bell"),
        ("channels: [{kind: webhook}]", "either 'url' or 'url_env'"),
        ("channels: [{kind: webhook, url: 'file:///etc/passwd'}]", "begins with http"),
        ("channels: [{kind: webhook, url: 'http://h:0x/'}]", "begins with http"),
        (f"channels: [{{{MAIL}, password: secret}}]", "channels.0.password: no such setting"),
        (f"channels: [{{{MAIL}, user: a}}]", "'user' needs one of"),
        (f"channels: [{{{MAIL}, user: a, password_env: A, security: none}}]", "not sent unencrypted"),
        ("channels: [{kind: email, from: a@b.org, to: ['c@d.org, e@f.org'], host: h}]", "should match pattern"),
        ("time_zone: Mars/Olympus", "is no time zone"),
        ("quiet_hours: [{from: '22:00', to: '22:00'}]", "none or all day"),
        ("quiet_hours: [{from: '25:00', to: '07:00'}]", "time of day"),
        ("remind_after: 30", "no unit|unit"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, says):
    with pytest.raises(ConfigError, match=says):
        read(text)


def test_without_a_file_there_is_a_bell_and_a_named_file_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("AUTOSCOPE_ATTENTION", raising=False)
    assert [channel.kind for channel in read_attention(None).channels] == ["bell"]
    monkeypatch.setenv("AUTOSCOPE_ATTENTION", str(tmp_path / "absent.yaml"))
    with pytest.raises(ConfigError, match="no such configuration file"):
        read_attention(None)


def test_a_watch_in_the_background_needs_more_than_a_bell(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("channels: [{kind: bell}]")
    with pytest.raises(ConfigError, match="no channel but a bell"):
        require_channels(file)
