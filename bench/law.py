#!/usr/bin/env python3
"""The law's second oracle: asks DuckDB the queries of a sample of random cases, and compares its answers with the
views that kept them.

usage: law.py [FOLDER]

FOLDER has the cases, as `crates/engine/tests/it/law/duck.rs` writes them:

    YEOUL_LAW_DUCKDB=FOLDER cargo test -p yeoul-engine --test it -- --ignored law::duck

Without it the cases are written first. Needs duckdb from PyPI: in the venv of the benchmarks (`bench/run.py --setup`),
in the Python that runs this, or it is installed into a venv beside the benchmarks'. Ends with 0 when all answers are
equal, with 1 when one is not, with 3 when there is no duckdb to ask.

What is made the same before it is compared, since PostgreSQL and DuckDB differ in it:
- nulls are ordered as PostgreSQL orders them (a setting of DuckDB), `/` of integers is `//`, windows are `time_bucket`;
- numbers are compared by value, whatever their type and how many digits are written; floats to 1e-9 of their value,
  -0 is 0, NaN is NaN; times in microseconds, in UTC.
Not asked: what DuckDB has no words for, or another meaning: `HOP`, `CUMULATE`, `SESSION`, `now()`, `ASOF` (of rows that
are equally near it takes any), `avg` of decimals (a float there), estimates, functions of SQL. Lists, intervals and
JSON are written otherwise: columns of them are not compared. Queries that DuckDB refuses or cannot plan are counted by
their message, and a run in which most of them are is red."""

import json
import math
import os
import subprocess
import sys
import tempfile
from decimal import Decimal

HERE = os.path.dirname(os.path.abspath(__file__))
DIRECTORY = os.environ.get("YEOUL_BENCH_DIR", os.path.expanduser("~/.cache/yeoul-bench"))
ABSENT = 3
# Refusals of DuckDB that say nothing about the answer, by how their message begins.
LIMITS = (
    # Sums and steps beyond its numbers: the same case has an answer with more digits here.
    "Out of Range Error", "Conversion Error", "Overflow",
    # Subqueries and outer joins of shapes that it has no plan for.
    "Not implemented Error", "Binder Error: Non-inner join", "Binder Error: Subquery",
)
TOLERANCE = 1e-9
SHOWN = 12


def python_with_duckdb():
    """A Python that has duckdb; None, with the reason, when none can be had."""
    beside = os.path.join(DIRECTORY, "venv", "bin", "python")
    own = os.path.join(DIRECTORY, "law-venv", "bin", "python")
    for python in (sys.executable, beside, own):
        if os.path.exists(python) and has_duckdb(python):
            return python, None
    try:
        subprocess.run([sys.executable, "-m", "venv", os.path.join(DIRECTORY, "law-venv")], check=True,
                       capture_output=True, text=True)
        subprocess.run([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout", "10",
                        "--retries", "1", "duckdb"], check=True, capture_output=True, text=True, timeout=120)
    except subprocess.CalledProcessError as failed:
        lines = (failed.stderr or failed.stdout or "").strip().splitlines() or ["no message"]
        return None, lines[-1]
    except (OSError, subprocess.TimeoutExpired) as failed:
        return None, str(failed)
    return (own, None) if has_duckdb(own) else (None, "duckdb was installed and cannot be imported")


def has_duckdb(python):
    return subprocess.run([python, "-c", "import duckdb"], capture_output=True).returncode == 0


def write_cases(folder):
    """Lets the engine play the cases; what they need is said by the test itself."""
    command = [os.environ.get("CARGO", "cargo"), "test", "--quiet", "-p", "yeoul-engine", "--test", "it", "--",
               "--ignored", "law::duck"]
    subprocess.run(command, check=True, cwd=os.path.dirname(HERE), env={**os.environ, "YEOUL_LAW_DUCKDB": folder},
                   stdout=subprocess.DEVNULL)


def column(name, kind):
    quoted = f'"{name}"'
    return f"epoch_us({quoted})" if kind == "time" else quoted


