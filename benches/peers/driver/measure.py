"""Measures: for each shape round after round through all peers, and what is not right is left out."""

import argparse
import datetime
import itertools
import json
import re
import shlex
import statistics
import subprocess
import sys
from typing import NamedTuple

import shapes
from cells import CELLS
from peers import HOME, TARGET, chosen, locked_version, outside
from worker import Failure, Worker

# The largest difference from the reference, relative to the largest entry.
TOLERANCE = 1e-4

# Modes that have no threads to share.
SERIAL = ("step", "stream", "pack")


def command(words):
    """What measures the same again: where the record went is no part of it."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--record")
    _, others = parser.parse_known_args(words)
    return shlex.join(["benches/peers/run", *others])


class Setting(NamedTuple):
    """What peers are compared at."""

    cell: str
    mode: str
    threads: int
    shape: shapes.Shape


class Measurement:
    def __init__(self, settings):
        self.settings = settings
        self.cells = settings.cells.split(",")
        for cell in self.cells:
            if cell not in CELLS:
                raise SystemExit(f"there is no cell {cell}; there are {', '.join(CELLS)}")
        peers = chosen(settings.peers and settings.peers.split(","))
        peers += map(outside, settings.worker)
        self.peers = [peer for peer in peers if peer.is_installed()]
        for peer in set(peers) - set(self.peers):
            print(f"{peer.name} is not installed")
        self.workers = {}
        self.record = {
            "schema": 1,
            "date": datetime.date.today().isoformat(),
            "machine": machine(),
            "quadgate": described_commit(),
            "command": command(sys.argv[1:]),
            "rounds": settings.rounds,
            "turn_ms": settings.turn_ms,
            "versions": {},
            "results": [],
            "left_out": [],
        }
        slug = re.sub(r"[^a-z0-9]+", "-", self.record["machine"]["cpu"].lower()).strip("-")
        cells = "" if settings.cells == "lstm" else "-" + "-".join(self.cells)
        self.path = settings.record or HOME / "record" / f"{self.record['date']}-{slug}{cells}.json"

    def run(self):
        modes = self.settings.modes.split(",")
        for threads in map(int, self.settings.threads.split(",")):
            try:
                for cell, mode in itertools.product(self.cells, modes):
                    if mode in SERIAL and threads > 1:
                        continue
                    for shape in shapes.parse(self.settings.shapes, mode):
                        self.measure(Setting(cell, mode, threads, shape))
                        self.save()
            finally:
                for worker in self.workers.values():
                    worker.end()
                self.workers.clear()
        print(f"written to {self.path}")

    def measure(self, setting):
        print("{}, {}, threads {}, shape {}".format(*setting), flush=True)
        admitted = {}
        for peer in self.peers:
            if setting.mode not in peer.modes or setting.cell not in peer.cells:
                continue
            try:
                admitted[peer] = self.admit(peer, setting)
            except Failure as failure:
                self.leave_out(peer, setting, str(failure))
        answers = {peer: [] for peer in admitted}
        for turn in range(self.settings.rounds):
            for peer in rotated(list(admitted), turn):
                if self.is_hopeless(answers, peer):
                    continue
                try:
                    answers[peer].append(self.turn(peer))
                except Failure as failure:
                    self.leave_out(peer, setting, str(failure))
                    del admitted[peer], answers[peer], self.workers[peer]
        for peer, error in admitted.items():
            self.keep(peer, setting, error, answers[peer])

    def admit(self, peer, setting):
        """Loads the case and returns by how much the peer's answer is off."""
        import numpy
        import reference

        cell, mode, threads, shape = setting
        folder = reference.prepare(cell, shape, mode)
        wanted = reference.expected(folder, cell, shape, mode) if mode != "pack" else None
        try:
            if peer not in self.workers:
                cores = self.settings.cores.split(",")
                self.workers[peer] = Worker(peer, threads, cores, self.settings.patience)
            worker = self.workers[peer]
            is_locked = peer.kind == "rust" and not worker.version
            self.record["versions"][peer.name] = locked_version(peer.family) if is_locked else worker.version
            # Relative to the worker's directory: a path with a space would be two words.
            worker.ask("load", mode, *shape, folder.relative_to(HOME), cell)
            found = TARGET / "cases" / f"{peer.name}.f32"
            # Twice in training: gradients must not add up.
            for _ in range(2 if mode == "train" else 1):
                worker.ask("write", found.relative_to(HOME))
        except Failure:
            self.workers.pop(peer, None)
            raise
        if mode == "pack":
            return 0.0
        error = reference.disagreement(numpy.fromfile(found, numpy.float32), wanted, cell, shape, mode)
        found.unlink()
        if error > TOLERANCE:
            raise Failure(f"disagrees with the reference by {error:.1e}")
        return error

    def turn(self, peer):
        return self.workers[peer].ask("run", self.settings.turn_ms, seconds=self.settings.turn_ms / 1e3)

    def is_hopeless(self, answers, peer):
        """Whether one turn said enough: calls that outlast a turn, and another peer five times as fast."""
        if not answers[peer]:
            return False
        best = {peer: min(answer["min_ns"] for answer in answers[peer]) for peer in answers if answers[peer]}
        return best[peer] > max(self.settings.turn_ms * 1e6, 5 * min(best.values()))

    def keep(self, peer, setting, error, answers):
        cell, mode, _, shape = setting
        least = min(answer["min_ns"] for answer in answers)
        # The operations are those of one call.
        flops = shapes.of_call(shape, mode).flops(mode, CELLS[cell].gates)
        median = statistics.median(answer["median_ns"] for answer in answers)
        result = {
            **setting._asdict(),
            "peer": peer.name,
            "family": peer.family,
            "min_ms": least / 1e6,
            "median_ms": median / 1e6,
            "gflops": None if mode == "pack" else round(flops / least, 3),
            "error": float(f"{error:.2g}"),
        }
        if mode == "step":
            result["p50_ns"] = median
            result["p99_ns"] = statistics.median(answer["p99_ns"] for answer in answers)
        self.record["results"].append(result)
        speed = "" if mode == "pack" else f"{result['gflops']:8.1f} GFLOP/s"
        print(f"  {peer.name:18}{least / 1e6:12.5f} ms, median {median / 1e6:12.5f} ms{speed}", flush=True)

    def leave_out(self, peer, setting, reason):
        print(f"  {peer.name:18}left out: {reason}", flush=True)
        self.record["left_out"].append({**setting._asdict(), "peer": peer.name, "reason": reason})

    def save(self):
        # A result is a line.
        text = json.dumps(self.record, indent=1)
        text = re.sub(r"\n {3,}|\n {2}(?=[\]}])", " ", text)
        self.path.parent.mkdir(exist_ok=True)
        self.path.write_text(text + "\n")


def rotated(items, by):
    by %= max(len(items), 1)
    return items[by:] + items[:by]


def machine():
    with open("/proc/cpuinfo") as file:
        lines = dict(line.split(":", 1) for line in file if ":" in line)
    lines = {name.strip(): value.strip() for name, value in lines.items()}
    cores = subprocess.run(["nproc", "--all"], capture_output=True, text=True).stdout
    model = " ".join(lines.get(name, "?") for name in ["cpu family", "model"])
    return {"cpu": lines.get("model name", "unknown"), "family_and_model": model, "cores": int(cores)}


def described_commit():
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, cwd=HOME, capture_output=True, text=True).stdout.strip()
