#!/usr/bin/env bash
# SQLite opens a database whose write-ahead log has lost committed transactions, and calls it sound.
#
# Versions: apsw 3.54.1.0 (SQLite 3.54.1), and the SQLite of Python's own sqlite3.
# Guess:    every commit below was synced (synchronous=FULL). A file that is copied while a writer has it open, or whose log comes
#           back from a disk with one sector of zeros in an *old* transaction, is refused, or quick_check and integrity_check say
#           that something is missing.
# Seen:     a copy without its -wal has none of 50 committed rows; with one zeroed sector in the log's first transactions all later
#           ones are gone too, of which every byte is there. All checks say ok. A log ends where its first frame does not fit its
#           checksum, by design: after a crash that is how a half-written end looks.
# Meaning:  copy such a file with SQLite's backup (as `distilfleet backup` does) and never without its -wal, and do not take "ok" for
#           "all is there". distilfleet compares its journal with the checkpoints of each run, which have digests, when it starts.
set -euo pipefail
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT
python3 -m venv "$T/v"; "$T/v/bin/pip" install -q --disable-pip-version-check apsw==3.54.1.0
cd "$T"; v/bin/python - <<'P'
import pathlib
import shutil
import sqlite3
import sys
import apsw

COMMITS, SECTOR = 50, 512

def rows(file):
    base = apsw.Connection(file)
    (told,), (whole,) = (base.execute(f"pragma {check}_check").fetchone() for check in ("quick", "integrity"))
    known = base.execute("select count(*) from sqlite_master").fetchone()[0]
    count = base.execute("select count(*) from rounds").fetchone()[0] if known else 0
    base.close()
    return count, told, whole

def copied(name, suffixes=("", "-wal")):
    for suffix in suffixes:
        shutil.copy(f"here{suffix}", f"{name}{suffix}")
    return pathlib.Path(f"{name}-wal")

for kind, connect in (("apsw", apsw.Connection), ("sqlite3", sqlite3.connect)):
    base = connect("here")
    base.execute("pragma journal_mode=wal")
    base.execute("pragma synchronous=full")
    base.execute("create table rounds (number integer primary key)")
    for number in range(COMMITS):
        base.execute("begin")
        base.execute("insert into rounds values (?)", (number,))
        base.execute("commit")
    copied(f"whole-{kind}")
    copied(f"alone-{kind}", ("",))
    log = copied(f"zeroed-{kind}")
    raw = log.read_bytes()
    at = next(at for at in range(8 * SECTOR, len(raw), SECTOR) if any(raw[at : at + SECTOR]))
    log.write_bytes(raw[:at] + bytes(SECTOR) + raw[at + SECTOR :])
    base.close()
    pathlib.Path("here").unlink()
    found = {name: rows(f"{name}-{kind}") for name in ("whole", "alone", "zeroed")}
    print(f"{kind}: written by SQLite {apsw.sqlite_lib_version() if kind == 'apsw' else sqlite3.sqlite_version}, {COMMITS} commits")
    for name, told in found.items():
        print(f"  {name}: {told[0]} rows, quick_check {told[1]}, integrity_check {told[2]}")
    if found["whole"] != (COMMITS, "ok", "ok") or found["alone"] != (0, "ok", "ok") or found["zeroed"][0] > 5 or found["zeroed"][1:] != ("ok", "ok"):
        sys.exit("the behaviour has changed")
P
echo "as seen"
