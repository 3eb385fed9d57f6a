"""The app: looks at the run a few times a second, keeps the screen on top up to date, and takes keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen, Screen

from autoscope.attention.reasons import Situation
from autoscope.dashboard.errands import BY_NAME, ERRANDS, Errand, NotNow
from autoscope.dashboard.heeding import Heeding
from autoscope.dashboard.screens.data_screen import DataScreen
from autoscope.dashboard.screens.decision_screen import DecisionScreen
from autoscope.dashboard.screens.instrument_screen import InstrumentScreen
from autoscope.dashboard.screens.log_screen import LogScreen
from autoscope.dashboard.screens.model_screen import ModelScreen
from autoscope.dashboard.screens.overview import OverviewScreen
from autoscope.dashboard.screens.run_screen import RunScreen
from autoscope.dashboard.screens.what_if import WhatIfScreen
from autoscope.dashboard.sight import Onlooker, Sight
from autoscope.dashboard.source import FolderSource
from autoscope.dashboard.steersman import Said, Steersman
from autoscope.dashboard.themes import DARK, LIGHT

PERIOD_S = 0.5
"""Between two looks at a run."""
FAR = 10
EMERGENCY = "emergency_stop"
"""Its key works over every question, also while somebody types."""
"""Steps that a page key goes back or on."""


class Dashboard(App[None]):
    """Shows one run, live or finished.

    Parameters
    ----------
    onlooker : Onlooker
        Looks at the run.
    steersman : Steersman, optional
        Steers it; None where nobody here may.
    heeding : Heeding, optional
        Says what is new and needs a person; None: nothing is heard.
    period_s : float, optional
        Real time between two looks; None: only when `look` is called, as tests do.
    """

    TITLE = "autoscope"
    CSS_PATH = "dashboard.tcss"
    MODES: ClassVar[dict[str, str | Callable[[], Screen[Any]]]] = {
        "overview": OverviewScreen,
        "model": ModelScreen,
        "decision": DecisionScreen,
        "data": DataScreen,
        "log": LogScreen,
        "instrument": InstrumentScreen,
    }
    DEFAULT_MODE = "overview"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "switch_mode('overview')", "all"),
        Binding("2", "switch_mode('model')", "model"),
        Binding("3", "switch_mode('decision')", "why"),
        Binding("4", "switch_mode('data')", "data"),
        Binding("5", "switch_mode('log')", "log"),
        Binding("6", "switch_mode('instrument')", "state"),
        Binding("left", "earlier(1)", "earlier", show=False),
        Binding("right", "later(1)", "later", show=False),
        Binding("shift+left,pageup", f"earlier({FAR})", "much earlier", show=False),
        Binding("shift+right,pagedown", f"later({FAR})", "much later", show=False),
        Binding("home", "first", "first", show=False),
        Binding("end", "newest", "newest", show=False),
        Binding("l", "light", "light or dark", show=False),
        *(Binding(e.key, f"errand('{e.name}')", e.title, show=e.shown, key_display=e.sign) for e in ERRANDS),
        Binding("f8", f"errand('{EMERGENCY}')", "emergency stop", show=False, priority=True),
        Binding("w", "what_if", "what if", show=False),
        Binding("M", "mute", "mute the bell", show=False),
        Binding("q", "quit", "leave"),
    ]

    def __init__(
        self,
        onlooker: Onlooker,
        steersman: Steersman | None = None,
        *,
        heeding: Heeding | None = None,
        period_s: float | None = PERIOD_S,
    ) -> None:
        super().__init__()
        for theme in (DARK, LIGHT):
            self.register_theme(theme)
        self.theme = DARK.name
        self._onlooker, self._steersman, self._period_s = onlooker, steersman, period_s
        self._heeding = heeding
        self._at: int | None = None
        self.sight: Sight | None = None
        self.pixels: type[Any] | None = None
        """What shows images in pixels, where the terminal can; see `pixel_widget`."""

    def on_mount(self) -> None:
        """Begin to look."""
        self.sub_title = self._onlooker.source.name
        if self._period_s is not None:
            self.run_worker(self._keep_looking(self._period_s), name="looking", exit_on_error=True)

    async def look(self) -> None:
        """Look once, and show what is seen if it is new."""
        screen = self._run_screen()
        maps = screen is not None and screen.WANTS_MAPS
        sight, new = await asyncio.to_thread(self._onlooker.look, self._at, maps=maps)
        self.sight = sight
        self._heed(sight)
        if self._steersman is not None:
            self._say(await asyncio.to_thread(self._steersman.news))
        below = self._run_screen()
        if new and below is not None:
            below.show(sight)

    def _run_screen(self) -> RunScreen | None:
        """Return the screen that shows the run, which a question may lie over."""
        return next((s for s in reversed(self.screen_stack) if isinstance(s, RunScreen)), None)

    async def _keep_looking(self, period_s: float) -> None:
        while True:
            await self.look()
            whole = self.sight is not None and self.sight.model.whole
            await asyncio.sleep(period_s if whole else 0.0)

    # --- steering -----------------------------------------------------------------------------------

    def action_errand(self, name: str) -> None:
        """Ask what is needed, and give the order."""
        if isinstance(self.screen, ModalScreen) and name != EMERGENCY:
            return
        self.run_worker(self._go(BY_NAME[name]), name=name, exit_on_error=True)

    async def _go(self, errand: Errand) -> None:
        sight, steersman = self.sight, self._steersman
        if sight is None or steersman is None or sight.model.ended is not None:
            self._say([Said(f"{errand.title}: this run is over, or cannot be steered from here", "warning")])
            return
        try:
            told = await errand.ask(self, sight)
        except NotNow as reason:
            self._say([Said(f"{errand.title}: {reason}", "warning")])
            return
        if told is not None:
            self._say(await asyncio.to_thread(steersman.order, *told, sight.step))

    def action_what_if(self) -> None:
        """Preview the next choices under other settings."""
        source = self._onlooker.source
        if isinstance(source, FolderSource):
            self.push_screen(WhatIfScreen(source.folder))
        else:
            self._say([Said("what if: only where the run's folder is; 'autoscope what-if' there", "warning")])

    def _heed(self, sight: Sight) -> None:
        """Ring and show a line where something new needs a person."""
        if self._heeding is None or not sight.model.whole:
            return
        model, verdict = sight.model, sight.verdict
        news = self._heeding.news(Situation(model.name, verdict.doing, model.steps.concluded(), verdict.reasons))
        for line, look in news:
            self.notify(line, severity=look, markup=False)
        if self._heeding.rings(news):
            self.bell()

    def action_mute(self) -> None:
        """Silence the bell, or let it ring again."""
        if self._heeding is not None:
            self._heeding.is_muted = not self._heeding.is_muted
            self.notify("the bell is silent" if self._heeding.is_muted else "the bell rings again")

    def _say(self, said: list[Said]) -> None:
        for one in said:
            self.notify(one.text, severity=one.severity, markup=False)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """Yield what the palette offers: every order, and what textual has."""
        for errand in ERRANDS:
            yield SystemCommand(
                errand.title, f"{errand.help} ({errand.sign})", partial(self.action_errand, errand.name)
            )
        yield SystemCommand("what if", "Preview the next five choices under other settings (w)", self.action_what_if)
        yield from super().get_system_commands(screen)

    def why_no_maps(self) -> str:
        """Return why there are no maps of the model."""
        return self._onlooker.why_no_maps()

    # --- looking back -------------------------------------------------------------------------------

    def look_back(self, step: int | None) -> None:
        """Look at the run as it was after a step; None: as it is."""
        known = len(self.sight.model.steps) if self.sight else 0
        self._at = None if step is None or step >= known - 1 else max(0, step)
        self.run_worker(self.look(), group="scrub", exclusive=True)

    def action_earlier(self, steps: int) -> None:
        """Go some steps back."""
        if self.sight is not None:
            self.look_back(self.sight.step - steps)

    def action_later(self, steps: int) -> None:
        """Go some steps on; beyond the last is the present."""
        if self.sight is not None and self._at is not None:
            self.look_back(self._at + steps)

    def action_first(self) -> None:
        """Go to the first step."""
        self.look_back(0)

    def action_newest(self) -> None:
        """Go to the present."""
        self.look_back(None)

    def action_light(self) -> None:
        """Change between the light and the dark theme."""
        self.theme = LIGHT.name if self.current_theme.dark else DARK.name

    def on_unmount(self) -> None:
        """Let go of the run."""
        self._onlooker.close()
