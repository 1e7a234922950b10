"""Tables of a record in Markdown."""

import json
import math
from collections import defaultdict

from cells import CELLS
from shapes import Shape

# Family names as they are written, in the order of the columns.
FAMILIES = {
    "onednn": "oneDNN",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "torch": "PyTorch",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "rten": "rten",
    "tract": "tract",
    "candle": "candle",
    "burn": "burn",
    "nam": "nam-rs",
}
RUST = ("rten", "tract", "candle", "burn", "nam")


class Row:
    """quadgate and its peers at one shape. A ratio is a peer's time divided by quadgate's."""

    def __init__(self, shape, results, time):
        self.shape = shape
        # A family is as fast as the fastest of its members.
        self.families = {}
        for result in sorted(results, key=lambda result: -result[time]):
            self.families[result["family"]] = result
        self.own = self.families.pop("quadgate", None)
        self.ratios = {}
        if self.own and self.families:
            self.ratios = {name: result[time] / self.own[time] for name, result in self.families.items()}
            self.best = min(self.ratios, key=self.ratios.get)
            rust = [self.ratios[name] for name in RUST if name in self.ratios]
            self.ratios |= {"best": self.ratios[self.best]} | ({"rust": min(rust)} if rust else {})


def load(path):
    """A record, older ones of the LSTM alone in the form of today's."""
    record = json.loads(path.read_text())
    for entry in record["results"] + record["left_out"]:
        entry.setdefault("cell", "lstm")
    return record


def rows_of(record, cell, mode, threads):
    """Of one cell, mode and number of threads, quadgate's weakest shapes first; steps by size."""
    shapes = defaultdict(list)
    for result in record["results"]:
        if (result["cell"], result["mode"], result["threads"]) == (cell, mode, threads):
            shapes[Shape(*result["shape"])].append(result)
    time = "p50_ns" if mode == "step" else "min_ms"
    rows = [Row(shape, results, time) for shape, results in shapes.items()]
    key = (lambda row: row.shape) if mode == "step" else (lambda row: row.ratios["best"])
    return sorted((row for row in rows if row.ratios), key=key)


def settings_of(record):
    """Cells, modes and numbers of threads."""
    names = ("cell", "mode", "threads")
    timed = (result for result in record["results"] if result["mode"] != "pack")
    return list(dict.fromkeys(tuple(result[name] for name in names) for result in timed))


def prefix(cell):
    """Of a heading: where it says nothing it means the LSTM."""
    return "" if cell == "lstm" else f"{CELLS[cell].title}: "


def mean(rows, name):
    logarithms = [math.log(row.ratios[name]) for row in rows if name in row.ratios]
    return math.exp(sum(logarithms) / len(logarithms)) if logarithms else None


def columns_of(rows):
    """The families of some rows, first those that are known."""
    found = dict.fromkeys(name for row in rows for name in row.families)
    return [name for name in FAMILIES if name in found] + [name for name in found if name not in FAMILIES]


def number(value, form="{:.2f}"):
    return "—" if value is None else form.format(value)


def markdown(head, lines):
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main_table(rows):
    columns = columns_of(rows)
    columns += ["rust"] if any("rust" in row.ratios for row in rows) else []
    names = FAMILIES | {"rust": "best in Rust"}
    head = ["T, B, X, H", "quadgate", "best peer", "ratio", *(names.get(name, name) for name in columns)]
    lines = []
    for row in rows:
        best = row.families[row.best]
        lines.append([
            str(row.shape), number(row.own["gflops"], "{:.1f}"), f"{best['peer']} {best['gflops']:.1f}",
            f"**{row.ratios['best']:.2f}**", *(number(row.ratios.get(name)) for name in columns),
        ])  # fmt: skip
    means = (number(mean(rows, name)) for name in columns)
    lines.append(["geometric mean", "", "", f"**{mean(rows, 'best'):.2f}**", *means])
    return markdown(head, lines)


def step_table(rows):
    columns = ["quadgate", *columns_of(rows)]
    head = ["X, H", *(FAMILIES.get(name, name) for name in columns), "ratio of best peer"]
    lines = []
    for row in rows:
        results = [(row.families | {"quadgate": row.own}).get(name) for name in columns]
        cells = (f"{result['p50_ns']:.0f} / {result['p99_ns']:.0f}" if result else "—" for result in results)
        lines.append([f"{row.shape.x}, {row.shape.h}", *cells, f"**{row.ratios['best']:.2f}**"])
    lines.append(["geometric mean", *[""] * len(columns), f"**{mean(rows, 'best'):.2f}**"])
    return markdown(head, lines)


def pack_table(record, cell):
    packing = defaultdict(dict)
    results = [result for result in record["results"] if result["cell"] == cell]
    for result in results:
        if result["mode"] == "pack":
            packing[result["shape"][2], result["shape"][3]][result["peer"]] = result["min_ms"]
    if not packing:
        return ""
    peers = list(dict.fromkeys(peer for times in packing.values() for peer in times))
    own = [result for result in results if (result["peer"], result["threads"]) == ("quadgate", 1)]
    lines = []
    for (x, h), times in packing.items():
        calls = []
        for result in own:
            t, b, *sizes = result["shape"]
            if result["mode"] == "forward" and sizes == [x, h]:
                calls.append(f"{result['min_ms']:.3g} (T {t}, B {b})")
        lines.append([f"{x}, {h}", *(number(times.get(peer), "{:.3g}") for peer in peers), ", ".join(calls) or "—"])
    return f"\n## {prefix(cell)}Making a layer, ms\n\n" + markdown(["X, H", *peers, "a forward pass of quadgate"], lines)


def show(path):
    record = load(path)
    print(f"\n{record['machine']['cpu']}, {record['date']}, quadgate {record['quadgate']}")
    print(", ".join(f"{name} {version}".strip() for name, version in record["versions"].items() if name != "quadgate"))
    for cell, mode, threads in settings_of(record):
        rows = rows_of(record, cell, mode, threads)
        if not rows:
            continue
        unit = "ns, p50 / p99" if mode == "step" else "GFLOP/s"
        print(f"\n## {prefix(cell)}{mode}, {threads} thread{'s' * (threads > 1)}, {unit}\n")
        print(step_table(rows) if mode == "step" else main_table(rows), end="")
    for cell in dict.fromkeys(result["cell"] for result in record["results"]):
        print(pack_table(record, cell), end="")
    if record["left_out"]:
        print("\n## Left out\n")
    for entry in record["left_out"]:
        shape = ", ".join(map(str, entry["shape"]))
        print(f"- {prefix(entry['cell'])}{entry['peer']}, {entry['mode']}, {entry['threads']} thread(s), {shape}: {entry['reason']}")
