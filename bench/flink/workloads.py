"""W1, W2, W3 and W12 as Flink has them, and their events in a form that it can read with every core."""

import os
import shutil

HERE = os.path.dirname(os.path.abspath(__file__))
NEXMARK = os.path.join(os.path.dirname(HERE), "nexmark", "flink")
CHECKS = {"w1": "SELECT count(*), sum(viewings) FROM answer;\n",
          "w2": "SELECT count(*), sum(impressions), sum(clicks) FROM answer;\n",
          "w3": "SELECT count(*) FROM answer;\n"}
CHECKS["w12"] = CHECKS["w2"]
TIMED = "INSERT INTO nowhere SELECT * FROM answer;\n"
BLOCK_BYTES = 1 << 24
# W12: the query of W2 over a topic, in the same steps as Yeoul's own reading of it.
FILES = "'connector' = 'filesystem', 'path' = '{events}', 'format' = 'json'"
TOPIC = """\
'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{brokers}', 'format' = 'json',
  'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'specific-offsets',
  'scan.bounded.specific-offsets' = '{ends}', 'properties.fetch.max.wait.ms' = '15',
  'properties.max.partition.fetch.bytes' = '4194304'"""
# As `yeoul bench w12` deals events out: so many, then as many to the next partition.
DEALT = 500


def statements(workload, query, events):
    """The tables and the view "answer" of a workload; of W3, those of one query."""
    paths = [os.path.join(HERE, "w2.sql" if workload == "w12" else f"{workload}.sql")]
    if workload == "w3":
        paths = [os.path.join(NEXMARK, "stream.sql"), os.path.join(NEXMARK, f"{query}.sql")]
    text = ""
    for path in paths:
        with open(path) as file:
            text += file.read()
    if workload == "w12":
        return text.replace(FILES, events)
    return text.replace("{events}", events)


def topic(brokers, name, events, partitions):
    """The options of a table that reads a topic up to its last event. The ends are said, since not every broker knows."""
    held = [sum(min(DEALT, events - first) for first in range(partition * DEALT, events, partitions * DEALT))
            for partition in range(partitions)]
    ends = ";".join(f"partition:{partition},offset:{end}" for partition, end in enumerate(held))
    return TOPIC.format(topic=name, brokers=brokers, ends=ends)


def divided(path, parts, directory):
    """A folder with the lines of `path` in `parts` files: Flink reads a local file with one thread only.

    The lines are dealt out in turn, so that all files are at the same time of the events at once: halves
    would hold back the watermark, and with it the windows of the whole second half in memory."""
    folder = os.path.join(directory, "flink-" + os.path.basename(path).replace(".json", f"-{parts}"))
    if os.path.isdir(folder) and os.path.getmtime(folder) >= os.path.getmtime(path):
        return folder
    making = folder + ".part"
    for old in (folder, making):
        shutil.rmtree(old, ignore_errors=True)
    os.makedirs(making)
    files = [open(os.path.join(making, f"{part}.json"), "wb") for part in range(parts)]
    dealt = 0
    with open(path, "rb") as events:
        while lines := events.readlines(BLOCK_BYTES):
            for part, file in enumerate(files):
                file.writelines(lines[(part - dealt) % parts::parts])
            dealt += len(lines)
    for file in files:
        file.close()
    os.rename(making, folder)
    os.utime(folder)
    return folder
