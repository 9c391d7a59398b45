"""The official conformance suite: where it is, how one run of it is read, and what is expected to fail."""

import hashlib
import json
import re
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path

from . import peers

FOLDER = peers.HERE / "suite"
HOME = peers.TARGET / "suite"
# Each line of the suite, the revision it runs at, and what `server` is told for it.
RUNS = {
    "0.1.16": ("conformance-0.1", []),
    "2025-11-25": ("conformance", ["--requirements", "2025-11-25"]),
    "2026-07-28": ("conformance", ["--requirements", "2026-07-28"]),
}
FINE = {"SUCCESS", "INFO", "SKIPPED"}


def install():
    text = (FOLDER / "package.json").read_bytes()
    stamp, digest = HOME / "installed", hashlib.sha256(text).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    HOME.mkdir(parents=True, exist_ok=True)
    (HOME / "package.json").write_bytes(text)
    npm = [shutil.which("npm") or "npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(npm, cwd=HOME, check=True, stdout=subprocess.DEVNULL)
    stamp.write_text(digest)


def command(package, *arguments):
    return [str(peers.NODE), str(HOME / "node_modules" / package / "dist" / "index.js"), *arguments]


def server(url, run):
    """All that one run of the suite says about the server at `url`: {(scenario, check): (status, message)}, each at its worst."""
    package, arguments = RUNS[run]
    with tempfile.TemporaryDirectory() as folder:
        line = command(package, "server", "--url", url, *arguments, "-o", folder)
        done = subprocess.run(line, capture_output=True, text=True, timeout=300)
        found = {}
        for path in Path(folder).glob("**/checks.json"):
            scenario = re.fullmatch(r"server-(.*?)-\d{4}-\d\d-\d\dT[\dZ-]+", path.parent.name).group(1)
            for check in json.loads(path.read_text()):
                key = scenario, check["id"]
                if found.get(key, ("SUCCESS",))[0] in FINE:
                    found[key] = check["status"], check.get("errorMessage") or ""
    if not found:
        raise RuntimeError(f"the suite said nothing: {(done.stdout + done.stderr)[-2000:]}")
    return found


def bad(found):
    return {key: said for key, said in found.items() if said[0] not in FINE}


class Expected:
    """`expected.toml`: what fails, where, and why. Strict both ways."""

    def __init__(self):
        self.entries = tomllib.loads((FOLDER / "expected.toml").read_text()).get("expected", [])
        for entry in self.entries:
            assert entry.keys() <= {"upstream", "transport", "client", "checks", "reason"} and entry["reason"] and entry["checks"], entry

    def of(self, upstream, transport, client):
        """The checks that have to fail in one cell, as `scenario:check`."""
        here = {"upstream": upstream, "transport": transport, "client": client}
        fits = [entry for entry in self.entries if all(entry.get(key, value) == value for key, value in here.items())]
        return {check for entry in fits for check in entry["checks"]}

    def judge(self, found, *cell):
        """(lines to print, how many are not as expected)"""
        lines, wrong, names = [], 0, self.of(*cell)
        failed = {":".join(key): said for key, said in bad(found).items()}
        for name, (status, message) in sorted(failed.items()):
            if name in names:
                continue
            wrong += 1
            lines.append(f"     {status} {name}: {message[:300]}")
        ran = {":".join(key) for key in found}
        for name in sorted(names & ran - set(failed)):
            wrong += 1
            lines.append(f"     PASSES, and expected.toml says that it fails: {name}")
        for name in sorted(names - ran):
            wrong += 1
            lines.append(f"     DID NOT RUN, and expected.toml names it: {name}")
        return lines, wrong
