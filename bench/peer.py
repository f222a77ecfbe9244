#!/usr/bin/env python3
"""Runs one workload with one peer on the events that `yeoul bench` made, and prints its figures as one
line of JSON, in the words of `yeoul bench --json`.

usage: peer.py chdb|duckdb|flink w1|w2|w3|w4|w5|w12 --events N --seed N --dir PATH
               [--query NAME] [--brokers HOST:PORT --topic NAME]

Flink has W1, W2, the queries of W3 and W12 only, and nobody else has W3 and W12."""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import time

from flink import installed, workloads
from flink.cluster import Cluster, Refused
from queries import queries

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TIMES = 10
STREAM_TIMES = 2
# A job of Flink may take this long, and a second more for every so many events, before it is given up.
STREAM_S_MIN = 120
STREAM_EVENTS_PER_S_MIN = 50_000
# Of the topic of W12.
PARTITIONS = 4
SHOP = ("event_id", "ts", "user_id", "product_id", "category", "type", "price", "campaign_id")
ROLLUP = ("sum(CASE WHEN type = 'impression' THEN 1 ELSE 0 END) AS imps, "
          "sum(CASE WHEN type = 'click' THEN 1 ELSE 0 END) AS clicks, "
          "sum(CASE WHEN type = 'cart' THEN 1 ELSE 0 END) AS carts, "
          "sum(CASE WHEN type = 'wish' THEN 1 ELSE 0 END) AS wishes, "
          "sum(CASE WHEN type = 'purchase' THEN 1 ELSE 0 END) AS purchases, "
          "sum(CASE WHEN type = 'purchase' THEN price ELSE 0 END) AS revenue")


