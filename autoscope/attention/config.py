"""Who is told what, how, and when not: the file of ``autoscope watch --config``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, field_validator, model_validator

from autoscope.attention.quiet_hours import QuietHours, TimeZone
from autoscope.attention.reasons import Severity
from autoscope.config import Document
from autoscope.config_model import ConfigModel
from autoscope.quantities import Duration, PositiveDuration

VARIABLE = "AUTOSCOPE_ATTENTION"
Port = Annotated[int, Field(ge=1, le=65535)]
Address = Annotated[str, Field(pattern=r"^[^@\s,;<>\"]+@[^@\s,;<>\"]+$")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class ChannelConfig(ConfigModel):
    """What every channel has."""

    name: str = ""
    """Shown when something goes wrong; absent: the kind."""
    severity: Severity = Severity.NEEDS_YOU
    """The least that is told here: ``notice`` (also that a run has ended well), ``needs_you`` or ``trouble``."""
    break_through: Literal["never", "needs_you", "trouble"] = "never"
    """The least that is told in quiet hours."""
    quiet_hours: tuple[QuietHours, ...] | None = None
    """Of this channel; absent: those of the file; ``[]``: none."""
    after_s: Duration = 0.0
    """Only what has stood for so long is told, so that what somebody settles at once wakes nobody."""

    def breaks_quiet(self, severity: Severity) -> bool:
        """Return whether something so urgent is told in quiet hours."""
        return self.break_through != "never" and severity.rank >= Severity(self.break_through).rank


class BellConfig(ChannelConfig):
    """The terminal's bell."""

    kind: Literal["bell"] = "bell"


class DesktopConfig(ChannelConfig):
    """A notification of the desktop; needs the extra ``notify``."""

    kind: Literal["desktop"] = "desktop"


class WebhookConfig(ChannelConfig):
    """A POST of JSON (docs/attention.md has its schema)."""

    kind: Literal["webhook"] = "webhook"
    url: str = ""
    """http:// or https:// address; one that is itself a secret belongs into ``url_env``."""
    url_env: Variable | None = None
    """Environment variable that holds the address."""
    secret_env: Variable | None = None
    """Environment variable that holds the secret which signs the body (HMAC-SHA256)."""
    ca_file: Path | None = None
    """Certificates to trust instead of the computer's."""
    timeout_s: PositiveDuration = 10.0
    """Longest time for all of it."""

    @field_validator("url")
    @classmethod
    def _is_web(cls, url: str) -> str:
        return web_address(url) if url else url

    @model_validator(mode="after")
    def _has_one_address(self) -> Self:
        if bool(self.url) == (self.url_env is not None):
            raise ValueError("needs either 'url' or 'url_env'")
        return self


class EmailConfig(ChannelConfig):
    """An e-mail through a server that takes it (SMTP)."""

    kind: Literal["email"] = "email"
    to: Annotated[tuple[Address, ...], Field(min_length=1)]
    sender: Address = Field(alias="from")
    host: str
    port: Port = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    """``starttls``: encrypted after a greeting (port 587); ``tls``: from the start (465); ``none``: not at all."""
    user: str = ""
    password_env: Variable | None = None
    """Environment variable that holds the password."""
    password_file: Path | None = None
    """File, readable by its owner only, that holds the password."""
    ca_file: Path | None = None
    """Certificates to trust instead of the computer's."""
    timeout_s: PositiveDuration = 20.0
    """Longest time for all of it."""

    @model_validator(mode="after")
    def _password_fits(self) -> Self:
        sources = sum(source is not None for source in (self.password_env, self.password_file))
        if sources > 1 or bool(self.user) != bool(sources):
            raise ValueError("'user' needs one of 'password_env' and 'password_file', and these need 'user'")
        if self.user and self.security == "none" and self.host not in LOOPBACK:
            raise ValueError("a password is not sent unencrypted to another computer; use 'starttls' or 'tls'")
        return self


Channel = Annotated[BellConfig | DesktopConfig | WebhookConfig | EmailConfig, Field(discriminator="kind")]


class AttentionConfig(ConfigModel):
    """Who is told, how, and when not."""

    job: Literal["attention"] = "attention"
    time_zone: TimeZone | None = None
    """Of the quiet hours, e.g. ``Europe/Vienna``; absent: the computer's."""
    quiet_hours: tuple[QuietHours, ...] = ()
    """What comes up in them and still stands at their end is told then."""
    remind_after_s: Duration = 1800.0
    """What still stands is told again after so long; 0 s: never."""
    most_reminders: NonNegativeInt = 6
    """So often."""
    min_interval_s: Duration = 60.0
    """Least time between two notices of one thing on one channel, unless it gets worse."""
    channels: Annotated[tuple[Channel, ...], Field(min_length=1)] = (BellConfig(),)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [channel.name or channel.kind for channel in self.channels]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"channels need different names; give 'name' to those called {', '.join(twice)}")
        return self

    def quiet_hours_of(self, channel: ChannelConfig) -> tuple[QuietHours, ...]:
        """Return the quiet hours of one channel."""
        return self.quiet_hours if channel.quiet_hours is None else channel.quiet_hours


def web_address(url: str) -> str:
    """Return an http or https address as it is.

    Raises
    ------
    ValueError
        It is none; the message does not repeat it, as it may be secret.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        known = False
    if not known or any(c.isspace() for c in url):
        raise ValueError("needs an address that begins with http:// or https://")
    return url


def default_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Return where a person's own settings lie: ``$AUTOSCOPE_ATTENTION``, or ``~/.autoscope/attention.yaml``."""
    named = environment.get(VARIABLE)
    return Path(named) if named else Path.home() / ".autoscope" / "attention.yaml"


def read_attention(path: Path | None) -> AttentionConfig:
    """Return the settings of a file; of the person's own where none is given; a bell where there is none.

    Raises
    ------
    ConfigError
        The file is absent or wrong.
    """
    chosen = path or default_file()
    if path is None and VARIABLE not in os.environ and not chosen.is_file():
        return AttentionConfig()
    return Document.read(chosen).validate(AttentionConfig)
