"""A client program of ours around a real SDK, one question at a time (see clients/)."""

import json
import os
import queue
import subprocess
import threading
from pathlib import Path

from . import peers


class ClientError(Exception):
    """The SDK raised: mostly a JSON-RPC error that the server answered."""


class Client:
    def __init__(self, report, name, target, log):
        self.report, self.name = report, name
        command = {
            "python-2": [peers.python(peers.MCP2), str(peers.HERE / "clients" / "python.py")],
            "python-1": [peers.python(peers.MCP1), str(peers.HERE / "clients" / "python.py")],
            "typescript": [str(peers.NODE), str(peers.NPM / "typescript.mjs")],
        }[name]
        report.note(f"$ {' '.join(command)} {json.dumps(target)}")
        self.log = log
        self.process = subprocess.Popen(
            [*command, json.dumps(target)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=open(log, "wb"),
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.lines = queue.Queue(maxsize=100)
        threading.Thread(target=self._read, daemon=True).start()
        self.hello = self._line(60)

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _line(self, seconds):
        try:
            line = self.lines.get(timeout=seconds)
        except queue.Empty:
            raise ClientError(f"the client said nothing for {seconds} s") from None
        if line is None:
            raise ClientError(f"the client ended; its last words: {self.last_words()}")
        self.report.note(f"{self.name} < {line.rstrip()[:2000]}")
        return json.loads(line)

    def last_words(self):
        text = Path(self.log).read_text(errors="replace").strip()
        return " | ".join(text.splitlines()[-4:])[-600:] or "none"

    def ask(self, op, **details):
        request = json.dumps({"op": op, **details})
        self.report.note(f"{self.name} > {request}")
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        answer = self._line(70)
        if "error" in answer:
            raise ClientError(answer["error"])
        return answer["value"]

    def close(self):
        self.process.stdin.close()
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise ClientError("the client did not end within 60 s of closing") from None
