//! The engine's state in the manifest: what a checkpoint has to remember beside the trees.
//!
//! JSON, because it is small, written once per checkpoint, and should be readable when something is
//! wrong. `docs/format/meta.md` specifies it.

use serde::{Deserialize, Serialize};
use yeoul_batch::EventTime;
use yeoul_flow::{PartitionName, PartitionTime};

use crate::commit::{HistoryRecord, SinkState};
use crate::error::{EngineError, ErrorKind};

/// The newest version, and the newest one read.
const VERSION: u32 = 3;
/// The version that is written while there are versions or histories, and nothing that needs the newest.
const VERSION_CHANGED: u32 = 2;
/// The version that is written while there is nothing that needs the newest.
const VERSION_PLAIN: u32 = 1;

/// The state as of one commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// 1, or 2 when a view is being replaced or a relation was altered: a program that knows only 1 would
    /// take the new version for the view, and could not read older parts. 3 when partitions have watermarks of their
    /// own: a program that does not know them would close windows too early.
    pub version: u32,
    /// The next relation's number.
    pub next_relation: u32,
    /// The next tree's number.
    pub next_tree: u32,
    /// The statements that created functions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// The clock that views were stepped by last, in microseconds: it never goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_us: Option<i64>,
    /// Streams, tables and views in order of creation.
    pub relations: Vec<RelationMeta>,
    /// Where every partition of every source stands, and what came from it.
    pub sources: Vec<SourceMeta>,
    /// Views that get another number when a build is swapped in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moves: Vec<MoveMeta>,
    /// Functions that become others when a build is swapped in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_functions: Vec<BuildFunctionMeta>,
}

/// A function that a build changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildFunctionMeta {
    /// The number of the build's first version.
    pub build: u32,
    /// The statement that creates it as it will be.
    pub sql: String,
}

/// A view that a build moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MoveMeta {
    /// Its number.
    pub from: u32,
    /// The number it will have.
    pub to: u32,
    /// The number of the build's first version.
    pub build: u32,
}

/// What a version is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionMeta {
    /// Which relation it will replace.
    pub replaces: u32,
    /// The number of the build's first version.
    pub build: u32,
}

/// A relation, to be made again from its SQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RelationMeta {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// The statement that created it.
    pub sql: String,
    /// Its trees: its own, then those of operators inside a view.
    pub trees: Vec<u32>,
    /// The commit that created it.
    pub created: u64,
    /// A view that is not complete: it is built anew on start.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub building: bool,
    /// What the trees of a view are like: with another layout they are not taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<String>,
    /// A version of a view that is being built beside the one of its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionMeta>,
    /// What became of the columns of a relation that was altered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<HistoryRecord>,
    /// The event time that a stream is up to, in microseconds: the newest seen, or that of its last partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_us: Option<i64>,
    /// How far its partitions are that have watermarks of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<PartitionMeta>,
    /// When something came to a stream last, for one that may be idle, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_us: Option<i64>,
    /// Up to where a view has closed windows, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_us: Option<i64>,
    /// What stands with the changes of a sink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sink: Option<SinkState>,
}

/// A partition that has a watermark of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartitionMeta {
    /// The source.
    pub source: String,
    /// Its partition.
    pub partition: String,
    /// The newest event time seen of it, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_us: Option<i64>,
    /// When something came from it last, in microseconds.
    pub active_us: i64,
}

impl PartitionMeta {
    pub(crate) fn of((name, time): (&PartitionName, &PartitionTime)) -> Self {
        Self {
            source: name.0.to_string(),
            partition: name.1.to_string(),
            newest_us: (time.newest != EventTime::MIN).then_some(time.newest.0),
            active_us: time.active_us,
        }
    }

    pub(crate) fn time(&self) -> (PartitionName, PartitionTime) {
        let newest = self.newest_us.map_or(EventTime::MIN, EventTime);
        let name = (self.source.as_str().into(), self.partition.as_str().into());
        (name, PartitionTime { newest, active_us: self.active_us })
    }
}

/// One partition of a source of one relation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SourceMeta {
    /// The relation.
    pub relation: u32,
    /// The source.
    pub source: String,
    /// Its partition.
    pub partition: String,
    /// Where it stands.
    pub position: u64,
    /// Which deliveries brought it there, for sources with positions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Chain>,
    /// What came and what became of it.
    #[serde(flatten)]
    pub counts: Counts,
}

