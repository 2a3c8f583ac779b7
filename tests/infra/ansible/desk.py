"""An operator's desk without hosts: a copy of a sample inventory whose hosts are this machine, and secrets to lose."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.infra.ansible.play import KIT, Run, playbook

SAMPLES = KIT / "inventory" / "sample"
SECRETS = ("redis_password", "sentinel_password", "admin_password", "secret_key")
# Nothing may be changed on this machine: what gets past the refusals ends at once.
HERE = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": "/usr/bin/python3"}


class Desk:
    """A sample inventory in a folder of its own. `hosts` is its YAML, to be broken before `play`."""

    def __init__(self, folder: Path, sample: str = "ha") -> None:
        self.folder = folder / sample
        shutil.copytree(SAMPLES / sample, self.folder)
        self.hosts: dict[str, Any] = yaml.safe_load((self.folder / "hosts.yml").read_text())
        self.secrets = self.folder / "group_vars" / "relier" / "secrets"
        self.secrets.mkdir(exist_ok=True)
        for name in SECRETS:
            (self.secrets / f"{name}.txt").write_text(f"{name}-of-this-test\n")

    @property
    def groups(self) -> dict[str, Any]:
        groups: dict[str, Any] = self.hosts["relier"]["children"]
        return groups

    def play(self, name: str, *arguments: str, **variables: Any) -> Run:
        """Run a playbook on this desk as it is now."""
        self.hosts["relier"]["vars"] = HERE
        (self.folder / "hosts.yml").write_text(yaml.safe_dump(self.hosts))
        extra = ("-e", json.dumps(variables)) if variables else ()
        return playbook(name, "-i", str(self.folder / "hosts.yml"), *arguments, *extra, timeout=300)


def refusal(run: Run) -> str:
    """The one sentence of a run that changed nothing, whichever hosts say it."""
    assert run.code != 0, run.text[-3000:]
    assert not run.changed
    assert "Traceback" not in run.text
    sentences = sorted({re.sub(r"^(redis|worker)-\d", "HOST", said) for said in run.failures})
    assert len(sentences) == 1, sentences
    return " ".join(sentences[0].split())
