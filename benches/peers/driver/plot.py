"""Draws the speedups of a record: a panel for each mode and number of threads, a group of bars for each shape."""

import math
from html import escape

from table import FAMILIES, RUST, load, prefix, rows_of, settings_of

# The Rust libraries stand together. The colours differ in grey too.
BARS = {name: words for name, words in FAMILIES.items() if name not in RUST} | {"rust": "best in Rust"}
COLOURS = ["#1b3a57", "#2f77b5", "#86b8dc", "#d9772b", "#efb36b", "#8c8c8c", "#a33b20"]

# Pixels.
LEFT, LEGEND, TITLE, PLOT, LABELS = 60, 64, 44, 230, 84
GROUP, WIDTH = 100, 1200


def text(x, y, words, anchor="start", size=12, **attributes):
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def rectangle(x, y, width, height, colour, tip=""):
    size = f'width="{width:.1f}" height="{height:.1f}"'
    return f'<rect x="{x:.1f}" y="{y:.1f}" {size} fill="{colour}"><title>{tip}</title></rect>'


def panel(title, rows, top, width):
    ratios = [row.ratios[name] for row in rows for name in BARS if name in row.ratios]
    # In powers of two, around quadgate's own speed.
    low, high = min(-0.5, math.log2(min(ratios)) - 0.3), max(1, math.log2(max(ratios)) + 0.4)

    def height(ratio):
        return top + TITLE + PLOT * (high - math.log2(ratio)) / (high - low)

    yield text(LEFT, top + 24, title, size=16)
    every = max(1, round((high - low) / 6))
    for power in range(math.ceil(low / every) * every, math.floor(high) + 1, every):
        y = height(2**power)
        yield rectangle(LEFT, y, width - LEFT, 1, "#000" if power == 0 else "#ddd")
        yield text(LEFT - 8, y + 4, f"{2**power:g}×", "end", fill="#444")
    group = (width - LEFT) / len(rows)
    for index, row in enumerate(rows):
        middle = LEFT + (index + 0.5) * group
        present = [(name, colour) for name, colour in zip(BARS, COLOURS) if name in row.ratios]
        bar = min(0.86 * group / max(len(present), 1), 18)
        x = middle - bar * len(present) / 2
        for name, colour in present:
            # Up from quadgate's speed, or down where a peer is faster.
            upper, lower = sorted([height(row.ratios[name]), height(1)])
            tip = f"{BARS[name]}: {row.ratios[name]:.2f}×"
            yield rectangle(x, upper, 0.88 * bar, max(lower - upper, 1), colour, tip)
            x += bar
        t, b, x, h = row.shape
        lines = [f"X {x}, H {h}"] if row.own["mode"] == "step" else [f"T {t}, B {b}", f"X {x}, H {h}"]
        foot = top + TITLE + PLOT + 18
        for line, words in enumerate(lines):
            yield text(middle, foot + 14 * line, words, "middle", 11)
        yield text(middle, foot + 4 + 14 * len(lines), f"{row.ratios['best']:.2f}×", "middle", font_weight="bold")


def legend():
    x = LEFT
    for name, colour in zip(BARS, COLOURS):
        yield rectangle(x, 40, 12, 12, colour)
        yield text(x + 18, 51, BARS[name], size=13)
        x += 44 + 8 * len(BARS[name])


def draw(record_path, svg_path):
    record = load(record_path)
    panels = [(*setting, rows_of(record, *setting)) for setting in settings_of(record)]
    panels = [panel for panel in panels if panel[-1]]
    width = max([WIDTH, *(LEFT + GROUP * len(rows) for *_, rows in panels)])
    place = f"{record['machine']['cpu']}, {record['date']}"
    title = f"Time of each peer ÷ time of quadgate. Above 1× quadgate is faster; bold: the fastest peer. {place}"
    parts = [text(LEFT, 22, title, size=15), *legend()]
    top = LEGEND
    for cell, mode, threads, rows in panels:
        name = {"forward": "Forward pass", "train": "Training step", "step": "One step of a stream, p50", "stream": "A block of 64 steps"}[mode]
        parts += panel(f"{prefix(cell)}{name}, {threads} thread{'s' * (threads > 1)}", rows, top, width)
        top += TITLE + PLOT + LABELS
    size = f'viewBox="0 0 {width} {top}" width="{width}" height="{top}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="Helvetica, Arial, sans-serif">'
    svg_path.write_text("\n".join([head, rectangle(0, 0, width, top, "#fff"), *parts, "</svg>"]) + "\n")