/// The deliveries of a partition as their positions tell: `begin + covered` is where it stands unless
/// something between was never delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Chain {
    /// Where counting began: 0, or where the partition stood when an older program had written it.
    pub begin: u64,
    /// The lengths of all deliveries since, together.
    pub covered: u64,
    /// How many of them did not begin where the one before ended.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gaps: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// `received = stored + duplicates + dead_letters`, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// Rows and dead letters taken.
    pub received: u64,
    /// Rows stored.
    pub stored: u64,
    /// Rows dropped as duplicates.
    pub duplicates: u64,
    /// Kept in `yeoul.dead_letters`.
    pub dead_letters: u64,
    /// Of the stored, how many were late.
    pub late: u64,
}

impl Meta {
    /// The version that these relations need.
    pub(crate) fn version_of(relations: &[RelationMeta]) -> u32 {
        let changed =
            |relation: &RelationMeta| relation.version.is_some() || relation.history.is_some();
        if relations.iter().any(|relation| !relation.partitions.is_empty()) {
            VERSION
        } else if relations.iter().any(changed) {
            VERSION_CHANGED
        } else {
            VERSION_PLAIN
        }
    }

    /// The bytes for the manifest.
    pub(crate) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data always becomes JSON")
    }

    /// Reads them back.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, EngineError> {
        let meta: Self = serde_json::from_slice(bytes).map_err(|e| {
            EngineError::new(
                ErrorKind::Internal,
                format!("the catalog in the manifest is damaged: {e}"),
            )
            .with_hint("restore the data folder from a backup")
        })?;
        if meta.version > VERSION {
            return Err(EngineError::new(
                ErrorKind::Input,
                format!(
                    "the catalog has version {}; this program reads up to {VERSION}",
                    meta.version
                ),
            )
            .with_hint("start the data folder with the version of Yeoul that wrote it"));
        }
        Ok(meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 1 writes, but for the white space between the lines.
    const VERSION_1: &str = r#"{"version":1,"next_relation":4,"next_tree":5,"relations":[
{"id":0,"name":"yeoul.dead_letters","sql":"","trees":[0],"created":0},
{"id":2,"name":"e","sql":"CREATE STREAM e (\"t\" TIMESTAMP)","trees":[1],"created":7,"newest_us":-1},
{"id":3,"name":"v","sql":"CREATE MATERIALIZED VIEW v AS SELECT 1","trees":[3,4],"created":9,"building":true}],
"sources":[
{"relation":2,"source":"file","partition":"a.csv","position":18446744073709551615,"received":10,"stored":7,"duplicates":2,"dead_letters":1,"late":3}]}"#;

    fn version_1() -> Meta {
        let relation = |id, name: &str, sql: &str, trees: &[u32], created| RelationMeta {
            id,
            name: name.into(),
            sql: sql.into(),
            trees: trees.into(),
            created,
            building: false,
            layout: None,
            version: None,
            history: None,
            newest_us: None,
            partitions: Vec::new(),
            active_us: None,
            closed_us: None,
            sink: None,
        };
        let stream = relation(2, "e", "CREATE STREAM e (\"t\" TIMESTAMP)", &[1], 7);
        let view = relation(3, "v", "CREATE MATERIALIZED VIEW v AS SELECT 1", &[3, 4], 9);
        Meta {
            version: 1,
            next_relation: 4,
            next_tree: 5,
            functions: Vec::new(),
            time_us: None,
            relations: vec![
                relation(0, "yeoul.dead_letters", "", &[0], 0),
                RelationMeta { newest_us: Some(-1), ..stream },
                RelationMeta { building: true, ..view },
            ],
            sources: vec![SourceMeta {
                relation: 2,
                source: "file".into(),
                partition: "a.csv".into(),
                position: u64::MAX,
                chain: None,
                counts: Counts { received: 10, stored: 7, duplicates: 2, dead_letters: 1, late: 3 },
            }],
            moves: Vec::new(),
            build_functions: Vec::new(),
        }
    }

    #[test]
    fn version_1_means_what_it_meant() {
        assert_eq!(Meta::decode(VERSION_1.as_bytes()).expect("decodes"), version_1());
        // And it is what is written: the page in docs/format holds for new manifests too.
        let written = String::from_utf8(version_1().encode()).expect("JSON is text");
        assert_eq!(written, VERSION_1.replace('\n', ""));
    }

    #[test]
    fn what_came_to_version_1_later_is_optional() {
        let mut meta = version_1();
        for (gaps, text) in [
            (0, r#""chain":{"begin":3,"covered":7},"received""#),
            (2, r#""chain":{"begin":3,"covered":7,"gaps":2},"received""#),
        ] {
            meta.sources[0].chain = Some(Chain { begin: 3, covered: 7, gaps });
            let written = String::from_utf8(meta.encode()).expect("JSON is text");
            assert!(written.contains(text), "{written}");
            assert_eq!(Meta::decode(written.as_bytes()).expect("decodes"), meta);
        }
        meta.functions = vec!["CREATE FUNCTION …".into()];
        let written = String::from_utf8(meta.encode()).expect("JSON is text");
        assert!(written.contains(r#""functions":["CREATE FUNCTION …"],"relations":"#), "{written}");
        assert_eq!(Meta::decode(written.as_bytes()).expect("decodes"), meta);
    }

    #[test]
    fn version_2_has_versions_of_views() {
        let mut meta = version_1();
        assert_eq!(Meta::version_of(&meta.relations), 1);
        meta.relations[2].version = Some(VersionMeta { replaces: 2, build: 3 });
        meta.moves = vec![MoveMeta { from: 5, to: 9, build: 3 }];
        meta.build_functions =
            vec![BuildFunctionMeta { build: 3, sql: "CREATE FUNCTION …".into() }];
        meta.version = Meta::version_of(&meta.relations);
        let written = String::from_utf8(meta.encode()).expect("JSON is text");
        for text in [
            r#"{"version":2,"#,
            r#""building":true,"version":{"replaces":2,"build":3}}"#,
            r#""late":3}],"moves":[{"from":5,"to":9,"build":3}],"build_functions":"#,
            r#""build_functions":[{"build":3,"sql":"CREATE FUNCTION …"}]}"#,
        ] {
            assert!(written.contains(text), "{written}");
        }
        assert_eq!(Meta::decode(written.as_bytes()).expect("decodes"), meta);
    }

    #[test]
    fn version_3_has_watermarks_of_partitions() {
        let mut meta = version_1();
        let partition = |partition: &str, newest_us| PartitionMeta {
            source: "kafka".into(),
            partition: partition.into(),
            newest_us,
            active_us: 16,
        };
        meta.relations[1].partitions = vec![partition("t/0", Some(-1)), partition("t/1", None)];
        meta.version = Meta::version_of(&meta.relations);
        let written = String::from_utf8(meta.encode()).expect("JSON is text");
        let text = r#""newest_us":-1,"partitions":[{"source":"kafka","partition":"t/0","newest_us":-1,"active_us":16},{"#;
        assert!(written.starts_with(r#"{"version":3,"#) && written.contains(text), "{written}");
        assert_eq!(Meta::decode(written.as_bytes()).expect("decodes"), meta);
        for partition in &meta.relations[1].partitions {
            let (name, time) = partition.time();
            assert_eq!(PartitionMeta::of((&name, &time)), *partition);
        }
    }

    #[test]
    fn what_views_that_go_by_time_need_is_kept() {
        let mut meta = version_1();
        meta.time_us = Some(17);
        meta.relations[1].active_us = Some(16);
        meta.relations[2].closed_us = Some(-5);
        let written = String::from_utf8(meta.encode()).expect("JSON is text");
        for part in [
            r#""next_tree":5,"time_us":17,"relations""#,
            r#""newest_us":-1,"active_us":16}"#,
            r#""building":true,"closed_us":-5}"#,
        ] {
            assert!(written.contains(part), "{part} is not in {written}");
        }
        assert_eq!(Meta::decode(written.as_bytes()).expect("decodes"), meta);
    }

    #[test]
    fn a_newer_version_and_what_is_no_catalog_are_refused() {
        let refused = |text: &str| Meta::decode(text.as_bytes()).expect_err("refused").to_string();
        let newer = VERSION_1.replacen("\"version\":1", "\"version\":4", 1);
        assert!(refused(&newer).contains("version 4"));
        assert!(refused(&VERSION_1[..VERSION_1.len() - 1]).contains("damaged"));
        assert!(refused(&VERSION_1.replacen("\"trees\"", "\"wood\"", 1)).contains("damaged"));
    }
}
