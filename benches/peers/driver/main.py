"""Times quadgate beside other people's recurrent layers, and makes tables and plots of the records."""

import argparse
import pathlib
import signal
import sys

import measure
import plot
import table


def leave(number, _):
    """By way of `finally`, lest stopped workers stay behind; `timeout` sends its signal twice."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit("terminated")


def main():
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    commands = parser.add_subparsers(dest="command", metavar="measure | table | plot")

    command = commands.add_parser("measure", help="the default: measure, and print the tables")
    command.add_argument("--peers", help="names or families, separated by commas; without, all that are installed")
    command.add_argument("--worker", action="append", default=[], metavar="NAME=PROGRAM", help="another peer, see README")
    command.add_argument("--threads", default="1,2", help="numbers of threads (default: %(default)s)")
    command.add_argument("--cells", default="lstm", help="lstm, gru, gru-reset-before, rnn (default: %(default)s)")
    command.add_argument("--modes", default="forward,train,step,stream,pack", help="default: %(default)s")
    command.add_argument("--shapes", default="default", help="T,B,X,H;... or default, audio, deepbench, onednn")
    command.add_argument("--rounds", type=int, default=5, help="turns of each peer (default: %(default)s)")
    command.add_argument("--turn-ms", type=int, default=200, help="length of a turn (default: %(default)s)")
    command.add_argument("--cores", default="0,1", help="the first n for n threads (default: %(default)s)")
    command.add_argument("--patience", type=float, default=60, help="seconds until an answer is late")
    command.add_argument("--record", type=pathlib.Path, help="file to write; without, record/DATE-MACHINE.json")

    command = commands.add_parser("table", help="print the tables of a record in Markdown")
    command.add_argument("record", type=pathlib.Path)

    command = commands.add_parser("plot", help="draw the speedups of a record as an SVG")
    command.add_argument("record", type=pathlib.Path)
    command.add_argument("svg", type=pathlib.Path)

    words = sys.argv[1:]
    if not words or words[0].startswith("--") and words[0] != "--help":
        words = ["measure", *words]
    arguments = parser.parse_args(words)
    if arguments.command == "plot":
        plot.draw(arguments.record, arguments.svg)
    elif arguments.command == "table":
        table.show(arguments.record)
    else:
        signal.signal(signal.SIGTERM, leave)
        measurement = measure.Measurement(arguments)
        measurement.run()
        table.show(measurement.path)


main()
