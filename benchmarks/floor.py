"""The least that a correct no-op can cost in Python: stat every source and result, look digests up, compute keys.

    floor.py init DIR     record the state of a tree made by graphs.tunekit (its own outputs, one file a stage)
    floor.py check DIR    say how many stages are stale

The parsed graph is cached (JSON, by the manifest's signature), stat signatures live in one SQLite file, keys are
sha256. It runs nothing: it is the bar that tunekit's own no-op is held against.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys


def signature(path: str) -> str:
    s = os.stat(path)
    return f"{s.st_ino}:{s.st_size}:{s.st_mtime_ns}:{s.st_ctime_ns}"


def graph() -> list[list[str]]:
    """[stage, its settings, input file, output file], in order."""
    sig = signature("tunekit.toml")
    try:
        with open(".floor/graph.json") as f:
            known, stages = json.load(f)
        if known == sig:
            return stages
    except FileNotFoundError:
        pass
    import tomllib

    with open("tunekit.toml", "rb") as f:
        tables = tomllib.load(f)["dataset"]
    stages = []
    for name, table in tables.items():
        source = table.get("source", "").removeprefix("path:") or f".floor/{table['from'][0].partition(':')[2]}"
        stages.append([name, json.dumps(table, sort_keys=True), source, f".floor/{name}"])
    with open(".floor/graph.json", "w") as f:
        json.dump([sig, stages], f)
    return stages


def main() -> None:
    verb, folder = sys.argv[1:3]
    os.chdir(folder)
    os.makedirs(".floor", exist_ok=True)
    stages = graph()
    if verb == "init":
        for name, _, _, output in stages:
            with open(output, "w") as f:
                f.write(name)
    db = sqlite3.connect(".floor/state.db")
    db.execute("create table if not exists stat (path text primary key, sig text, digest blob)")
    db.execute("create table if not exists act (stage text primary key, key blob)")
    known = {p: (s, d) for p, s, d in db.execute("select path, sig, digest from stat")}
    recorded = dict(db.execute("select stage, key from act"))
    digests: dict[str, bytes] = {}
    new, keys, stale = [], [], 0

    def digest(path: str) -> bytes:
        found = digests.get(path)
        if found is None:
            sig = signature(path)
            row = known.get(path)
            if row and row[0] == sig:
                found = row[1]
            else:
                with open(path, "rb") as f:
                    found = hashlib.sha256(f.read()).digest()
                new.append((path, sig, found))
            digests[path] = found
        return found

    for name, settings, source, output in stages:
        key = hashlib.sha256(settings.encode() + digest(source)).digest()
        keys.append((name, key))
        stale += recorded.get(name) != key
        digest(output)
    if verb == "init":
        db.executemany("insert or replace into stat values (?, ?, ?)", new)
        db.executemany("insert or replace into act values (?, ?)", keys)
        db.commit()
    print("stale", stale, "of", len(stages))


if __name__ == "__main__":
    main()
