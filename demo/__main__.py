"""`python -m demo [--tasks N] [--json] [--record FILE.svg]`."""

from __future__ import annotations

import argparse
import io
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from demo.contender import Contender, Relier, StockCelery
from demo.load import FEWEST, MOST, Load, make_load
from demo.run import Outcome, Run
from demo.view import closing, view_for
from harness.process import FOREIGN
from harness.redis import find_server, server_version

WIDTH = 110


def main() -> int:
    """0 when Relier lost nothing and committed nothing twice, 1 when it did, 2 for a mistake."""
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, _leave)
    console = Console(stderr=options.json, highlight=False)
    began = time.monotonic()
    try:
        server = find_server()
        home = Path.cwd()
        with tempfile.TemporaryDirectory(prefix="relier-demo-", ignore_cleanup_errors=True) as folder:
            relier, celery = contest(console, Path(folder), make_load(options.tasks))
            os.chdir(home)
    except (RuntimeError, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("demo: interrupted; everything it started has ended.", file=sys.stderr)
        return 130
    report(console, options, relier, celery)
    if options.json:
        version = ".".join(map(str, server_version(server)))
        print(json.dumps(as_json(relier, celery, version, time.monotonic() - began), indent=2))
    return 0 if relier.kept_its_promise else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description=sys.modules["demo"].__doc__)
    parser.add_argument("--tasks", type=int, default=300, help="how many to push to each side (300)")
    parser.add_argument("--json", action="store_true", help="the figures on stdout, progress on stderr")
    parser.add_argument("--record", type=Path, metavar="FILE.svg", help="keep the closing view as an SVG")
    options = parser.parse_args(argv)
    if not FEWEST <= options.tasks <= MOST:
        parser.error(f"--tasks {options.tasks}: choose a number from {FEWEST} to {MOST}")
    if options.record and not options.record.absolute().parent.is_dir():
        parser.error(f"--record {options.record}: the folder {options.record.parent} does not exist")
    return options


def contest(console: Console, folder: Path, load: Load) -> tuple[Outcome, Outcome]:
    """Both sides, one after the other, with every file inside `folder`."""
    # Neither the reader's variables nor the .env of the directory they stand in may steer the demo.
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]
    os.chdir(folder)
    tempfile.tempdir = str(folder)
    sys.dont_write_bytecode = True
    return fight(console, Relier(folder), load), fight(console, StockCelery(folder), load)


def fight(console: Console, contender: Contender, load: Load) -> Outcome:
    with view_for(console, contender.title) as view:
        os.environ.update(contender.environment)
        return Run(contender, load, view).execute()


def report(console: Console, options: argparse.Namespace, relier: Outcome, celery: Outcome) -> None:
    """Show the closing view, and keep it where asked."""
    table = closing(relier, celery, {side.title: side.settings for side in (Relier, StockCelery)})
    console.print(table)
    if options.record:
        tape = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
        tape.print(table)
        options.record.write_text(tape.export_svg(title="make demo"), encoding="utf-8")


def as_json(relier: Outcome, celery: Outcome, redis: str, seconds: float) -> dict[str, Any]:
    return {
        "ok": relier.kept_its_promise,
        "seconds": round(seconds, 1),
        "redis": redis,
        "celery_settings": StockCelery.settings,
        "relier": asdict(relier) | {"double_commits": relier.double_commits},
        "celery": asdict(celery) | {"double_commits": celery.double_commits},
    }


def _leave(*_: object) -> NoReturn:
    """SIGTERM ends the demo like Ctrl-C, so that nothing stays behind."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