def cpu_s(process="self"):
    with open(f"/proc/{process}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def peak_mib(process="self"):
    with open(f"/proc/{process}/status") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return 0


def forget_peak(process="self"):
    try:
        with open(f"/proc/{process}/clear_refs", "w") as refs:
            refs.write("5")
    except OSError:
        pass


class Chdb:
    """ClickHouse in this process."""

    def __init__(self, path):
        from chdb import session
        self.session = session.Session(path) if path else session.Session()
        self.who = "clickhouse-" + self.rows("SELECT version()")[0][0]
        self.run("CREATE DATABASE IF NOT EXISTS b")
        self.run("USE b")

    def run(self, sql):
        self.session.query(sql)

    def rows(self, sql):
        text = self.session.query(sql, "TabSeparated").bytes().decode()
        return [line.split("\t") for line in text.splitlines()]

    @staticmethod
    def json(path, columns):
        kinds = {"event_id": "UUID", "ts": "Int64", "user_id": "String", "product_id": "UInt32",
                 "category": "LowCardinality(String)", "type": "LowCardinality(String)", "price": "Float64",
                 "campaign_id": "UInt16", "ad_id": "UUID", "event_type": "LowCardinality(String)",
                 "event_time": "Int64"}
        schema = ", ".join(f"{name} {kinds[name]}" for name in columns)
        return f"file('{path}', JSONEachRow, '{schema}')"

    @staticmethod
    def csv(path):
        return f"file('{path}', CSVWithNames) SETTINGS schema_inference_make_columns_nullable=0"

    def w1(self, path, lookup):
        self.run("CREATE TABLE ads (ad_id UUID, campaign_id String) ENGINE = Join(ANY, LEFT, ad_id)")
        self.run(f"INSERT INTO ads SELECT ad_id, campaign_id FROM file('{lookup}', CSVWithNames)")
        source = self.json(path, ("ad_id", "event_type", "event_time"))
        return ("SELECT count(), sum(n) FROM (SELECT joinGet('b.ads', 'campaign_id', ad_id) AS c, "
                f"intDiv(event_time, 10000) AS w, count() AS n FROM {source} "
                "WHERE event_type = 'view' GROUP BY c, w)")

    def w2(self, path):
        source = self.json(path, ("ts", "product_id", "type"))
        return ("SELECT count(), sum(i), sum(c) FROM (SELECT product_id, intDiv(ts, 60000) AS m, "
                f"countIf(type = 'impression') AS i, countIf(type = 'click') AS c FROM {source} "
                "GROUP BY product_id, m)")

    def w4_tables(self):
        self.run("CREATE TABLE events (event_id UUID, ts DateTime64(3, 'UTC') CODEC(Delta, LZ4), user_id String, "
                 "product_id UInt32, category LowCardinality(String), type LowCardinality(String), price Float64, "
                 "campaign_id UInt16) ENGINE = MergeTree PARTITION BY toYYYYMMDD(ts) ORDER BY (product_id, ts)")
        self.run("CREATE TABLE ctr_1m (product_id UInt32, minute DateTime('UTC'), imps UInt64, clicks UInt64, "
                 "carts UInt64, wishes UInt64, purchases UInt64, revenue Float64) ENGINE = SummingMergeTree "
                 "PARTITION BY toYYYYMMDD(minute) ORDER BY (product_id, minute)")
        self.run("CREATE MATERIALIZED VIEW ctr_1m_of TO ctr_1m AS SELECT product_id, "
                 f"toStartOfMinute(ts) AS minute, {ROLLUP} FROM events GROUP BY product_id, minute")

    def w4_load(self, path):
        threads = os.cpu_count()
        self.run("INSERT INTO events SELECT event_id, fromUnixTimestamp64Milli(ts, 'UTC'), user_id, product_id, "
                 f"category, type, price, campaign_id FROM {self.json(path, SHOP)} SETTINGS max_threads = {threads}, "
                 f"max_insert_threads = {threads}, parallel_view_processing = 1, "
                 "min_insert_block_size_rows = 1048576, max_insert_block_size = 1048576")

    def w4_close(self):
        self.run("OPTIMIZE TABLE events FINAL")
        self.run("OPTIMIZE TABLE ctr_1m FINAL")

    def w4_dimensions(self, directory):
        for name, key in (("products", "product_id"), ("campaigns", "campaign_id")):
            self.run(f"CREATE TABLE {name} ENGINE = MergeTree ORDER BY {key} AS SELECT * FROM "
                     + self.csv(f"{directory}/{name}.csv"))

    def bytes(self, _path):
        found = self.rows("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = 'b' "
                          "AND table IN ('events', 'ctr_1m')")
        return int(found[0][0])

    def close(self):
        self.session.close()


class Duckdb:
    """DuckDB in this process."""

    def __init__(self, path):
        import duckdb
        self.connection = duckdb.connect(path + ".duckdb" if path else ":memory:")
        self.who = "duckdb-" + duckdb.__version__
        self.run("SET preserve_insertion_order = false")
        self.run("SET TimeZone = 'UTC'")

    def run(self, sql):
        self.connection.execute(sql)

    def rows(self, sql):
        return [[str(value) for value in row] for row in self.connection.execute(sql).fetchall()]

    @staticmethod
    def json(path, columns):
        kinds = {"event_id": "UUID", "ts": "BIGINT", "product_id": "INTEGER", "price": "DOUBLE",
                 "campaign_id": "INTEGER", "ad_id": "UUID", "event_time": "BIGINT"}
        schema = ", ".join(f"{name}: '{kinds.get(name, 'VARCHAR')}'" for name in columns)
        return f"read_json('{path}', format = 'newline_delimited', columns = {{{schema}}})"

    def w1(self, path, lookup):
        self.run(f"CREATE TABLE ads AS SELECT * FROM read_csv('{lookup}', types = {{'ad_id': 'UUID'}})")
        source = self.json(path, ("ad_id", "event_type", "event_time"))
        return ("SELECT count(*), CAST(sum(n) AS BIGINT) FROM (SELECT campaign_id, event_time // 10000 AS w, "
                f"count(*) AS n FROM {source} e JOIN ads ON ads.ad_id = e.ad_id "
                "WHERE event_type = 'view' GROUP BY ALL)")

    def w2(self, path):
        source = self.json(path, ("ts", "product_id", "type"))
        return ("SELECT count(*), CAST(sum(i) AS BIGINT), CAST(sum(c) AS BIGINT) FROM (SELECT product_id, "
                "ts // 60000 AS m, count(*) FILTER (WHERE type = 'impression') AS i, "
                f"count(*) FILTER (WHERE type = 'click') AS c FROM {source} GROUP BY product_id, m)")

    def w4_tables(self):
        pass

    def w4_load(self, path):
        self.run("CREATE TABLE events AS SELECT event_id, make_timestamp(ts * 1000) AS ts, user_id, product_id, "
                 f"category, type, price, campaign_id FROM {self.json(path, SHOP)} ORDER BY product_id, ts")
        self.run(f"CREATE TABLE ctr_1m AS SELECT product_id, date_trunc('minute', ts) AS minute, {ROLLUP} "
                 "FROM events GROUP BY ALL ORDER BY ALL")
        self.run("CHECKPOINT")

    def w4_close(self):
        pass

    def w4_dimensions(self, directory):
        for name in ("products", "campaigns"):
            self.run(f"CREATE TABLE {name} AS SELECT * FROM read_csv('{directory}/{name}.csv')")
        self.run("CHECKPOINT")

    def bytes(self, path):
        return os.path.getsize(path + ".duckdb")

    def close(self):
        self.connection.close()


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
    for name in (path + ".duckdb", path + ".duckdb.wal"):
        if os.path.exists(name):
            os.remove(name)


def measured(figures, work):
    """Adds wall time, rate, processor time and memory of `work`."""
    forget_peak()
    cpu, begun = cpu_s(), time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begun
    figures.update(seconds=round(seconds, 3), events_per_s=round(figures["events"] / seconds),
                   cpu_s=round(cpu_s() - cpu, 2), peak_mib=peak_mib())
    return result


def batch(peer, figures, sql):
    rows = measured(figures, lambda: peer.rows(sql))
    figures["check"] = " ".join(rows[0])
    figures["note"] = "batch over the file, nothing stored"


def w4(peer, figures, path, data, directory):
    peer.w4_tables()
    measured(figures, lambda: peer.w4_load(path))
    begun = time.perf_counter()
    peer.w4_close()
    figures["ms"] = {"close": round((time.perf_counter() - begun) * 1e3, 3)}
    figures["bytes_per_row"] = round(peer.bytes(data) / figures["events"], 2)
    rows = peer.rows("SELECT (SELECT count(*) FROM events), count(*), CAST(sum(clicks) AS BIGINT) FROM ctr_1m")
    figures["check"] = " ".join(rows[0])
    peer.w4_dimensions(directory)


def w5(peer, figures, clickhouse):
    times, cpu = {}, cpu_s()
    for name, sql in queries(clickhouse).items():
        peer.rows(sql)
        waits = []
        for _ in range(TIMES):
            begun = time.perf_counter()
            peer.rows(sql)
            waits.append((time.perf_counter() - begun) * 1e3)
        times[name] = round(statistics.median(waits), 3)
    times["geometric_mean"] = round(math.exp(statistics.mean(math.log(t) for t in times.values())), 3)
    figures.update(ms=times, cpu_s=round(cpu_s() - cpu, 2), peak_mib=peak_mib())


def streamed(figures, workload, path, lookup, arguments):
    """Flink in a cluster of its own. The job that counts the answer comes first and warms it up; those that are
    timed are asked for nothing but the work, and the faster one counts."""
    if workload == "w12":
        events = workloads.topic(arguments.brokers, arguments.topic, figures["events"], PARTITIONS)
    else:
        events = workloads.divided(path, os.cpu_count(), arguments.dir)
    statements = workloads.statements(workload, arguments.query, events)
    seconds_max = STREAM_S_MIN + figures["events"] / STREAM_EVENTS_PER_S_MIN
    with Cluster(arguments.dir, os.cpu_count()) as cluster:
        try:
            figures["check"] = cluster.run(statements + workloads.CHECKS[workload], lookup, seconds_max)
        except Refused as why:
            figures["refused"] = str(why)
            return
        worker, timed = cluster.task_manager, []
        for _ in range(STREAM_TIMES):
            forget_peak(worker)
            cpu = cpu_s(worker)
            seconds = cluster.duration_s(cluster.run(statements + workloads.TIMED, lookup, seconds_max))
            timed.append((seconds, cpu_s(worker) - cpu, peak_mib(worker)))
    seconds, cpu, peak = min(timed)
    figures.update(seconds=round(seconds, 3), events_per_s=round(figures["events"] / seconds),
                   cpu_s=round(cpu, 2), peak_mib=peak,
                   note="streaming, warm, no checkpoints, nothing stored")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("peer", choices=("chdb", "duckdb", "flink"))
    parser.add_argument("workload", choices=("w1", "w2", "w3", "w4", "w5", "w12"))
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--query", help="which one of W3")
    parser.add_argument("--brokers", help="where the topic of W12 is")
    parser.add_argument("--topic", help="the topic that `yeoul bench w12` has made")
    arguments = parser.parse_args()
    shop = f"{arguments.dir}/shop-{arguments.seed}-{arguments.events}.json"
    ads = f"{arguments.dir}/ads-{arguments.seed}"
    if arguments.peer == "flink":
        name = arguments.workload.upper() + (f" {arguments.query}" if arguments.query else "")
        figures = {"workload": name, "who": "flink-" + installed.VERSION, "events": arguments.events}
        nexmark = f"{arguments.dir}/nexmark"
        inputs = {"w1": (f"{ads}-{arguments.events}.json", f"{ads}.csv"), "w2": (shop, ""), "w12": ("", ""),
                  "w3": (f"{nexmark}-{arguments.seed}-{arguments.events}.json", f"{nexmark}-side-input.csv")}
        if arguments.workload not in inputs or (arguments.workload == "w3") != bool(arguments.query):
            parser.error("flink has w1, w2, w3 with --query, and w12")
        if (arguments.workload == "w12") != bool(arguments.brokers and arguments.topic):
            parser.error("--brokers and --topic say where the events of w12 are")
        streamed(figures, arguments.workload, *inputs[arguments.workload], arguments)
        print(json.dumps(figures))
        return
    if arguments.workload in ("w3", "w12"):
        parser.error("only flink has w3 and w12")
    make = {"chdb": Chdb, "duckdb": Duckdb}[arguments.peer]
    kept = arguments.workload in ("w4", "w5")
    data = f"{arguments.dir}/{arguments.peer}-w4-{arguments.seed}-{arguments.events}"
    if arguments.workload == "w4":
        remove(data)
    peer = make(data if kept else None)
    figures = {"workload": arguments.workload.upper(), "who": peer.who, "events": arguments.events}
    if arguments.workload == "w1":
        batch(peer, figures, peer.w1(f"{ads}-{arguments.events}.json", f"{ads}.csv"))
    elif arguments.workload == "w2":
        batch(peer, figures, peer.w2(shop))
    elif arguments.workload == "w4":
        w4(peer, figures, shop, data, arguments.dir)
    else:
        w5(peer, figures, arguments.peer == "chdb")
    peer.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    sys.exit(main())
