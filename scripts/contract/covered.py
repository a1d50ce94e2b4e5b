"""Counts, by the server's own metrics, which operations of the document succeeded since the last look.

usage: covered.py BASE KEY DOCUMENT BEFORE [--demand PERCENT]
"""

import json
import re
import sys

import requests
import yaml

base, key, document, before = sys.argv[1:5]
answer = requests.get(base + "/metrics", headers={"Authorization": f"Bearer {key}"}, timeout=30)
answer.raise_for_status()
SAMPLE = re.compile(r'^pare_http_requests_total\{method="(\w+)",route="([^"]+)",status="2xx"\} (\d+)', re.M)
now = {f"{method} {route}": int(count) for method, route, count in SAMPLE.findall(answer.text)}
if "--demand" not in sys.argv:
    json.dump(now, open(before, "w"))
    sys.exit()

was = json.load(open(before))
paths = yaml.safe_load(open(document))["paths"]
operations = [f"{method.upper()} {path}" for path, item in paths.items() for method in item]
missed = [one for one in operations if now.get(one, 0) <= was.get(one, 0)]
share = 100 * (len(operations) - len(missed)) / len(operations)
print(f"covered: {len(operations) - len(missed)} of {len(operations)} operations succeeded at least once ({share:.0f}%)")
for one in missed:
    print(f"  never: {one}")
demanded = float(sys.argv[sys.argv.index("--demand") + 1])
if share < demanded:
    sys.exit(f"covered: {demanded:.0f}% are demanded")
