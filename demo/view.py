"""What the reader sees: a live panel on a terminal, plain lines elsewhere, and the closing table."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from demo.run import PATIENCE, Outcome, Progress

EVENTS_SHOWN = 6


class View(Protocol):
    """Shows one side's run; a context manager that is called with each new state."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def __call__(self, progress: Progress) -> None: ...


class LiveView:
    """A panel that redraws itself four times a second."""

    def __init__(self, console: Console, title: str) -> None:
        self.title = title
        self._began = time.monotonic()
        self._live = Live(console=console, refresh_per_second=4, auto_refresh=False)
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._drawn >= 0.25 or progress.phase == "done":
            self._drawn = now
            self._live.update(self._panel(progress), refresh=True)

    def _panel(self, progress: Progress) -> RenderableType:
        seconds = time.monotonic() - self._began
        bars = Table.grid(padding=(0, 2))
        for name, value, style in (
            ("pushed", progress.pushed, "cyan"),
            ("done", progress.done, "green"),
        ):
            bar = ProgressBar(total=progress.total, completed=value, width=44, complete_style=style)
            bars.add_row(name, bar, f"{value}/{progress.total}")
        bars.add_row("running", str(progress.running))
        bars.add_row("resurrected", str(progress.resurrected))
        events = Text("\n".join(progress.events[-EVENTS_SHOWN:]), style="red")
        title = f"{self.title} · {progress.phase} · {seconds:.0f} s"
        return Panel(Group(bars, events), title=title, title_align="left")


class PlainView:
    """Lines for logs and pipes: each event once, the counts every few seconds."""

    def __init__(self, console: Console, title: str, every: float = 3.0) -> None:
        self.console, self.title, self.every = console, title, every
        self._began = time.monotonic()
        self._next = 0.0
        self._events = 0
        self._phase = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def __call__(self, progress: Progress) -> None:
        for event in progress.events[self._events :]:
            self._line(event)
        self._events = len(progress.events)
        now = time.monotonic()
        if now >= self._next or progress.phase != self._phase:
            self._next, self._phase = now + self.every, progress.phase
            self._line(
                f"{progress.phase}: pushed {progress.pushed}/{progress.total}, running {progress.running}, "
                f"done {progress.done}, resurrected {progress.resurrected}"
            )

    def _line(self, text: str) -> None:
        seconds = time.monotonic() - self._began
        self.console.print(f"{self.title} {seconds:5.1f} s  {text}", highlight=False, soft_wrap=True)


def view_for(console: Console, title: str) -> View:
    return LiveView(console, title) if console.is_terminal else PlainView(console, title)


def closing(relier: Outcome, celery: Outcome, settings: dict[str, str]) -> RenderableType:
    """The table, and what it takes to read it rightly."""
    table = Table(box=box.SIMPLE_HEAD, title="Same load, same kills", title_justify="left")
    table.add_column("")
    for outcome in (relier, celery):
        table.add_column(outcome.title, justify="right")
    for name, cell in ROWS.items():
        table.add_row(name, cell(relier), cell(celery))
    return Group(table, _notes(settings), _verdict(relier))


def _bad(count: int) -> str:
    return f"[bold red]{count}[/]" if count else "[green]0[/]"


def _middle(outcome: Outcome) -> str:
    """The median, with what never came back as the slowest of all."""
    times = [*outcome.recovery_times, *[math.inf] * outcome.never]
    middle = statistics.median(times) if times else None
    if middle is None:
        return "-"
    return "[bold red]never[/]" if math.isinf(middle) else f"{middle:.2f} s"


def _slowest(outcome: Outcome) -> str:
    measured = f"{max(outcome.recovery_times):.2f} s" if outcome.recovery_times else "-"
    return f"[bold red]never: {outcome.never}[/], else {measured}" if outcome.never else measured


ROWS: dict[str, Callable[[Outcome], str]] = {
    "pushed": lambda o: str(o.pushed),
    "finished": lambda o: str(o.finished),
    "lost": lambda o: _bad(len(o.lost)),
    "committed twice": lambda o: _bad(o.double_commits),
    "killed: pool children, workers": lambda o: f"{o.deaths.count('child')}, {_workers_killed(o)}",
    "tasks interrupted": lambda o: str(len(o.recoveries)),
    "recovery p50": _middle,
    "recovery max": _slowest,
    "pages crawled again": lambda o: str(o.pages_again),
}


def _workers_killed(outcome: Outcome) -> int:
    return len(outcome.deaths) - outcome.deaths.count("child")


def _notes(settings: dict[str, str]) -> RenderableType:
    """How the figures are to be read."""
    notes = Table.grid(padding=(0, 2))
    for term, meaning in (settings | MEANINGS).items():
        notes.add_row(Text(term, style="bold dim"), Text(meaning, style="dim"))
    return notes


MEANINGS = {
    "lost": f"acknowledged, and without a result {PATIENCE:.0f} s after the last push and the last death",
    "committed twice": "the body ran to its last line more than once, by a log that the bodies write themselves",
    "recovery": "from SIGKILL until the body of an interrupted task starts again",
    "kills": "land inside bodies; a death between a body's last line and its commit repeats the body on any "
    "system, and Relier's fence then accepts one outcome",
}


def _verdict(relier: Outcome) -> Text:
    if relier.kept_its_promise:
        return Text(f"\nRelier: {relier.pushed} pushed, {relier.finished} committed once.", style="bold green")
    return Text(
        f"\nRelier broke its promise: {len(relier.lost)} lost, {relier.double_commits} committed twice.",
        style="bold red",
    )
