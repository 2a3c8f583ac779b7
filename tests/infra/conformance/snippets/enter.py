"""Runs a command as a service's own process would: its variables, user, directory, PATH. Arguments: pid, command.

Started in the process's mount namespace, so that it sees the same files; only the standard library is there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def main(pid: str, *argv: str) -> None:
    proc = Path("/proc") / pid
    pairs = (entry.split("=", 1) for entry in (proc / "environ").read_text().split("\0") if "=" in entry)
    env: dict[str, str] = {pair[0]: pair[1] for pair in pairs}
    status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
    words = (proc / "cmdline").read_text().split("\0")
    programs = [str(Path(word).parent) for word in words if word.endswith(("/celery", "/rl", "/python3", "/python"))]
    standard = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    env["PATH"] = ":".join([*programs, env.get("PATH", standard)])
    os.chdir((proc / "cwd").readlink())
    os.setgroups([int(group) for group in status["Groups"].split()])
    os.setgid(int(status["Gid"].split()[0]))
    os.setuid(int(status["Uid"].split()[0]))
    os.environ["PATH"] = env["PATH"]  # where execvpe looks
    os.execvpe(argv[0], list(argv), env)  # noqa: S606  no shell is wanted


main(*sys.argv[1:])
