"""A Flink cluster of one job manager and one task manager on loopback, for one workload.

    with Cluster(directory, parallelism) as cluster:
        cluster.run(statements, lookup)       -> what SqlJob prints
        cluster.duration_s(job)               -> of a job that has ended, as Flink measured it

Every wait has a bound, and both processes end with the `with`, or with this process."""

import ctypes
import glob
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from .installed import class_path, home

START_S_MAX = 90
STOP_S_MAX = 10
HEAP_MIB = 4096
FRAMEWORK_HEAP_MIB = 128
# More heap than it needs: what is asked is how fast Flink is, not how small.
CONFIGURATION = """\
jobmanager.rpc.address: 127.0.0.1
jobmanager.rpc.port: {rpc}
jobmanager.bind-host: 127.0.0.1
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
rest.port: {rest}
taskmanager.host: 127.0.0.1
taskmanager.bind-host: 127.0.0.1
taskmanager.numberOfTaskSlots: {parallelism}
taskmanager.cpu.cores: {parallelism}.0
taskmanager.memory.framework.heap.size: {framework_heap}m
taskmanager.memory.task.heap.size: {task_heap}m
taskmanager.memory.managed.size: 1024m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.off-heap.size: 128m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.memory.jvm-metaspace.size: 512m
taskmanager.memory.jvm-overhead.min: 256m
taskmanager.memory.jvm-overhead.max: 256m
jobmanager.memory.heap.size: 768m
jobmanager.memory.off-heap.size: 128m
jobmanager.memory.jvm-metaspace.size: 256m
jobmanager.memory.jvm-overhead.min: 192m
jobmanager.memory.jvm-overhead.max: 192m
io.tmp.dirs: {scratch}
execution.target: remote
parallelism.default: {parallelism}
state.backend.type: hashmap
pipeline.object-reuse: true
table.exec.mini-batch.enabled: true
table.exec.mini-batch.allow-latency: 2s
table.exec.mini-batch.size: 50000
table.optimizer.distinct-agg.split.enabled: true
"""
LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d %p %c - %m%n
"""
# What Flink's own start script opens to it in Java 17.
EXPORTED = ["java.rmi/sun.rmi.registry", "java.security.jgss/sun.security.krb5"] + [
    "jdk.compiler/com.sun.tools.javac." + name for name in ("api", "file", "parser", "tree", "util")]
OPENED = ["java.base/" + name for name in (
    "java.lang", "java.lang.reflect", "java.net", "java.io", "java.nio", "java.text", "java.time", "java.util",
    "java.util.concurrent", "java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch")]
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)


def end_with_parent():
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Refused(Exception):
    """Flink cannot carry out a statement; the text says why."""


class Cluster:
    def __init__(self, directory, parallelism):
        self.directory = directory
        self.parallelism = parallelism
        self.place = os.path.join(home(directory), f"run-{os.getpid()}")
        self.processes = []
        self.task_manager = None

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            self.start()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if kind is None:
            shutil.rmtree(self.place, ignore_errors=True)
        else:
            print(f"the logs of Flink are in {self.place}", file=sys.stderr)

    def start(self):
        for old in glob.glob(os.path.join(home(self.directory), "run-*")):
            if not os.path.exists("/proc/" + old.rsplit("-", 1)[1]):
                shutil.rmtree(old, ignore_errors=True)
        os.makedirs(os.path.join(self.place, "scratch"))
        rpc, self.rest = free_ports(2)
        self.write("config.yaml", CONFIGURATION.format(
            rpc=rpc, rest=self.rest, parallelism=self.parallelism, framework_heap=FRAMEWORK_HEAP_MIB,
            task_heap=HEAP_MIB - FRAMEWORK_HEAP_MIB, scratch=os.path.join(self.place, "scratch")))
        self.write("log4j.properties", LOGGING)
        self.server("org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint",
                    "job-manager.log", "-Xms768m", "-Xmx768m")
        self.task_manager = self.server(
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "task-manager.log", f"-Xms{HEAP_MIB}m",
            f"-Xmx{HEAP_MIB}m", "-XX:MaxDirectMemorySize=512m", "-XX:MaxMetaspaceSize=512m", "-XX:+UseParallelGC").pid
        until = time.monotonic() + START_S_MAX
        while not self.ready():
            if time.monotonic() > until or any(process.poll() is not None for process in self.processes):
                raise SystemExit("the cluster of Flink did not start")
            time.sleep(0.2)

    def ready(self):
        try:
            return self.asked("/overview")["slots-available"] == self.parallelism
        except OSError:
            return False

    def asked(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}{path}", timeout=10) as answer:
            return json.load(answer)

    def write(self, name, text):
        path = os.path.join(self.place, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def java(self, *options):
        opened = [f"--add-exports={name}=ALL-UNNAMED" for name in EXPORTED]
        opened += [f"--add-opens={name}=ALL-UNNAMED" for name in OPENED]
        logging = f"-Dlog4j.configurationFile=file:{self.place}/log4j.properties"
        return ["java", *opened, logging, "-cp", class_path(self.directory), *options]

    def server(self, name, log, *options):
        with open(os.path.join(self.place, log), "w") as output:
            process = subprocess.Popen(self.java(*options, name, "--configDir", self.place), stdout=output,
                                       stderr=subprocess.STDOUT, preexec_fn=end_with_parent)
        self.processes.append(process)
        return process

    def run(self, statements, lookup, seconds_max):
        """What the last of the statements answers: the id of its job, or its row. Raises Refused."""
        path = self.write("statements.sql", statements)
        with open(os.path.join(self.place, "client.log"), "a") as log:
            try:
                done = subprocess.run(self.java("-Xmx1g", "SqlJob", self.place, path, lookup), stdout=subprocess.PIPE,
                                      stderr=log, text=True, timeout=seconds_max, preexec_fn=end_with_parent)
            except subprocess.TimeoutExpired:
                raise SystemExit(f"a job of Flink took more than {seconds_max:.0f} s") from None
        lines = done.stdout.strip().splitlines()
        if done.returncode != 0 or not lines:
            raise SystemExit(f"a job of Flink failed ({done.returncode})")
        kind, answer = lines[-1].split(" ", 1)
        if kind == "REFUSED":
            raise Refused(answer)
        return answer

    def duration_s(self, job):
        found = self.asked(f"/jobs/{job}")
        if found["state"] != "FINISHED":
            raise SystemExit(f"a job of Flink ended as {found['state']}")
        return found["duration"] / 1e3
