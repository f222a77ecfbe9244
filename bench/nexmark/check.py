#!/usr/bin/env python3
"""W3's answers: each view, the same query asked over the stored stream, and DuckDB over the same lines.

usage: check.py --yeoul PROGRAM --events N --dir PATH [--seed N]

One instance keeps all views that are accepted while it reads the events. Rows are compared as multisets: floats to
1e-9 of their value, times to the microsecond. What cannot be kept or asked is told with the message that says so; it is
no failure, a difference is."""

import argparse
import datetime
import decimal
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
QUERIES = [f"q{number}" for number in range(23)]
RELATIVE_MAX = 1e-9
RUN_S_MAX = 1800
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?")


class Refused(Exception):
    """The text says why a query was not taken."""


def text(*path):
    with open(os.path.join(HERE, *path)) as file:
        return file.read()


def sources(events, side_input):
    """The stream over the file of events, kept, and the table of q13."""
    stream = text("yeoul", "stream.sql").replace(
        "{options}", f"connector = 'file', path = '{events}', format = 'json', ")
    table = text("yeoul", "side_input.sql").replace(
        "{side_input}", f"connector = 'file', path = '{side_input}', format = 'csv'")
    return stream + table


def query(name):
    return text("yeoul", "events.sql") + text("yeoul", f"{name}.sql")


def view(name):
    return f"CREATE MATERIALIZED VIEW {name} AS\n{query(name)};\n"


def query_of_duckdb(name):
    """DuckDB's own text, where it does not understand ours."""
    own = os.path.join(HERE, "duckdb", f"{name}.sql")
    return text(own) if os.path.exists(own) else text("yeoul", f"{name}.sql")


def ran(*command, said=None):
    return subprocess.run(command, input=said, capture_output=True, text=True, timeout=RUN_S_MAX)


def first_line(said):
    lines = said.stderr.strip().splitlines() or [f"ended with {said.returncode}"]
    return lines[0].removeprefix("error: ")


class Yeoul:
    """The program, and a project with every view that it accepts."""

    def __init__(self, program, directory, events, seed):
        self.program = program
        made = ran(program, "bench", "nexmark-events", "--events", str(events), "--seed", str(seed), "--dir", directory)
        if made.returncode != 0:
            raise SystemExit(made.stderr)
        self.events, self.side_input = made.stdout.splitlines()
        self.sources = sources(self.events, self.side_input)
        self.place = os.path.join(directory, "nexmark-check")
        self.project, self.data = os.path.join(self.place, "project"), os.path.join(self.place, "data")

    def filled(self, *files):
        """The project's folder with these texts."""
        shutil.rmtree(self.place, ignore_errors=True)
        os.makedirs(self.project)
        for number, sql in enumerate(files):
            with open(os.path.join(self.project, f"{number:02}.sql"), "w") as file:
                file.write(sql)
        return self.project

    def refusal(self, name):
        """Why the view is not accepted; None when it is."""
        said = ran(self.program, "check", self.filled(self.sources, view(name)))
        return first_line(said) if said.returncode != 0 else None

    def run(self, names):
        done = ran(self.program, "--log", "warn", "run", self.filled(self.sources, *map(view, names)), "--data", self.data,
                   "--until-drained")
        if done.returncode != 0:
            raise SystemExit(f"yeoul run failed ({done.returncode})\n{done.stderr}")

    def rows(self, sql):
        said = ran(self.program, "sql", "--data", self.data, "--format", "json", "-f", "-", said=sql)
        if said.returncode != 0:
            raise Refused(first_line(said))
        return [tuple(map(plain, json.loads(line).values())) for line in said.stdout.splitlines()]


class Duckdb:
    def __init__(self, events, side_input):
        import duckdb
        self.error = duckdb.Error
        self.connection = duckdb.connect(":memory:")
        self.connection.execute("SET TimeZone = 'UTC'")
        self.connection.execute(
            text("duckdb", "stream.sql").replace("{events}", events).replace("{side_input}", side_input))

    def rows(self, name):
        try:
            found = self.connection.execute(query_of_duckdb(name)).fetchall()
        except self.error as why:
            raise Refused(str(why).splitlines()[0]) from None
        return [tuple(map(plain, row)) for row in found]


def plain(value):
    """One form for what both write in their own: times as text with microseconds, numbers with a point as floats."""
    if isinstance(value, str) and TIME.fullmatch(value):
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f")
    return float(value) if isinstance(value, decimal.Decimal) else value


def near(a, b):
    if a is None or b is None:
        return a is b
    return abs(a - b) <= RELATIVE_MAX * max(abs(a), abs(b))


def difference(ours, theirs):
    """What is different between two multisets of rows; None when nothing is."""
    if len(ours) != len(theirs):
        return f"{len(ours)} rows and {len(theirs)}"
    if not ours:
        return None
    if len(ours[0]) != len(theirs[0]):
        return f"{len(ours[0])} columns and {len(theirs[0])}"
    columns = range(len(ours[0]))
    floats = [at for at in columns if any(isinstance(row[at], float) for rows in (ours, theirs) for row in rows)]
    exact = [at for at in columns if at not in floats]

    def key(row):
        # None is less than every value, and no value is compared with one of another type.
        return [(row[at] is not None, type(row[at]).__name__, row[at]) for at in exact] + \
            [(row[at] is not None, row[at] or 0) for at in floats]
    for mine, other in zip(sorted(ours, key=key), sorted(theirs, key=key)):
        if any(mine[at] != other[at] for at in exact) or not all(near(mine[at], other[at]) for at in floats):
            return f"{mine} and {other}"
    return None


def compared(name, refusal, yeoul, duckdb):
    """Prints what was found of one query. Returns whether all who must answer did, and the same."""
    answers, notes = {}, []
    asks = {"batch": lambda: yeoul.rows(query(name)), "duckdb": lambda: duckdb.rows(name)}
    if refusal is None:
        asks = {"view": lambda: yeoul.rows(f"SELECT * FROM {name}"), **asks}
    else:
        notes.append(f"no view: {refusal}")
    for who, ask in asks.items():
        try:
            answers[who] = ask()
        except Refused as why:
            notes.append(f"no {who}: {why}")
    (first, rows), *others = answers.items() or [("nobody", [])]
    found = [(who, difference(rows, theirs)) for who, theirs in others]
    parts = [" = ".join([first] + [who for who, why in found if why is None]) + f": {len(rows)} rows"]
    parts += [f"{first.upper()} AND {who.upper()} DIFFER: {why}" for who, why in found if why is not None]
    print(f"  {name:<4}", "; ".join(parts + notes), flush=True)
    # What is kept as a view can be asked, and DuckDB has all of them.
    unanswered = [who for who in asks if who not in answers and (who == "duckdb" or refusal is None)]
    return not unanswered and all(why is None for _, why in found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--yeoul", default="yeoul")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--dir", required=True)
    arguments = parser.parse_args()
    yeoul = Yeoul(arguments.yeoul, arguments.dir, arguments.events, arguments.seed)
    refusals = {name: yeoul.refusal(name) for name in QUERIES}
    yeoul.run([name for name, why in refusals.items() if why is None])
    duckdb = Duckdb(yeoul.events, yeoul.side_input)
    sound = [compared(name, why, yeoul, duckdb) for name, why in refusals.items()]
    kept = sum(why is None for why in refusals.values())
    print(f"  {kept} of {len(QUERIES)} queries are kept as views; {sum(sound)} of {len(sound)} are as they should be")
    shutil.rmtree(yeoul.place)
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(main())
