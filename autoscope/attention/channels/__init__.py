"""Ways to tell somebody something; each is asked from a thread of its own, and gives up in bounded time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autoscope.attention.config import BellConfig, Channel, DesktopConfig, EmailConfig, WebhookConfig
from autoscope.attention.message import Message


class Way(Protocol):
    """One way to tell somebody something."""

    def send(self, message: Message) -> None:
        """Deliver a message, in bounded time.

        Raises
        ------
        NotDelivered
            It may not have arrived; says why, and never a secret.
        """


class Bell:
    """The terminal's bell.

    Parameters
    ----------
    ring : callable
        Rings it.
    """

    def __init__(self, ring: Callable[[], object]) -> None:
        self._ring = ring

    def send(self, message: Message) -> None:
        """Ring."""
        self._ring()


def way_of(config: Channel, ring: Callable[[], object]) -> Way:
    """Return the way that a configuration describes; secrets are looked up now, so that an absent one is told now.

    Raises
    ------
    ConfigError
        A secret is absent, or its file is open to others.
    PluginError
        The extra that it needs is not installed.
    """
    match config:
        case BellConfig():
            return Bell(ring)
        case DesktopConfig():
            from autoscope.attention.channels.desktop import Desktop

            return Desktop()
        case WebhookConfig():
            from autoscope.attention.channels.webhook import Webhook

            return Webhook(config)
        case EmailConfig():
            from autoscope.attention.channels.email import Email

            return Email(config)
