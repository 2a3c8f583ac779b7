"""`python -m bench`: Relier beside stock Celery and relier 0.1.7, as ratios from one run.

Exit code 0 means that everything was measured, however the figures look; 1 that a contestant failed to run;
2 a mistake on the command line.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import table
from bench.contestant import EARLY, LATE, OURS, UPSTREAM, contestants
from bench.effort import FULL, QUICK
from bench.errors import BenchError
from bench.rows import ROWS, rows_of
from bench.run import Report, run
from bench.upstream import finder, require


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="fewer rounds and smaller loads, under three minutes")
    add(
        "--only",
        action="append",
        metavar="ROW",
        default=[],
        help="a row or figure of --list; may be repeated",
    )
    add("--json", type=Path, metavar="FILE", help="keep every sample, bound and verdict")
    add("--list", action="store_true", help="name the rows and their figures, and leave")
    add(
        "--upstream-python",
        metavar="PATH",
        help="an interpreter that has relier 0.1.7 (default: one is installed)",
    )
    everyone = (EARLY, LATE, UPSTREAM, OURS)
    add(
        "--skip",
        action="append",
        choices=everyone,
        default=[],
        help="leave a contestant out; may be repeated",
    )
    return parser


def _list() -> None:
    for row in ROWS:
        print(row.name + ("" if row.default else "   (only by name)"))
        for figure in row.figures:
            print(f"  {figure.key:16} {figure.title}")


def _wanted(names: Sequence[str]) -> set[str]:
    """Keys of figures; the name of a row stands for all of its figures."""
    if not names:
        return {figure.key for row in ROWS if row.default for figure in row.figures}
    known = {figure.key: {figure.key} for row in ROWS for figure in row.figures}
    known |= {row.name: {figure.key for figure in row.figures} for row in ROWS}
    for name in names:
        if name not in known:
            raise BenchError(f"--only {name}: there is no such row; --list names them all.")
    return set().union(*(known[name] for name in names))


def _keep(path: Path, report: Report) -> None:
    everything = {
        "about": report.about,
        "seconds": report.seconds,
        "figures": [table.as_json(result) for result in report.results],
        "failures": report.failures,
    }
    path.write_text(json.dumps(everything, indent=2) + "\n")


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def _main(options: argparse.Namespace) -> int:
    wanted = _wanted(options.only)
    if options.json and not options.json.absolute().parent.is_dir():
        raise BenchError(f"--json {options.json}: there is no directory {options.json.absolute().parent}.")
    require(sys.executable, "celery", "5.7")
    needed = frozenset().union(*(row.contestants for row in rows_of(wanted))) - set(options.skip)
    everyone = contestants(finder(options.upstream_python), needed)
    console = table.console()
    report = run(everyone, QUICK if options.quick else FULL, wanted, lambda line: print(line, file=sys.stderr))
    table.render(report.results, console)
    if options.json:
        _keep(options.json, report)
    for failure in report.failures:
        print(f"bench: {failure}", file=sys.stderr)
    return 1 if report.failures else 0


def main() -> int:
    """Parse, measure, print."""
    options = _parser().parse_args()
    if options.list:
        _list()
        return 0
    signal.signal(signal.SIGTERM, _end)
    try:
        return _main(options)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; everything it started has ended.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
