"""Makes the table of scripts/faults out of the lines that its tests wrote. usage: faults_table.py LOG SECONDS [--short]"""

import collections
import pathlib
import re
import sys

# By the numbers of docs/reliability.md, which says why some are missing.
WANTED = [f"F{n}" for n in range(1, 25) if n not in (8, 13, 14, 20)]


def numbers(text):
    """'I5 14 blobs, 3 bytes' -> {'blobs': 14, 'bytes': 3}"""
    return {what: int(number) for number, what in re.findall(r"(\d+) ([a-z ]+)", text)}


def main(log, seconds, may_skip):
    lines = [line.split("\t") for line in pathlib.Path(log).read_text().splitlines()]
    skipped = {name: why for name, what, why in (line[:3] for line in lines) if what == "skipped"}
    lines = [line for line in lines if line[1] != "skipped"]
    found = collections.Counter(name for line in lines for name in line[0].split(", "))
    lines.sort(key=lambda line: int(re.search(r"\d+", line[0]).group()))
    print("\n| fault | what was done | counted | I1, I4 | I2 | I3 | I5 | I6 | I7 |")
    print("|---|---|---|---|---|---|---|---|---|")
    total = collections.Counter()
    for fault, what, counted, *held in lines:
        total.update(numbers(", ".join(held)))
        cells = [re.sub(r"^I\d ", "", cell) for cell in held]
        cells.pop(3)  # I4 looks at the jobs of I1
        print(f"| {fault} | {what} | {counted} | {' | '.join(cells)} |")
    print(
        f"\n{len(lines)} tests of {len(found)} faults in {seconds} s: {total['jobs']} jobs in {total['attempts']} attempts,"
        f" {total['files']} visible files and {total['blobs']} blobs hashed, {total['events']} lines of logs,"
        f" {total['parts']} acknowledged parts, {total['collected']} left-over blobs collected"
    )
    for fault, why in skipped.items():
        print(f"SKIPPED: {fault}, for {why}", file=sys.stderr)
    missing = [fault for fault in WANTED if not found[fault] and not (may_skip and fault in skipped)]
    if missing:
        print(f"no test of {', '.join(missing)} came to its end: see above what failed or was skipped", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], "--short" in sys.argv[3:]))
