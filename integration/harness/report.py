"""One line a check on the terminal, everything that was said and answered in the transcript."""

import sys
import time

PASSED, FAILED, SKIPPED = "ok", "FAIL", "SKIPPED"


class Report:
    def __init__(self, transcript):
        transcript.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(transcript, "w", encoding="utf-8")
        self.counts = {PASSED: 0, FAILED: 0, SKIPPED: 0}
        self.failures = []
        self.start = time.monotonic()

    def note(self, text):
        """Into the transcript only."""
        self.file.write(text + "\n")
        self.file.flush()

    def say(self, text):
        print(text, flush=True)
        self.note(text)

    def _line(self, kind, what, detail):
        self.counts[kind] += 1
        self.say(f"{kind:<7} {what}" + (f": {detail}" if detail else ""))

    def ok(self, what, detail=""):
        self._line(PASSED, what, detail)

    def fail(self, what, detail):
        self._line(FAILED, what, detail)
        self.failures.append(f"{what}: {detail}")

    def skip(self, what, why):
        self._line(SKIPPED, what, why)

    def check(self, what, perform):
        """Runs `perform`; what it returns is the detail, an exception is the failure. True when it passed."""
        try:
            detail = perform()
        except Exception as error:  # any way to fail is a failed check, and the next one still runs
            self.fail(what, f"{type(error).__name__}: {error}" if not isinstance(error, AssertionError) else str(error))
            return False
        self.ok(what, detail or "")
        return True

    def finish(self):
        self.say(f"\ntook {time.monotonic() - self.start:.0f} s")
        for failure in self.failures:
            self.say(f"FAILED  {failure}")
        self.say(f"{self.counts[PASSED]} passed, {self.counts[FAILED]} failed, {self.counts[SKIPPED]} skipped")
        sys.stdout.flush()
        return 1 if self.counts[FAILED] or not self.counts[PASSED] else 0
