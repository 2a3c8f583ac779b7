#!/usr/bin/env python3
"""Debian hosts with systemd and SSH, as containers: `hosts.py up --inventory ../inventory/sample/ha --state DIR`.

Each host of the inventory becomes a container that is reached by SSH on a loopback port; DIR/inventory says how and
goes after the real inventory: `ansible-playbook -i INVENTORY -i DIR/inventory site.yml`. A host keeps its disk over
`docker kill` and `docker start`, which is how power fails and comes back.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
DISTROS = ("bookworm", "trixie")
LABEL = "relier.hosts"
USER = "admin"
OWN = "127.0.1.1"
# systemd needs to mount and to make control groups, and root to look into any process; nothing here is --privileged.
FLAGS = (
    "--cap-add=SYS_ADMIN",
    "--cap-add=NET_ADMIN",
    "--cap-add=SYS_PTRACE",
    "--security-opt=seccomp=unconfined",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--tmpfs=/run",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp:exec",
)
SSH = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=10"


class Refused(Exception):
    """A sentence for the person who called."""


def run(*argv: str, stdin: str | None = None) -> str:
    """What a command printed; its last words as a sentence when it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise Refused(f"{' '.join(argv[:2])} failed: {words[-1]}")
    return done.stdout


@dataclass(frozen=True)
class Fleet:
    """The hosts of one inventory. `state` is the folder with their key and how to reach them."""

    name: str
    state: Path
    distro: str = "trixie"

    @property
    def image(self) -> str:
        """Ours, unless HOST_IMAGE names another with systemd, Python, sudo and sshd."""
        return os.environ.get("HOST_IMAGE") or f"relier-host:{self.distro}"

    @property
    def connection(self) -> Path:
        return self.state / "inventory" / "connection.yml"

    @property
    def key(self) -> Path:
        return self.state / "key"

    def container(self, host: str) -> str:
        return f"{self.name}-{host}"

    def up(self, inventory: Path) -> dict[str, int]:
        """Start every host and wait until it answers. A fleet that is there is replaced."""
        hosts = hosts_of(inventory)
        self.down()
        self._prepare()
        ports, names = free_ports(len(hosts)), self._network(hosts)
        with ThreadPoolExecutor(len(hosts)) as pool:
            list(pool.map(self._start, hosts, ports, [names] * len(hosts)))
        placed = dict(zip(hosts, ports, strict=True))
        self.connection.write_text(connection_yaml(placed, self.key))
        return placed

    def _prepare(self) -> None:
        self.connection.parent.mkdir(parents=True, exist_ok=True)
        if not self.key.exists():
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(self.key))
        if "HOST_IMAGE" not in os.environ:
            dockerfile = (HERE / "Dockerfile").read_text()
            run(
                "docker", "build", "-q", "-t", self.image, "--build-arg", f"DISTRO={self.distro}", "-", stdin=dockerfile
            )

    def _network(self, hosts: Sequence[str]) -> dict[str, str]:
        """A network in a range that Docker finds free, named again so that each host may have a fixed address."""
        create = ("docker", "network", "create", "--label", f"{LABEL}={self.name}")
        run(*create, self.name)
        (found,) = json.loads(run("docker", "network", "inspect", self.name))
        subnet = ipaddress.ip_network(found["IPAM"]["Config"][0]["Subnet"])
        run("docker", "network", "rm", self.name)
        run(*create, f"--subnet={subnet}", self.name)
        return {host: str(subnet[10 + number]) for number, host in enumerate(hosts)}

    def _start(self, host: str, port: int, names: dict[str, str]) -> None:
        name = self.container(host)
        place = [f"--name={name}", f"--hostname={host}", f"--network={self.name}", f"--ip={names[host]}"]
        place += [f"--label={LABEL}={self.name}", f"--publish=127.0.0.1:{port}:22"]
        # A name that vanishes with its host would make each lookup wait for a resolver far away, and Sentinels with it.
        # A host's own is 127.0.1.1, as Debian writes it.
        place += [f"--add-host={other}:{address if other != host else OWN}" for other, address in names.items()]
        run("docker", "run", "--detach", *place, *FLAGS, self.image)
        key = Path(f"{self.key}.pub").read_text()
        home = f"/home/{USER}/.ssh/authorized_keys"
        write = f"cat >{home} && chown {USER}: {home} && chmod 600 {home}"
        run("docker", "exec", "--interactive", name, "sh", "-c", write, stdin=key)
        self.wait(host, port)

    def wait(self, host: str, port: int, patience: float = 60.0) -> None:
        """Until sshd greets and systemd has started everything."""
        until(lambda: greets(port), patience, f"{host} answers on 127.0.0.1:{port}")
        until(lambda: self.state_of(host) in ("running", "degraded"), patience, f"systemd of {host} has started")

    def state_of(self, host: str) -> str:
        """`running`, `degraded`, `starting`, …; empty when the host is off."""
        argv = ("docker", "exec", self.container(host), "systemctl", "is-system-running")
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()

    def down(self) -> None:
        """Remove the containers and the network of this fleet, and no others."""
        which = ("--filter", f"label={LABEL}={self.name}", "-q")
        if containers := run("docker", "ps", "-a", *which).split():
            run("docker", "rm", "--force", "--volumes", *containers)
        if networks := run("docker", "network", "ls", *which).split():
            run("docker", "network", "rm", *networks)
        self.connection.unlink(missing_ok=True)