def exact(value, kind):
    """A value that is compared as it is."""
    if value is None:
        return None
    if kind in ("number", "time"):
        return Decimal(str(value)).normalize()
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def bag(rows, kinds):
    """Rows by what is exact of them, with the floats of each."""
    rest = {}
    for row in rows:
        key, floats = [], []
        for value, kind in zip(row, kinds):
            if kind == "float" and value is not None:
                floats.append(float(value))
                key.append("~")
            else:
                key.append(exact(value, kind))
        rest.setdefault(tuple(key), []).append(floats)
    return rest


def order(floats):
    return [(math.isnan(f), 0.0 if math.isnan(f) else f) for f in floats]


def near(a, b):
    for x, y in zip(a, b):
        if x == y or (math.isnan(x) and math.isnan(y)):
            continue
        # The root of a variance that is zero but for rounding is not that small: squares too.
        size = max(abs(x), abs(y), 1.0)
        if not abs(x - y) <= TOLERANCE * size and not (size == 1.0 and abs(x * x - y * y) <= TOLERANCE):
            return False
    return True


def difference(ours, theirs):
    lines = []
    for key in list(ours) + [key for key in theirs if key not in ours]:
        a, b = sorted(ours.get(key, []), key=order), sorted(theirs.get(key, []), key=order)
        if len(a) != len(b) or not all(near(x, y) for x, y in zip(a, b)):
            lines.append(f"  {key}: Yeoul {a}, DuckDB {b}")
    return lines


def check(duckdb, path, tally):
    """Compares the views of one case; the differences as lines."""
    with open(path, encoding="utf-8") as file:
        case = json.load(file)
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET default_null_order = 'nulls_last_on_asc_first_on_desc'")
    for statement in case["setup"]:
        connection.execute(statement)
    lines = []
    for view in case["views"]:
        kinds = [kind for kind in view["kinds"] if kind]
        try:
            connection.execute(f"CREATE VIEW {view['name']} AS {view['sql']}")
            names = [row[0] for row in connection.execute(f"DESCRIBE {view['name']}").fetchall()]
            shown = [column(name, kind) for name, kind in zip(names, view["kinds"]) if kind]
            if not shown:
                continue
            rows = connection.execute(f"SELECT {', '.join(shown)} FROM {view['name']}").fetchall()
        except duckdb.Error as refused:
            first = str(refused).splitlines()[0]
            tally["refused"].setdefault(first[:90], []).append((path, view["sql"], str(refused)))
            continue
        tally["views"] += 1
        tally["rows"] += len(rows)
        found = difference(bag(view["rows"], kinds), bag(rows, kinds))
        if found:
            lines += [f"{os.path.basename(path)}: {view['name']}: {view['sql']}"] + found[:SHOWN]
    return lines


def compare(folder):
    import duckdb
    tally = {"views": 0, "rows": 0, "refused": {}}
    wrong = []
    for name in sorted(os.listdir(folder)):
        if name.endswith(".json"):
            wrong += check(duckdb, os.path.join(folder, name), tally)
    for line in wrong:
        print(line)
    refused = sum(len(found) for found in tally["refused"].values())
    for message, found in sorted(tally["refused"].items()):
        known = message.startswith(LIMITS)
        if not known:
            path, sql, whole = found[0]
            wrong.append(message)
            print(f"refused by DuckDB: {os.path.basename(path)}: {sql}\n{whole}")
        else:
            print(f"not asked, {len(found)} times: {message}")
    print(f"DuckDB {duckdb.__version__}: {tally['views']} views of {tally['rows']} rows are equal, {refused} not answered"
          if not wrong else f"{len(wrong)} lines of differences")
    enough = tally["views"] >= 50 and tally["views"] >= 4 * refused
    if not enough:
        print("too few were compared to prove anything")
    return 0 if enough and not wrong else 1


def main():
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print(__doc__)
        return 2
    python, missing = python_with_duckdb()
    if python is None:
        print(f"without DuckDB: it cannot be installed from PyPI: {missing}")
        return ABSENT
    with tempfile.TemporaryDirectory() as scratch:
        folder = sys.argv[1] if len(sys.argv) == 2 else scratch
        if len(sys.argv) == 1:
            write_cases(folder)
        if python == sys.executable:
            return compare(folder)
        return subprocess.run([python, os.path.abspath(__file__), folder]).returncode


if __name__ == "__main__":
    sys.exit(main())
