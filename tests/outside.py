"""Runs a program and finds its name lookups, its connections and its files in HOME."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SIOCGIFADDR = 0x8915
# What each Python process of the program does first: it notes every name that is looked up and
# every address that is sent to, and forbids the look-up.
GUARD = """
import os, sys
def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex"):
        host = arguments[0]
        if host not in (None, "", "localhost", "127.0.0.1", "0.0.0.0", "::1", "::"):
            note(f"looks up {host}")
            raise OSError(f"no look-up of {host} in this test")
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "::1")):
            note(f"sends to {address[0]}")
def note(text):
    with open(os.environ["OUTSIDE_LOG"], "a") as log:
        log.write(text + "\\n")
sys.addaudithook(watch)
"""


@dataclass
class Seen:
    """What a program did.

    Attributes:
        outside: names looked up and addresses sent to that are not of this machine.
        home: files and folders in its HOME, relative, two levels deep.
        done: the process, with its output.
    """

    outside: set[str]
    home: set[str]
    done: subprocess.CompletedProcess[str]


def watched(
    command: list[str], folder: Path, timeout_s: float = 300.0, **environment: str
) -> Seen:
    """Runs a program with an empty HOME, under strace too where that works.

    Args:
        command: what to run.
        folder: for the files of this.
        timeout_s: how long it may take.
        environment: its variables that are others than here.
    """
    home, log, trace = folder / 'home', folder / 'outside.log', folder / 'strace.log'
    home.mkdir()
    (folder / 'guard').mkdir()
    (folder / 'guard/sitecustomize.py').write_text(GUARD)
    paths = [str(folder / 'guard'), *filter(None, sys.path)]
    done = subprocess.run(
        [*_strace(trace), *command],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={
            **_without_caches(),
            'HOME': str(home),
            'OUTSIDE_LOG': str(log),
            'PYTHONPATH': os.pathsep.join(paths),
            **environment,
        },
    )
    outside = set(log.read_text().splitlines()) if log.exists() else set()
    if trace.exists():
        outside |= _sent_to(trace.read_text(errors='replace'))
    found = {str(path.relative_to(home)) for depth in ('*', '*/*') for path in home.glob(depth)}
    return Seen(outside, found, done)


def _without_caches() -> dict[str, str]:
    """The environment of a user: no cache variable, no telemetry switch."""
    ours = ('DECOMR_CACHE', 'XDG_CACHE_HOME', 'ORT_DISABLE_TELEMETRY', 'CI')
    return {name: value for name, value in os.environ.items() if name not in ours}


def _strace(log: Path) -> list[str]:
    """The command prefix that traces what a command and its children send."""
    words = [
        'strace',
        '-f',
        '--seccomp-bpf',
        '-qq',
        '-e',
        'trace=connect,sendto,sendmsg,sendmmsg',
        '-o',
    ]
    if (
        not shutil.which('strace')
        or subprocess.run([*words, os.devnull, 'true'], capture_output=True).returncode
    ):
        return []
    return [*words, str(log)]


def _sent_to(trace: str) -> set[str]:
    """Addresses in a trace that are neither of this machine nor of a multicast group.

    ROS 2 announces its nodes to multicast groups, which no router passes on.
    """
    found = set(re.findall(r'inet_addr\("([^"]+)"\)', trace))
    found |= set(re.findall(r'inet_pton\(AF_INET6, "([^"]+)"', trace))
    addresses = {ipaddress.ip_address(text) for text in found}
    own = _own_addresses()
    return {
        f'sends to {address}'
        for address in addresses
        if not (address.is_loopback or address.is_multicast or address in own)
    }


def _own_addresses() -> set[ipaddress.IPv4Address]:
    """The IPv4 addresses of this machine's interfaces."""
    own = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(asking, SIOCGIFADDR, struct.pack('256s', name.encode()[:15]))
            except OSError:
                continue
            own.add(ipaddress.IPv4Address(answer[20:24]))
    return own