def hosts_of(inventory: Path) -> list[str]:
    """The names in an inventory, as Ansible reads it."""
    if not inventory.exists():
        raise Refused(f"there is no inventory {inventory}.")
    tool = shutil.which("ansible-inventory") or str(Path(sys.executable).parent / "ansible-inventory")
    listed = json.loads(run(tool, "-i", str(inventory), "--list"))
    groups = (group for name, group in listed.items() if name != "_meta")
    if not (names := sorted({host for group in groups for host in group.get("hosts", ())})):
        raise Refused(f"{inventory} names no host.")
    return names


def free_ports(count: int) -> list[int]:
    """Loopback ports, fixed for the life of a host: Docker would choose others after each restart."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def greets(port: int) -> bool:
    """Docker's proxy accepts before sshd does, so the banner counts."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            return link.recv(4) == b"SSH-"
    except OSError:
        return False


def until(true: Callable[[], bool], patience: float, what: str) -> None:
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise Refused(f"not within {patience:g} s: {what}.")
        time.sleep(0.2)


def connection_yaml(placed: dict[str, int], key: Path) -> str:
    """An inventory that says only how each host is reached."""
    reach = {"ansible_host": "127.0.0.1", "ansible_user": USER, "ansible_ssh_private_key_file": str(key)}
    reach |= {"ansible_ssh_common_args": SSH, "ansible_python_interpreter": "/usr/bin/python3"}
    hosts = {host: {"ansible_port": port} for host, port in placed.items()}
    return json.dumps({"all": {"hosts": hosts, "vars": reach}}, indent=2) + "\n"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hosts.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("up", "down"))
    parser.add_argument("--inventory", type=Path, help="whose hosts to start")
    parser.add_argument("--state", type=Path, required=True, help="folder for the key and the inventory")
    parser.add_argument("--name", default="relier", help="begins the names of containers and is the network's")
    parser.add_argument("--distro", choices=DISTROS, default="trixie")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    asked = arguments(argv)
    fleet = Fleet(asked.name, asked.state, asked.distro)
    try:
        if asked.what == "down":
            return fleet.down()
        if not asked.inventory:
            raise Refused("say whose hosts to start: --inventory PATH.")
        for host, port in fleet.up(asked.inventory).items():
            print(f"{host:12} {asked.distro}  ssh -p {port} -i {fleet.key} {USER}@127.0.0.1")
    except (Refused, FileNotFoundError) as error:
        sys.exit(f"hosts.py: {error}")
    return None


if __name__ == "__main__":
    main()
