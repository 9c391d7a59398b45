"""The gateway under test: its configuration over the real servers, the process, its admin HTTP."""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from . import peers, processes

BINARY = os.environ.get("HANGAR_BIN", str(peers.HERE.parent / "target" / "release" / "hangar"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_listening(port, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


class Config:
    """A YAML file that a test edits as a person would: whole, under its own name."""

    def __init__(self, folder, installed, remote, watched):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.folder, self.watched = folder / "config.yaml", folder, watched
        self.providers = {"math": {"command": [BINARY, "demo-server", "math"]}}
        files = folder / "files"
        files.mkdir(exist_ok=True)
        (files / "hello.txt").write_text("hällo from a real file\n")
        repository = folder / "repository"
        if not repository.exists():
            self._commit_to(repository)
        if "npm" in installed:
            self.providers |= {
                "everything": {"command": peers.module("server-everything")},
                "files": {"command": [*peers.module("server-filesystem"), str(files)]},
                "memory": {
                    "command": peers.module("server-memory"),
                    "env": {"MEMORY_FILE_PATH": str(folder / "memory.jsonl")},
                },
                "remote": {"mode": "remote", "endpoint": remote},
            }
        if "mcp1" in installed:
            self.providers |= {
                "time": {"command": [peers.python(peers.MCP1), "-m", "mcp_server_time", "--local-timezone", "UTC"]},
                "git": {"command": [peers.python(peers.MCP1), "-m", "mcp_server_git"]},
            }
        if "mcp2" in installed:
            self.providers["time2"] = {
                "command": [peers.python(peers.MCP2), "-m", "mcp_server_time", "--local-timezone", "UTC"]
            }
        self.repository, self.files = repository, files
        self.write()

    @staticmethod
    def _commit_to(repository):
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(repository)]
        repository.mkdir()
        for arguments in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a commit to be found"]):
            subprocess.run([*git, *arguments], check=True)

    def write(self, extra=None, broken=False):
        lines = ["providers:"]
        for name, spec in (self.providers | (extra or {})).items():
            lines += [f"  {name}:"] + [f"    {key}: {json.dumps(value)}" for key, value in spec.items()]
        if broken:
            lines.append("  math: {comand: [oops]}")
        lines += ["config_reload:", f"  enabled: {json.dumps(self.watched)}"]
        self.path.write_text("\n".join(lines) + "\n")

    def environment(self):
        """Everything that the gateway would put into a home lies in the test's folder."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "MCP_CONFIG": str(self.path),
        }


class HttpGateway:
    def __init__(self, report, config):
        self.report, self.config, self.port = report, config, free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.url = f"{self.base}/mcp"
        (config.folder / "run").mkdir(exist_ok=True)
        self.log = config.folder / "gateway.log"
        command = [BINARY, "serve", "--http", "--port", str(self.port), "--config", str(config.path)]
        report.note("$ " + " ".join(command))
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT,
            env=config.environment(),
        )
        self._wait_ready()

    def _wait_ready(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                status, _ = self.request("/health/ready")
                if status == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        words = " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])
        self.stop()
        raise RuntimeError(f"the gateway is not ready (exit {self.process.poll()}): {words[-800:]}")

    def request(self, path, body=None):
        """(status, text); an HTTP error is an answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, text = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        if body is not None:
            self.report.note(f"POST {path} {json.dumps(body)} -> {status} {text[:2000]}")
        return status, text

    def command(self, *arguments):
        """`hangar ARGUMENTS` beside the running gateway: (exit code, stdout and what follows on stderr)."""
        env = self.config.environment()
        done = subprocess.run([BINARY, *arguments], env=env, capture_output=True, text=True, timeout=60)
        self.report.note(f"$ hangar {' '.join(arguments)} -> {done.returncode} {done.stdout[:2000]} {done.stderr[:1000]}")
        return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def stop(self):
        """SIGTERM; (exit code, seconds, what it left behind)."""
        family = processes.descendants(self.process.pid)
        start = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(50)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return code, time.monotonic() - start, processes.wait_gone(family, 10)
