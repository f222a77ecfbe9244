#!/usr/bin/env python3
"""Yeoul and its peers in turn, in one call, with ratios.

usage: run.py [--yeoul PROGRAM] [--events N] [--runs N] [--query NAME …] [--brokers HOST:PORT] [--setup] [--check]
              [WORKLOAD …]
Without workloads: all of them, w12 only with --brokers. Results are appended to results.jsonl in the folder of the benchmarks."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from flink import installed

HERE = os.path.dirname(os.path.abspath(__file__))
DIRECTORY = os.environ.get("YEOUL_BENCH_DIR", os.path.expanduser("~/.cache/yeoul-bench"))
PYTHON = os.path.join(DIRECTORY, "venv", "bin", "python")
ALONE = ("w7", "w8", "w9", "w10", "w11", "idle")
BESIDE = ("w1", "w2", "w3", "w4", "w5")
QUERIES = [f"q{number}" for number in range(23)]
PEERS = {"w1": ("chdb", "duckdb", "flink"), "w2": ("chdb", "duckdb", "flink"),
         "w3": ("flink",), "w12": ("flink",), "w4": ("chdb", "duckdb"), "w5": ("chdb", "duckdb")}
PACKAGES = ("chdb", "duckdb")


def setup(peers):
    """A venv with the peers, and Flink beside it, outside of the checkout. Returns those of `peers` that cannot run."""
    if not os.path.exists(PYTHON):
        subprocess.run([sys.executable, "-m", "venv", os.path.join(DIRECTORY, "venv")], check=True)
    probe = subprocess.run([PYTHON, "-c", "import chdb, duckdb"], capture_output=True)
    if probe.returncode != 0:
        print("installing the peers:", ", ".join(PACKAGES), flush=True)
        subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    if "flink" not in peers:
        return ()
    try:
        installed.install(DIRECTORY, PYTHON)
    except installed.Absent as why:
        print(f"without Flink: {why}", flush=True)
        return ("flink",)
    return ()


def all_figures(command):
    """The JSON that a command prints, line by line; nothing when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=os.path.dirname(HERE))
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        print(f"  failed ({done.returncode}): {' '.join(command)}", flush=True)
        return []
    return [json.loads(line) for line in lines if line.startswith("{")]


def figures(command):
    """The last of them; None when there are none."""
    return (all_figures(command) or [None])[-1]


def command_of(arguments, workload, query=()):
    return [arguments.yeoul, "bench", workload, "--json", "--events", str(arguments.events), "--dir", DIRECTORY, *query]


def of_yeoul(arguments, workload, query=()):
    return figures(command_of(arguments, workload, query))


def of_peer(arguments, workload, peer, query=()):
    return figures([PYTHON, os.path.join(HERE, "peer.py"), peer, workload, "--events", str(arguments.events),
                    "--dir", DIRECTORY, *query])


def keep(result):
    with open(os.path.join(DIRECTORY, "results.jsonl"), "a") as results:
        results.write(json.dumps(dict(result, at=time.strftime("%Y-%m-%dT%H:%M:%S"), cores=os.cpu_count())) + "\n")


def show(result):
    parts = [f"  {result['who']:<20}"]
    if "events_per_s" in result:
        parts.append(f"{result['events_per_s']:>14,.0f}/s")
    for key, unit in (("cpu_s", "s cpu"), ("peak_mib", "MiB"), ("bytes_per_row", "bytes/row")):
        if key in result:
            parts.append(f"{result[key]:,} {unit}")
    times = result.get("ms", {})
    parts += [f"{name} {value} ms" for name, value in times.items() if len(times) <= 8 or name == "geometric_mean"]
    parts += ["refused: " + result["refused"]] if result.get("refused") else []
    parts += [result[key] for key in ("check", "note") if result.get(key)]
    print("  ".join(parts), flush=True)


def better(results):
    """The best of several runs: the least disturbed one."""
    results = [result for result in results if result]
    if not results:
        return None
    if "events_per_s" in results[0]:
        return max(results, key=lambda result: result["events_per_s"])
    return min(results, key=lambda result: result.get("ms", {}).get("geometric_mean", 0))


def shown_beside(ours, theirs):
    """Shows what a peer did, and how Yeoul stands to it. Returns the ratio of the rates, if both have one."""
    show(theirs)
    keep(theirs)
    rate = None
    for name, ratio in ratios(ours, theirs):
        print(f"    yeoul is {ratio:.2f} × {theirs['who']}: {name}")
        if name == "rate":
            rate = ratio
    if ours.get("check") and theirs.get("check") and ours["check"] != theirs["check"]:
        print(f"    THE ANSWERS DIFFER: {ours['check']} and {theirs['check']}")
    return rate


