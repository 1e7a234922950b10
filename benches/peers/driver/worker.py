"""A worker: the process of one peer with one number of threads, which is stopped whenever it is not its turn."""

import json
import os
import select
import signal
import subprocess

from peers import HOME, TARGET


class Failure(Exception):
    """Why a worker cannot take part."""


class Worker:
    def __init__(self, peer, threads, cores, patience):
        self.peer, self.patience = peer, patience
        self.log = TARGET / "logs" / f"{peer.name}.{threads}"
        self.log.parent.mkdir(exist_ok=True)
        command = ["taskset", "-c", ",".join(cores[:threads]), *peer.command(threads)]
        self.process = subprocess.Popen(
            [str(word) for word in command],
            cwd=HOME,
            env=peer.variables(threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
            start_new_session=True,
        )
        self.version = self.answer(patience).get("version", "")
        self.signal(signal.SIGSTOP)

    def ask(self, *words, seconds=0):
        """Wakes the worker, waits for its answer and stops it again."""
        self.signal(signal.SIGCONT)
        try:
            print(*words, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass
        answer = self.answer(self.patience + seconds)
        self.signal(signal.SIGSTOP)
        return answer

    def answer(self, seconds):
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.end()
            raise Failure(f"no answer within {seconds:.0f} s")
        line = self.process.stdout.readline()
        if not line:
            self.end()
            words = self.log.read_text(errors="replace").strip()
            raise Failure(f"ended ({self.process.returncode}): {words.splitlines()[-1] if words else 'silently'}")
        try:
            return dict(json.loads(line))
        except (TypeError, ValueError):
            self.end()
            raise Failure(f"answered {line.strip()!r}") from None

    def signal(self, number):
        """To all its threads and children."""
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def end(self):
        self.signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
