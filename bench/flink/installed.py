"""Flink's jars and the two classes of this folder, in the folder of the benchmarks.

Needs `java` and `javac` (JDK 17 or newer); the jars come from PyPI."""

import glob
import os
import shutil
import subprocess
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
VERSION = "2.3.0"
PACKAGE = f"apache-flink-libraries=={VERSION}"
# Flink itself comes without its connector to Kafka; this package of somebody else has that of Flink 2.0 and the client.
KAFKA = "shigawire-apache-flink-libraries==2.0.0.post1"
KAFKA_JARS = ("flink-connector-kafka.jar", "kafka-clients.jar")
DOWNLOAD_S_MAX = 900
COMPILE_S_MAX = 120


class Absent(Exception):
    """Flink cannot run here; the text says why."""


def home(directory):
    return os.path.join(directory, f"flink-{VERSION}")


def class_path(directory):
    return ":".join([os.path.join(home(directory), "classes"), os.path.join(home(directory), "lib", "*"),
                     os.path.join(home(directory), "kafka", "*")])


def install(directory, python):
    """Makes Flink ready with the pip of `python`, or raises Absent."""
    missing = [program for program in ("java", "javac") if shutil.which(program) is None]
    if missing:
        raise Absent(f"there is no {' and no '.join(missing)} (a JDK of version 17 or newer is needed)")
    try:
        if not os.path.isdir(os.path.join(home(directory), "lib")):
            download(directory, python, PACKAGE, "lib", lambda name: name.endswith(".jar"))
        if not os.path.isdir(os.path.join(home(directory), "kafka")):
            download(directory, python, KAFKA, "kafka", lambda name: name in KAFKA_JARS)
        compile_classes(directory)
    except (OSError, subprocess.SubprocessError, zipfile.BadZipFile) as failure:
        raise Absent(str(failure)) from failure


def download(directory, python, package, folder, wanted):
    """The jars of a package that are wanted, into a folder of their own."""
    print(f"installing Flink: {package}", flush=True)
    part = os.path.join(home(directory), folder + ".part")
    shutil.rmtree(part, ignore_errors=True)
    subprocess.run([python, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                    "--dest", part, package], check=True, timeout=DOWNLOAD_S_MAX)
    wheel = glob.glob(os.path.join(part, "*.whl"))[0]
    with zipfile.ZipFile(wheel) as packed:
        for path in packed.namelist():
            name = os.path.basename(path)
            if path.startswith("pyflink/lib/") and wanted(name):
                with packed.open(path) as jar, open(os.path.join(part, name), "wb") as out:
                    shutil.copyfileobj(jar, out)
    os.remove(wheel)
    os.rename(part, os.path.join(home(directory), folder))


def compile_classes(directory):
    """Compiles what has changed since the last time."""
    classes = os.path.join(home(directory), "classes")
    sources = sorted(glob.glob(os.path.join(HERE, "*.java")))
    made = [os.path.join(classes, os.path.basename(source)[:-len("java")] + "class") for source in sources]
    if all(os.path.exists(new) and os.path.getmtime(new) >= os.path.getmtime(old)
           for old, new in zip(sources, made)):
        return
    subprocess.run(["javac", "-cp", os.path.join(home(directory), "lib", "*"), "-d", classes, *sources],
                   check=True, timeout=COMPILE_S_MAX)
