"""Processes as /proc shows them: who descends from whom, and who is still there."""

import os
import time
from pathlib import Path


def table():
    """pid -> (parent, start time, command line); a pid with its start time names one process for ever."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it ended while we looked
            continue
        if fields[0] not in ("Z", "X"):
            found[int(entry.name)] = (int(fields[1]), int(fields[19]), command)
    return found


def descendants(root):
    """{(pid, start time, command line)} of everything below `root`, without `root`."""
    now, family = table(), {root}
    while True:
        more = {pid for pid, (parent, _, _) in now.items() if parent in family} - family
        if not more:
            return {(pid, *now[pid][1:]) for pid in family - {root} if pid in now}
        family |= more


def alive(processes):
    now = table()
    return {p for p in processes if p[0] in now and now[p[0]][1] == p[1]}


def wait_gone(processes, seconds):
    deadline = time.monotonic() + seconds
    while left := alive(processes):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.1)
    return set()


def executable(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
