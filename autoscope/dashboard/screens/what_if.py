"""What would come next under other settings? A preview; the run notices nothing."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

LONGEST_S = 300.0


class WhatIfScreen(ModalScreen[None]):
    """Shows the next five choices as things are, and under other settings of the policy.

    The policy is made anew and told everything again in a process of its own, as ``autoscope what-if`` does.

    Parameters
    ----------
    folder : Path
        The run's folder.
    """

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "leave it")]

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def compose(self) -> ComposeResult:
        """The settings above what comes of them."""
        with Vertical(classes="dialog wide"):
            yield Static("what if ...", classes="title")
            yield Input(placeholder="acquisition.kappa=0.5, dwell=200 ms", id="settings", compact=True)
            with VerticalScroll(classes="answer"):
                yield Static("", id="answer", markup=False)
            yield Static("Enter: preview the next five choices    Escape: leave", classes="hint")

    def on_mount(self) -> None:
        """Let the settings be typed in at once."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Ask the policy."""
        settings = [part.strip() for part in event.value.split(",") if part.strip()]
        self.run_worker(self._preview(settings), exclusive=True)

    def action_leave(self) -> None:
        """Leave."""
        self.dismiss(None)

    async def _preview(self, settings: list[str]) -> None:
        answer = self.query_one("#answer", Static)
        answer.update("asking the policy anew ...")
        options = [word for setting in settings for word in ("--policy-options", setting)]
        command = [
            sys.executable,
            "-c",
            "from autoscope.cli import main; main()",
            "what-if",
            str(self._folder),
            *options,
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), LONGEST_S)
            answer.update(said.decode("utf-8", "replace").strip())
        except TimeoutError:
            answer.update(f"no answer within {LONGEST_S:g} s")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
