"""A notification of the desktop, through desktop-notifier."""

from __future__ import annotations

import asyncio
import logging

from autoscope.attention.message import Message
from autoscope.attention.reasons import Severity
from autoscope.errors import NotDelivered, PluginError

LIMIT_S = 10.0
LOGGER = "desktop_notifier"


class Desktop:
    """Shows each notice on the desktop of whoever is logged in here.

    Raises
    ------
    PluginError
        desktop-notifier is not installed.
    """

    def __init__(self) -> None:
        try:
            from desktop_notifier import DesktopNotifier, Urgency
        except ModuleNotFoundError as error:
            remedy = "pip install 'autoscope[notify]'"
            raise PluginError("desktop-notifier is not installed", where="desktop", remedy=remedy) from error
        self._make, self._urgency = DesktopNotifier, Urgency

    def send(self, message: Message) -> None:
        """Show a message; see `Way.send`."""
        heard = _LastWarning()
        log = logging.getLogger(LOGGER)
        log.addHandler(heard)
        try:
            shown = asyncio.run(self._show(message))
        except Exception as error:  # its backends raise whatever the desktop's interfaces do
            raise NotDelivered(f"cannot be shown: {type(error).__name__}: {error}", where="desktop") from error
        finally:
            log.removeHandler(heard)
        if not shown:
            raise NotDelivered(
                f"no desktop shows it{heard.why}", where="desktop", remedy="Start 'autoscope watch' inside a session"
            )

    async def _show(self, message: Message) -> bool:
        """Return whether it was shown: the library itself keeps failures to its log."""
        shown = asyncio.Event()
        urgent = message.notice.reason.severity is Severity.TROUBLE
        notifier = self._make(app_name="autoscope")
        try:
            await asyncio.wait_for(
                notifier.send(
                    title=message.subject,
                    message=message.text,
                    urgency=self._urgency.Critical if urgent else self._urgency.Normal,
                    on_dispatched=shown.set,
                ),
                LIMIT_S,
            )
        except TimeoutError:
            return False
        return shown.is_set()


class _LastWarning(logging.Handler):
    """Remembers why the library could not show something."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.why = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the cause."""
        cause = record.exc_info[1] if record.exc_info else None
        self.why = f": {cause}" if cause is not None else f": {record.getMessage()}"
