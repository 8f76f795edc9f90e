#!/usr/bin/env python3
"""Score a scanner's confidence levels on labelled examples.

usage: tests/bench/level_precision.py LYCHGATE EXAMPLES [--half even|odd] [--show]

  LYCHGATE   the program to score
  EXAMPLES   JSON Lines, one example each: `id`, `text`, and `expect`, whether it holds a credential
  --half     only examples whose id's SHA-256 is even or odd: write rules against one, report the other
  --show     list the false alarms

Each example is a file with a neutral name. An example counts at the surest level of its findings.

  precision  of the examples at a level, those that hold a credential
  recall     of the examples that hold one, those at this level or a surer one
  alarms     of the examples that hold none, those at this level or a surer one
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

LEVELS = ("low", "medium", "high")


def surest(binary, rows):
    """The surest level of each example's findings: {id: level}."""
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows:
            path = pathlib.Path(scratch, f"{row['id']}.txt")
            path.write_text(row["text"].rstrip("\n") + "\n", errors="surrogateescape")
        command = [binary, "scan", scratch, "--no-baseline", "--min-confidence", "low", "--format", "jsonl"]
        run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(f"scan failed ({run.returncode}): {run.stderr[-400:]}")
    found = {}
    for line in run.stdout.splitlines():
        finding = json.loads(line)
        name, level = pathlib.Path(finding["path"]).stem, LEVELS.index(finding["confidence"])
        found[name] = max(level, found.get(name, 0))
    return found


def told(right, all_of):
    return f"{right:5}/{all_of:<5} {100 * right / max(all_of, 1):5.1f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("examples", type=pathlib.Path)
    parser.add_argument("--half", choices=("even", "odd"))
    parser.add_argument("--show", action="store_true")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.examples.read_text().splitlines()]
    odd = lambda row: int(hashlib.sha256(row["id"].encode()).hexdigest(), 16) % 2 == 1
    rows = [row for row in rows if args.half is None or odd(row) == (args.half == "odd")]
    found = surest(args.binary, rows)
    holds = [row["id"] for row in rows if row["expect"]]
    others = [row["id"] for row in rows if not row["expect"]]
    for level in reversed(range(len(LEVELS))):
        right = sum(found.get(name) == level for name in holds)
        wrong = sum(found.get(name) == level for name in others)
        print(f"{LEVELS[level] + ' alone':14} precision {told(right, right + wrong)}", end="   ")
        hits, alarms = (sum(found.get(name, -1) >= level for name in names) for names in (holds, others))
        print(f"and surer: recall {told(hits, len(holds))}  alarms {told(alarms, len(others))}")
    for row in rows if args.show else []:
        if not row["expect"] and row["id"] in found:
            print(f"{LEVELS[found[row['id']]]} {row['id']}: {row['text'][:200]!r}")


if __name__ == "__main__":
    main()
