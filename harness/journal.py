"""A log of outcomes that task bodies write themselves, so that no engine is judge in its own case."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START, END = "start", "end"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: what happened to which task, when (seconds since the epoch), in which process."""

    kind: str
    task_id: str
    at: float
    pid: int
    extra: str = ""

    def line(self) -> bytes:
        """Fields apart by tabs, the time in microseconds. Raises `ValueError` for a tab or a line break in a field."""
        fields = (self.kind, self.task_id, f"{self.at:.6f}", str(self.pid), self.extra)
        if any(separator in field for field in fields for separator in "\t\n"):
            raise ValueError(f"a journal field holds a tab or a line break: {fields!r}")
        return ("\t".join(fields) + "\n").encode()

    @classmethod
    def parse(cls, line: str) -> Entry:
        """The inverse of `line`, without its line break."""
        kind, task_id, at, pid, extra = line.split("\t")
        return cls(kind, task_id, float(at), int(pid), extra)


class Journal:
    """Append-only, shared by any number of processes: one `write` call a line, in O_APPEND mode.

    A line that was written survives SIGKILL of its writer, since the kernel has it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def write(self, kind: str, task_id: str, extra: object = "") -> None:
        """For what a body tells besides its start and end; `kind` is free."""
        entry = Entry(kind, task_id, time.time(), os.getpid(), str(extra))
        # Opened for each line, so that nothing is inherited over a fork.
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(handle, entry.line())
        finally:
            os.close(handle)

    def start(self, task_id: str, extra: object = "") -> None:
        """First line of a body."""
        self.write(START, task_id, extra)

    def end(self, task_id: str, extra: object = "") -> None:
        """Last line of a body: it ran to its end."""
        self.write(END, task_id, extra)

    def read(self) -> Tally:
        """Everything so far."""
        tally = Tally()
        tally.feed(self.follow())
        return tally

    def follow(self, offset: int = 0) -> Iterator[Entry]:
        """Whole lines from a byte offset on; a line that is being written waits for the next call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as lines:
            lines.seek(offset)
            for line in lines:
                if line.endswith(b"\n"):
                    yield Entry.parse(line[:-1].decode())


class Tally:
    """Counts by task id. Feed it entries in the order of the log."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.starts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.last_by_pid: dict[int, Entry] = {}

    def feed(self, entries: Iterator[Entry]) -> None:
        """Each entry once: nothing here would notice one that comes again."""
        for entry in entries:
            self.entries.append(entry)
            self.last_by_pid[entry.pid] = entry
            if entry.kind == START:
                self.starts[entry.task_id] += 1
            elif entry.kind == END:
                self.ends[entry.task_id] += 1

    @property
    def finished(self) -> set[str]:
        """Tasks whose body ran to its end at least once."""
        return set(self.ends)

    @property
    def twice(self) -> set[str]:
        """Tasks whose body ran to its end more than once."""
        return {task_id for task_id, count in self.ends.items() if count > 1}

    @property
    def restarted(self) -> set[str]:
        """Tasks whose body began more than once."""
        return {task_id for task_id, count in self.starts.items() if count > 1}

    def of(self, task_id: str, kind: str | None = None) -> list[Entry]:
        """One task's entries in the order of the log, of one kind or of all."""
        return [e for e in self.entries if e.task_id == task_id and kind in (None, e.kind)]


class Reader:
    """Reads a journal as it grows, each line once."""

    def __init__(self, journal: Journal) -> None:
        self.journal, self.tally = journal, Tally()
        self._offset = 0

    def poll(self) -> Tally:
        """The tally after whatever was appended since the last call."""
        fresh = list(self.journal.follow(self._offset))
        self._offset += sum(len(entry.line()) for entry in fresh)
        self.tally.feed(iter(fresh))
        return self.tally
