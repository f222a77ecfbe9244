//! Schemas of Avro messages by their numbers, from a registry that answers as Confluent's does.
//!
//! What must hold: what the registry does not answer is asked for again, and messages wait; only what it answers that
//! it has not, or that is no Avro, makes messages bad.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use yeoul_format::{AvroDecoder, Messages};

use crate::decode::SharedDecoder;

/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 8 << 20;
/// Schemas that one schema may stand on, together.
const REFERENCES_MAX: usize = 256;

/// Where schemas are asked for.
#[derive(Clone, Debug)]
pub(super) struct Registry {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
}

/// `POST /subjects/{subject}/versions`.
#[derive(Deserialize)]
struct Registered {
    id: u32,
}

/// Why a schema was not taken.
pub(super) enum RegisterError {
    /// The registry says that it cannot be: it does not fit the one that is there.
    Refused(String),
    /// It does not answer, or not now.
    Away(String),
}

/// Why there is no schema.
enum Failure {
    /// The registry says so.
    Refused(String),
    /// It does not answer, or not now.
    Away(String),
}

/// `/schemas/ids/{id}` and `/subjects/{subject}/versions/{version}`.
#[derive(Deserialize)]
struct Answer {
    schema: String,
    #[serde(rename = "schemaType")]
    kind: Option<String>,
    #[serde(default)]
    references: Vec<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    subject: String,
    version: u32,
}

impl Registry {
    pub(super) fn new(url: &str, user: Option<(&str, &str)>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .build();
        let basic = |(name, password): (&str, &str)| {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{password}")))
        };
        Self {
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
            authorization: user.map(basic),
        }
    }

    /// Tells the decoder of these schemas, which it does not know. What the registry does not answer is an error, for
    /// people.
    pub(super) fn teach(&self, decoder: &mut AvroDecoder, missing: &[u32]) -> Result<(), String> {
        for &id in missing {
            match self.schema(id) {
                Ok((schema, references)) => {
                    let references: Vec<&str> = references.iter().map(String::as_str).collect();
                    if let Err(error) = decoder.learn(id, &schema, &references) {
                        tracing::warn!("schema {id} of {}: {error}", self.url);
                    }
                }
                Err(Failure::Refused(reason)) => {
                    tracing::warn!("schema {id} of {}: {reason}", self.url);
                    decoder.refuse(id, &reason);
                }
                Err(Failure::Away(reason)) => {
                    return Err(format!("schema {id} is not known: {}: {reason}", self.url));
                }
            }
        }
        Ok(())
    }

    /// The text of a schema, and those of the schemas it stands on, which come before those that name them.
    fn schema(&self, id: u32) -> Result<(String, Vec<String>), Failure> {
        let answer = self.ask(&format!("/schemas/ids/{id}"))?;
        if let Some(kind) = answer.kind.filter(|kind| kind != "AVRO") {
            return Err(Failure::Refused(format!("it is {kind}, not Avro")));
        }
        let mut references = Vec::new();
        self.references(answer.references, &mut Vec::new(), &mut references)?;
        Ok((answer.schema, references))
    }

    fn references(
        &self,
        of: Vec<Reference>,
        seen: &mut Vec<(String, u32)>,
        all: &mut Vec<String>,
    ) -> Result<(), Failure> {
        for Reference { subject, version } in of {
            let name = (subject, version);
            if seen.contains(&name) {
                continue;
            }
            if seen.len() == REFERENCES_MAX {
                let message = format!("it stands on more than {REFERENCES_MAX} schemas");
                return Err(Failure::Refused(message));
            }
            seen.push(name.clone());
            let path = format!("/subjects/{}/versions/{}", escaped(&name.0), name.1);
            let answer = self.ask(&path)?;
            self.references(answer.references, seen, all)?;
            all.push(answer.schema);
        }
        Ok(())
    }

    /// The number of a schema under a subject; it is registered if it was not.
    pub(super) fn register(&self, subject: &str, schema: &str) -> Result<u32, RegisterError> {
        let away = |error: String| RegisterError::Away(format!("{}: {error}", self.url));
        let path = format!("/subjects/{}/versions", escaped(subject));
        let mut request = self.agent.post(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let request = request.header("content-type", "application/vnd.schemaregistry.v1+json");
        let body = serde_json::json!({ "schema": schema }).to_string();
        let mut response = request.send(body).map_err(|e| away(e.to_string()))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|e| away(e.to_string()))?;
        match status.as_u16() {
            200 => serde_json::from_str(&body)
                .map(|Registered { id }| id)
                .map_err(|e| away(format!("its answer to {path} is none of a registry: {e}"))),
            409 | 422 => Err(RegisterError::Refused(format!(
                "the registry does not take the schema of subject \"{subject}\": {body}"
            ))),
            _ => Err(away(format!("it answers {status} to {path}: {body}"))),
        }
    }

    fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let away = |error: String| Failure::Away(error);
        let mut request = self.agent.get(format!("{}{path}", self.url));
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(|e| away(e.to_string()))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|e| away(e.to_string()))?;
        match status.as_u16() {
            200 => serde_json::from_str(&body)
                .map_err(|e| away(format!("its answer to {path} is none of a registry: {e}"))),
            404 => Err(Failure::Refused("the registry does not have it".to_owned())),
            _ => Err(away(format!("it answers {status} to {path}"))),
        }
    }
}

/// A text as a part of a path or a form.
pub(super) fn escaped(subject: &str) -> String {
    let mut escaped = String::with_capacity(subject.len());
    for byte in subject.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

impl SharedDecoder {
    /// Makes sure that it knows the schemas of these messages and of their keys. What the registry does not answer is an
    /// error, for people.
    pub(super) fn learn(
        &mut self,
        registry: &Registry,
        messages: &Messages,
        keys: Option<&Messages>,
    ) -> Result<(), String> {
        match self {
            Self::Text(_) => Ok(()),
            Self::Avro(decoder) => match decoder.missing(messages) {
                missing if missing.is_empty() => Ok(()),
                missing => registry.teach(Arc::make_mut(decoder), &missing),
            },
            Self::Changes(decoder) => {
                let (of_values, of_keys) = decoder.missing(messages, keys);
                if of_values.is_empty() && of_keys.is_empty() {
                    return Ok(());
                }
                let (values, keys) = Arc::make_mut(decoder).avro_decoders();
                values.map_or(Ok(()), |decoder| registry.teach(decoder, &of_values))?;
                keys.map_or(Ok(()), |decoder| registry.teach(decoder, &of_keys))
            }
        }
    }
}
