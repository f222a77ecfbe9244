//! What the options of a file source say: which files, how written, how read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use yeoul_engine::StreamHandle;
use yeoul_format::{DecodeOptions, Decoder, Format};

use super::options::{Compression, FileOptions, Speed};
use crate::error::ConnectError;

/// How the bytes of a file become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text(Packing),
    Parquet,
}

/// A file of the source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct FileName {
    /// As messages and positions name it: as the option writes it, wildcards filled in.
    pub(super) shown: Arc<str>,
    /// Where it is.
    pub(super) path: PathBuf,
}

/// The options, checked.
pub(super) struct Plan {
    stream: String,
    base: PathBuf,
    pattern: String,
    compression: Compression,
    /// What the option says; `None`: each file by its ending, else JSON.
    format: Option<Format>,
    /// How text is decoded.
    pub(super) decode: DecodeOptions,
    pub(super) speed: Speed,
    pub(super) follow: bool,
}

impl Plan {
    pub(super) fn new(
        stream: &StreamHandle,
        options: FileOptions,
        base: &Path,
    ) -> Result<Self, ConnectError> {
        let wrong = |message: String| ConnectError::new(stream.name(), message);
        let mut decode = stream.decode_options().clone();
        let format = decode.format;
        decode.format = format.filter(|format| *format != Format::Parquet);
        // The columns and the mapping are checked here, before anything is read.
        Decoder::new(Arc::clone(stream.schema()), &decode).map_err(|e| wrong(e.to_string()))?;
        let plan = Self {
            stream: stream.name().to_owned(),
            base: base.to_owned(),
            pattern: options.path,
            compression: options.compression,
            format,
            decode,
            speed: options.speed,
            follow: options.follow,
        };
        if plan.speed != Speed::Max && stream.event_time().is_none() {
            return Err(wrong("a replay by event time needs a stream with an event time".into())
                .with_hint("declare WATERMARK FOR a timestamp column, or leave \"speed\" out"));
        }
        if plan.files()?.is_empty() && !plan.follow {
            let error = wrong(format!("no file matches \"{}\"", plan.pattern));
            return Err(if plan.base.join(&plan.pattern).is_dir() {
                let folder = plan.pattern.trim_end_matches('/');
                error.with_hint(format!("it is a folder; its files are \"{folder}/*\""))
            } else {
                error.with_hint(format!("relative paths begin at {}", plan.base.display()))
            });
        }
        Ok(plan)
    }

    /// The files there are now, in the order of their names.
    pub(super) fn files(&self) -> Result<Vec<FileName>, ConnectError> {
        let wrong = |message: String| ConnectError::new(&self.stream, message);
        let joined = self.base.join(&self.pattern);
        if joined.is_file() {
            // Whatever its name is made of.
            return Ok(vec![FileName { shown: self.pattern.as_str().into(), path: joined }]);
        }
        let full = joined.to_str().ok_or_else(|| wrong("the path is not UTF-8".into()))?;
        let found =
            glob::glob(full).map_err(|e| wrong(format!("path \"{}\": {}", self.pattern, e.msg)))?;
        let absolute = Path::new(&self.pattern).is_absolute();
        let mut files = Vec::new();
        // A folder that went while it was looked at has no files.
        let gone = |e: &glob::GlobError| e.error().kind() == std::io::ErrorKind::NotFound;
        for path in found.filter(|path| !path.as_ref().is_err_and(gone)) {
            let path = path
                .map_err(|e| wrong(format!("cannot read {}: {}", e.path().display(), e.error())))?;
            if path.is_dir() {
                continue;
            }
            let below = if absolute { None } else { path.strip_prefix(&self.base).ok() };
            let shown = below.unwrap_or(&path).to_string_lossy().into();
            files.push(FileName { shown, path });
        }
        files.sort();
        Ok(files)
    }

    /// How the file is read, by its ending and the options.
    pub(super) fn kind(&self, file: &FileName) -> Kind {
        let ending = file.path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        match (self.compression, ending.as_deref()) {
            _ if self.format == Some(Format::Parquet) => Kind::Parquet,
            (_, Some("parquet")) if self.format.is_none() => Kind::Parquet,
            (Compression::Gzip, _) | (Compression::Auto, Some("gz")) => Kind::Text(Packing::Gzip),
            (Compression::Zstd, _) | (Compression::Auto, Some("zst" | "zstd")) => {
                Kind::Text(Packing::Zstd)
            }
            _ => Kind::Text(Packing::Plain),
        }
    }

    /// A failure of the file.
    pub(super) fn failed(&self, file: &FileName, what: impl std::fmt::Display) -> ConnectError {
        ConnectError::new(&self.stream, format!("{}: {what}", file.shown))
    }
}