def ratios(ours, theirs):
    found = []
    if "events_per_s" in ours and "events_per_s" in theirs:
        found.append(("rate", ours["events_per_s"] / theirs["events_per_s"]))
    if "bytes_per_row" in ours and "bytes_per_row" in theirs:
        found.append(("bytes/row (less is better)", ours["bytes_per_row"] / theirs["bytes_per_row"]))
    if "peak_mib" in ours and "peak_mib" in theirs:
        found.append(("memory (less is better)", ours["peak_mib"] / theirs["peak_mib"]))
    for name, value in ours.get("ms", {}).items():
        other = theirs.get("ms", {}).get(name)
        if other and name != "close":
            found.append((name + " (time, less is better)", value / other))
    return found


def compared(arguments, workload, absent, query=()):
    """Runs a workload, or a query of it, in turn with its peers. Returns the rate of Yeoul by that of each peer, or
    None when Yeoul failed."""
    ours, peers = [], {peer: [] for peer in PEERS[workload] if peer not in absent}
    for _ in range(arguments.runs):
        ours.append(of_yeoul(arguments, workload, query))
        for peer in peers:
            peers[peer].append(of_peer(arguments, workload, peer, query))
    ours = better(ours)
    if ours is None:
        return None
    show(ours)
    keep(ours)
    rates = {}
    for peer, results in peers.items():
        theirs = better(results)
        if theirs is None:
            continue
        rates[peer] = shown_beside(ours, theirs)
    return rates


def queried(arguments, absent):
    """W3: every query in turn with its peers, and the mean of what could be compared. Returns whether none failed."""
    sound, rates = True, {}
    for query in arguments.query or QUERIES:
        print("w3", query, flush=True)
        found = compared(arguments, "w3", absent, ("--query", query))
        sound &= found is not None
        for peer, rate in (found or {}).items():
            if rate is not None:
                rates.setdefault(peer, []).append(rate)
    for peer, found in rates.items():
        print(f"w3: yeoul is {statistics.geometric_mean(found):.2f} × {peer} in the geometric mean of {len(found)} "
              f"queries, {min(found):.2f} × in the worst", flush=True)
    return sound


def of_topics(arguments, absent):
    """W12: Yeoul beside clients of librdkafka that do nothing else, and Flink on the topic that this has left."""
    results = all_figures(command_of(arguments, "w12", ("--brokers", arguments.brokers)))
    topics = []
    for workload in dict.fromkeys(result["workload"] for result in results):
        found = [result for result in results if result["workload"] == workload]
        ours = next(result for result in found if result["who"] == "yeoul")
        print(workload, flush=True)
        show(ours)
        keep(ours)
        for theirs in found:
            if theirs is not ours:
                shown_beside(ours, theirs)
        topics += [ours] if ours.get("topic") else []
    if not topics or "flink" in absent:
        return bool(results)
    # It rolls up and keeps nothing, as the first of ours.
    ours = topics[0]
    theirs = of_peer(arguments, "w12", "flink", ("--brokers", arguments.brokers, "--topic", ours["topic"]))
    if theirs is not None:
        print(ours["workload"], flush=True)
        shown_beside(ours, theirs)
    return theirs is not None


def checked(arguments):
    """The answers of W3 against the same queries over the stored stream, and against DuckDB."""
    print("w3: answers", flush=True)
    return subprocess.run([PYTHON, os.path.join(HERE, "nexmark", "check.py"), "--yeoul", arguments.yeoul, "--events",
                           str(arguments.events), "--dir", DIRECTORY]).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", choices=[*BESIDE, *ALONE, "w12", []])
    parser.add_argument("--yeoul", default="yeoul", help="the program to measure")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=1, help="how often each is run in turn; the best counts")
    parser.add_argument("--query", action="append", choices=QUERIES, metavar="NAME",
                        help="a query of w3, instead of all; may be given again")
    parser.add_argument("--brokers", metavar="HOST:PORT", help="where Kafka brokers listen, for w12")
    parser.add_argument("--check", action="store_true", help="compare the answers of w3 instead of measuring it")
    parser.add_argument("--setup", action="store_true", help="only install the peers")
    arguments = parser.parse_args()
    os.makedirs(DIRECTORY, exist_ok=True)
    if arguments.check and arguments.workloads != ["w3"]:
        parser.error("--check is for w3")
    workloads = arguments.workloads or [*BESIDE, *ALONE, *(["w12"] if arguments.brokers else [])]
    if "w12" in workloads and not arguments.brokers:
        parser.error("w12 reads from Kafka: say where with --brokers HOST:PORT")
    peers = {peer for workload in (BESIDE if arguments.setup else workloads) for peer in PEERS.get(workload, ())}
    absent = setup(() if arguments.check else peers) if peers else ()
    if arguments.setup:
        return 0
    sound = True
    for workload in workloads:
        if workload == "w3":
            sound &= checked(arguments) if arguments.check else queried(arguments, absent)
            continue
        if workload == "w12":
            sound &= of_topics(arguments, absent)
            continue
        print(workload, flush=True)
        if workload in BESIDE:
            sound &= compared(arguments, workload, absent) is not None
        else:
            results = all_figures(command_of(arguments, workload))
            sound &= bool(results)
            for result in results:
                show(result)
                keep(result)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main())
