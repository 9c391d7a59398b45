"""Installs the real servers and clients below target/integration: two Python environments and one folder of npm
packages, which brings its own Node. A second run finds them by the contents of the files that list them."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
TARGET = HERE.parent / "target" / "integration"
NPM, MCP1, MCP2 = TARGET / "npm", TARGET / "mcp1", TARGET / "mcp2"
NODE_MODULES = NPM / "node_modules"
NODE = NODE_MODULES / ".bin" / "node"
SCOPE = NODE_MODULES / "@modelcontextprotocol"


def module(package, script="dist/index.js"):
    return [str(NODE), str(SCOPE / package / script)]


def python(environment):
    return str(environment / "bin" / "python")


def run(report, *command, cwd=None):
    report.note("$ " + " ".join(map(str, command)))
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600)
    report.note((done.stdout + done.stderr).strip()[-4000:])
    if done.returncode:
        last = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()][-1:] or ["no output"]
        raise RuntimeError(f"`{Path(command[0]).name}` ended with {done.returncode}: {last[0]}")


def install_npm(report):
    NPM.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "package.json", NPM)
    npm = shutil.which("npm") or "npm"
    run(report, npm, "install", "--no-audit", "--no-fund", "--no-package-lock", cwd=NPM)


def install_python(environment):
    def install(report):
        run(report, sys.executable, "-m", "venv", "--clear", str(environment))
        pip = [python(environment), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(report, *pip, "-r", str(HERE / f"requirements-{environment.name}.txt"))

    return install


def ensure(report):
    """What is there afterwards: a subset of {"npm", "mcp1", "mcp2"}. What is missing was counted as skipped."""
    there = set()
    for name, listing, install in [
        ("npm", "package.json", install_npm),
        ("mcp1", "requirements-mcp1.txt", install_python(MCP1)),
        ("mcp2", "requirements-mcp2.txt", install_python(MCP2)),
    ]:
        text = (HERE / listing).read_bytes()
        stamp, digest = TARGET / f"{name}.installed", hashlib.sha256(text).hexdigest()
        start = time.monotonic()
        try:
            if not stamp.exists() or stamp.read_text() != digest:
                install(report)
                stamp.write_text(digest)
            there.add(name)
            report.say(f"== {name}: {', '.join(versions(listing, text.decode()))} ({time.monotonic() - start:.0f} s)")
        except (OSError, RuntimeError, subprocess.TimeoutExpired) as error:
            report.skip(f"everything that needs {listing}", str(error))
    if "npm" in there:  # an ES module finds its packages from where it lies
        for script in [*(HERE / "clients").glob("*.mjs"), *(HERE / "servers").glob("matrix*.mjs")]:
            shutil.copy(script, NPM)
    os.environ["PATH"] = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    return there


def versions(listing, text):
    if listing.endswith(".txt"):
        return [line.replace("==", " ") for line in text.split()]
    import json

    return [f"{name.split('/')[-1]} {version}" for name, version in json.loads(text)["dependencies"].items()]
