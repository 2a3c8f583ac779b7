"""`python -m infra.topology check|plan|emit|schema STACK`: what a stack means, and whether it may."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from infra.topology import emit, load, shape
from infra.topology.load import Refused
from infra.topology.model import Topology
from infra.topology.plan import plan_of
from infra.topology.rules import RULES
from relier.cli.output import table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 is good, 1 a refused stack, 2 a command line that is not understood."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except Refused as refusal:
        _refused(refusal, options)
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.topology", description="One typed topology for every tier.")
    commands = parser.add_subparsers(required=True, metavar="check|plan|emit|schema")
    check = _command(commands, "check", _check, "say whether a stack keeps every rule")
    check.add_argument("stack", metavar="STACK", help=_STACK)
    plan = _command(commands, "plan", _plan, "show what a stack runs")
    plan.add_argument("stack", metavar="STACK", help=_STACK)
    plan.add_argument("other", metavar="B", nargs="?", help="with --diff: the other stack")
    plan.add_argument("--diff", action="store_true", help="show the differences between two stacks")
    made = _command(commands, "emit", _emit, "write what others read")
    made.add_argument("stack", metavar="STACK", help=_STACK)
    made.add_argument("file", metavar="FILE", nargs="?", help="print only this one")
    places = made.add_mutually_exclusive_group()
    places.add_argument("--to", metavar="DIR", type=Path, help="write all files below this folder")
    places.add_argument("--into", metavar="DIR", type=Path, help="write Ansible's variables into this inventory alone")
    schema = _command(commands, "schema", _schema, "print the JSON schema of a stack")
    schema.add_argument("stack", metavar="STACK", nargs="?", help="any stack: the schema is the same")
    return parser


_STACK = "a name in infra/topology/stacks, or a path"


def _command(commands: Any, name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def _say(data: Any, text: str, options: argparse.Namespace) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False) if options.json else text)


def _refused(refusal: Refused, options: argparse.Namespace) -> None:
    stack = getattr(options, "stack", None)
    if options.json:
        found = [{"path": f.path, "value": f.value, "sentence": f.sentence} for f in refusal.findings]
        print(json.dumps({"stack": stack, "ok": False, "findings": found}, indent=2, ensure_ascii=False))
    else:
        print(refusal, file=sys.stderr)


def _check(options: argparse.Namespace) -> int:
    topology = load.read(options.stack)
    plan = plan_of(topology)
    notes = _notes(topology)
    text = f"{options.stack} keeps all {len(RULES)} rules.\n{shape.summary(plan)}" + "".join(f"\n{n}" for n in notes)
    found = {"stack": options.stack, "ok": True, "findings": [], "rules": len(RULES), "notes": notes}
    _say(found, text, options)
    return 0


def _notes(topology: Topology) -> list[str]:
    """What is allowed and yet worth a word."""
    if topology.tier not in ("prod", "k8s") or topology.require_digests:
        return []
    return ["Note: images are named by tag; require_digests: true refuses all that have no digest."]


def _plan(options: argparse.Namespace) -> int:
    if bool(options.other) != options.diff:
        raise load.refuse("plan", "plan shows one stack; write plan --diff A B to compare two.")
    return _diff(options) if options.diff else _show(options)


def _show(options: argparse.Namespace) -> int:
    plan = plan_of(load.read(options.stack))
    columns, rows = shape.workload_table(plan)
    _say(shape.plain(plan), f"{table(columns, rows)}\n\n{shape.summary(plan)}", options)
    return 0


def _diff(options: argparse.Namespace) -> int:
    left, right = (plan_of(load.read(name)) for name in (options.stack, options.other))
    found = shape.differences(left, right, options.stack, options.other)
    nothing = f"{options.stack} and {options.other} plan the same."
    _say({"left": options.stack, "right": options.other, "differences": found}, "\n".join(found) or nothing, options)
    return 0


def _emit(options: argparse.Namespace) -> int:
    topology = load.read(options.stack)
    if options.into:
        return _write_into(topology, options)
    made = emit.files(topology, options.stack)
    if options.to:
        return _write(made, options.to, options)
    if options.file and options.file not in made:
        raise load.refuse("emit", f"{options.stack} emits no {options.file}; it emits {', '.join(made)}.")
    if options.file:
        print(made[options.file], end="")
    else:
        rows = [(path, len(text.encode())) for path, text in made.items()]
        _say(made, table(("File", "Bytes"), rows), options)
    return 0


def _write_into(topology: Topology, options: argparse.Namespace) -> int:
    if topology.tier != "bare":
        raise load.refuse("emit", f"{options.stack} is of tier {topology.tier}; only tier bare has an inventory.")
    if not options.into.is_dir():
        raise load.refuse(
            "emit", f"{options.into} is no folder; copy one of infra/ansible/inventory/sample there first."
        )
    return _write(emit.inventory(topology, options.stack, str(options.into)), options.into, options)


def _write(made: dict[str, str], folder: Path, options: argparse.Namespace) -> int:
    written = [path for path, text in made.items() if _update(folder / path, text)]
    same = [path for path in made if path not in written]
    text = "\n".join([*(f"wrote {path}" for path in written), *(f"unchanged {path}" for path in same)])
    _say({"written": written, "unchanged": same}, text, options)
    return 0


def _update(path: Path, text: str) -> bool:
    """Write a file unless it is so already."""
    try:
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise load.refuse(str(path), f"{path} cannot be written ({reason}); name another folder with --to.") from None
    return True


def _schema(options: argparse.Namespace) -> int:
    if options.stack:
        load.find(options.stack)
    print(emit.schema(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
