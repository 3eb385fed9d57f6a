"""A client's conversation with a server: session, lease, and questions that may be asked any number of times."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol, TypeVar

from autoscope.bus import messages as say
from autoscope.bus.calling import Caller, Keeper
from autoscope.bus.messages import Answer
from autoscope.bus.wire import Parts, error_of
from autoscope.clock import SimClock
from autoscope.errors import BusError, ConfigError, PluginError, Unreachable
from autoscope.protocols import Clock

A = TypeVar("A")


class Patience(Protocol):
    """Who asks whom, and how long is waited."""

    @property
    def address(self) -> str:
        """Of the server, for people."""

    @property
    def who(self) -> str:
        """Our name, for people."""

    @property
    def take_over(self) -> str:
        """Why the lease is taken from whoever holds it; empty where it is not."""

    @property
    def connect_s(self) -> float:
        """How long the first answer may take."""

    @property
    def answer_s(self) -> float:
        """How long an answer may take."""

    @property
    def resend_s(self) -> float:
        """After how long a question is sent again."""

    @property
    def patience_s(self) -> float:
        """How long the server may be silent while an act waits for it."""


class Conversation:
    """Session, lease and questions of one client.

    Parameters
    ----------
    patience : Patience
        Names and times.
    asking : Caller
        On the line for questions.
    keeper : Keeper
        Of the lease.
    clock : Clock
        The run's; a `SimClock` follows the server's simulated time.
    timer : Clock
        Monotonic time for waiting.

    Raises
    ------
    Unreachable
        Nobody answers.
    ConfigError
        The run's clock is not of the server's kind.
    """

    def __init__(self, patience: Patience, asking: Caller, keeper: Keeper, clock: Clock, timer: Clock) -> None:
        self._config, self.asking, self.keeper = patience, asking, keeper
        self._clock, self._timer = clock, timer
        self.burnt = False
        """Whether the session must be replaced before the next act."""
        self._took = False
        self.seq = 1
        """Number of the next act."""
        self.welcome = self._hello(None, patience.connect_s)
        self.require_clock()

    def _hello(self, replaces: str | None, timeout_s: float) -> say.Welcome:
        hello = say.Hello(client=self._config.who, replaces=replaces)
        return expect(self.question(hello, timeout_s), say.Welcome)

    def renew_session(self) -> None:
        """Open a new session in place of the old, whose acts are not begun any more."""
        self.keeper.lose()
        self.welcome, self.seq = self._hello(self.welcome.session, self._config.connect_s), 1
        self.burnt = False

    def burn(self) -> None:
        """End the session: a copy of the request that is still on its way must not be taken later."""
        self.burnt = True
        with suppress(BusError):
            self.renew_session()

    def require_clock(self) -> None:
        """Return where the run's clock is of the server's kind.

        Raises
        ------
        ConfigError
            It is not.
        """
        simulated = isinstance(self._clock, SimClock)
        if simulated != (self.welcome.clock == "simulated"):
            raise ConfigError(
                "the run's clock is not of the server's kind, so budgets would not count instrument time",
                where="clock",
                value="simulated" if simulated else "system",
                limit=self.welcome.clock,
                remedy=f"Write 'clock: {self.welcome.clock}' in the run, or serve with another --clock",
            )

    def hold(self) -> None:
        """Hold the lease; wait for one that is about to lapse, such as that of an agent that died.

        A server that is away is waited for as patiently as by an act.

        Raises
        ------
        Unreachable
            It does not come back.
        Refused
            Somebody else holds it.
        """
        if self.burnt:
            self.renew_session()
        self.keeper.renew_if_due()
        if self.keeper.lease:
            return
        until_s: float | None = None
        while True:
            answer, _ = self.ask(self.asking, self._wanting(), max(self._config.patience_s, self._config.answer_s))
            if until_s is None:  # from the first answer on: a server that is just being started again is waited for
                until_s = self._timer.now_s() + 2.0 * self.welcome.lease_s + self._config.answer_s
            if isinstance(answer, say.Leased):
                self._took = True
                self.keeper.start(answer.lease, self.welcome.lease_s)
                return
            if isinstance(answer, say.Trouble) and answer.code == "session":
                self.renew_session()
            elif self._timer.now_s() >= until_s or not isinstance(answer, say.Trouble) or not _passes(answer):
                raise error_of(answer) if isinstance(answer, say.Trouble) else unexpected(answer)
            self._timer.wait(min(self._config.resend_s, 0.2))

    def _wanting(self) -> say.Ask:
        """Return how the lease is asked for: taken over once where that is wished, else only where it is free."""
        if self._config.take_over and not self._took:
            return say.TakeOver(session=self.welcome.session, why=self._config.take_over)
        return say.Acquire(session=self.welcome.session)

    def question(self, ask: say.Ask, timeout_s: float | None = None) -> Answer:
        """Return the answer to a question; an error that is answered is raised."""
        answer, _ = self.ask(self.asking, ask, timeout_s or self._config.answer_s)
        if isinstance(answer, say.Trouble):
            raise error_of(answer)
        return answer

    def ask(self, caller: Caller, ask: say.Ask, timeout_s: float) -> tuple[Answer, Parts]:
        """Return the answer to a question, whatever it is, and the parts that follow it.

        Raises
        ------
        Unreachable
            There is none.
        """
        self.keeper.renew_if_due()
        until_s = self._timer.now_s() + timeout_s
        request = caller.request(ask, self.clock_s())
        while True:  # a question may be asked any number of times
            caller.send(request)
            wait_s = max(min(self._config.resend_s, until_s - self._timer.now_s()), 0.0)
            got = caller.wait(request.id, wait_s)
            if got is not None:
                return self.taken(got)
            if self._timer.now_s() >= until_s:
                raise Unreachable(
                    "the bus server does not answer",
                    where=self._config.address,
                    limit=f"{timeout_s:g} s",
                    remedy="Is 'autoscope serve' running there, and does it know our key?",
                )

    def taken(self, got: tuple[say.Reply, Parts]) -> tuple[Answer, Parts]:
        """Return an answer; a simulated clock follows the server's."""
        reply, parts = got
        if reply.clock_s is not None and isinstance(self._clock, SimClock):
            self._clock.wait(max(reply.clock_s - self._clock.now_s(), 0.0))
        return reply.answer, parts

    def clock_s(self) -> float | None:
        """Return the run's time, where it is simulated."""
        return self._clock.now_s() if isinstance(self._clock, SimClock) else None


def _passes(trouble: say.Trouble) -> bool:
    """Return whether waiting may help: the lease is another's, not out of reach for our key."""
    return trouble.error == "Refused" and trouble.code != "role"


def expect(answer: Answer, kind: type[A]) -> A:
    """Return an answer of the kind that the protocol says.

    Raises
    ------
    PluginError
        It is another.
    """
    if not isinstance(answer, kind):
        raise unexpected(answer)
    return answer


def unexpected(answer: Any) -> PluginError:
    """Return the error for an answer the protocol does not have here."""
    return PluginError("the server answered something else than the protocol says", value=type(answer).__name__)
