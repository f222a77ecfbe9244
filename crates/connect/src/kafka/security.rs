//! Who we are to brokers, and how connections are encrypted: TLS, SASL, and the tokens of OAuth 2.0.
//!
//! librdkafka asks for a token when a client begins and when four fifths of its time have passed. It is got from the
//! token endpoint with the client's credentials (RFC 6749, section 4.4).

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rdkafka::client::OAuthToken;
use serde::Deserialize;
use yeoul_engine::{ConnectorOptions, Contradiction};

use super::registry::escaped;

/// How long an answer of the endpoint is waited for.
const ANSWER: Duration = Duration::from_secs(5);
/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// How long a token is taken to be good for that does not say it.
const LIFETIME_S: i64 = 300;

/// Where tokens are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TokenSource {
    url: String,
    client: String,
    secret: String,
    scope: Option<String>,
}

/// What the endpoint answers.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<i64>,
}

impl TokenSource {
    /// A token, at `now_us`; else why there is none, for people.
    pub(super) fn token(&self, now_us: i64) -> Result<OAuthToken, String> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(ANSWER))
            .http_status_as_error(false)
            .build();
        let agent: ureq::Agent = config.into();
        let mut body = "grant_type=client_credentials".to_owned();
        if let Some(scope) = &self.scope {
            body += &format!("&scope={}", escaped(scope));
        }
        let credentials = format!("{}:{}", escaped(&self.client), escaped(&self.secret));
        let failed = |error: String| format!("{}: {error}", self.url);
        let mut response = agent
            .post(&self.url)
            .header("authorization", format!("Basic {}", BASE64_STANDARD.encode(credentials)))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .send(body)
            .map_err(|e| failed(e.to_string()))?;
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let body = body.map_err(|e| failed(e.to_string()))?;
        if status != 200 {
            return Err(failed(format!("it answers {status}: {}", body.replace('\0', " "))));
        }
        let answer: Answer = serde_json::from_str(&body)
            .map_err(|e| failed(format!("its answer is no token: {e}")))?;
        let lifetime_s = answer.expires_in.unwrap_or(LIFETIME_S).max(1);
        Ok(OAuthToken {
            token: answer.access_token,
            principal_name: self.client.clone(),
            lifetime_ms: (now_us / 1000).saturating_add(lifetime_s.saturating_mul(1000)),
        })
    }
}

/// Adds what librdkafka is told of it to `all`; where tokens are from, if they are needed.
pub(super) fn security(
    given: &ConnectorOptions,
    all: &mut Vec<(&'static str, String)>,
) -> Result<Option<TokenSource>, Contradiction> {
    let tls = given.bool("tls").unwrap_or(false);
    let files = [
        ("tls_ca", "ssl.ca.location"),
        ("tls_certificate", "ssl.certificate.location"),
        ("tls_key", "ssl.key.location"),
    ];
    for (name, setting) in files {
        let Some(path) = given.text(name) else { continue };
        if !tls {
            let message = format!("\"{name}\" means nothing without TLS");
            return Err(Contradiction(message, "add tls = 'true'"));
        }
        all.push((setting, path.to_owned()));
    }
    let (username, password) = (given.text("username"), given.text("password"));
    let mechanism = given.text("sasl_mechanism");
    let (sasl, tokens) = match (mechanism, username, password) {
        (Some("oauthbearer"), Some(client), Some(secret)) => {
            all.push(("sasl.mechanism", "OAUTHBEARER".to_owned()));
            (true, Some(token_source(given, client, secret)?))
        }
        (Some(mechanism), Some(username), Some(password)) => {
            all.push(("sasl.mechanism", mechanism.to_uppercase()));
            all.push(("sasl.username", username.to_owned()));
            all.push(("sasl.password", password.to_owned()));
            (true, None)
        }
        (None, None, None) => (false, None),
        (None, ..) => {
            let message = "\"username\" and \"password\" need \"sasl_mechanism\"".to_owned();
            return Err(Contradiction(message, "add sasl_mechanism = 'scram-sha-512'"));
        }
        (Some(_), ..) => {
            let message = "\"sasl_mechanism\" needs \"username\" and \"password\"".to_owned();
            return Err(Contradiction(message, "add username = '…', password = '${NAME}'"));
        }
    };
    if tokens.is_none()
        && let Some(name) =
            ["oauth_token_url", "oauth_scope"].into_iter().find(|name| given.text(name).is_some())
    {
        let message = format!("\"{name}\" is for sasl_mechanism = 'oauthbearer'");
        return Err(Contradiction(message, "add it, or leave this out"));
    }
    let protocol = match (tls, sasl) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    all.push(("security.protocol", protocol.to_owned()));
    Ok(tokens)
}

fn token_source(
    given: &ConnectorOptions,
    client: &str,
    secret: &str,
) -> Result<TokenSource, Contradiction> {
    const HINT: &str = "add oauth_token_url = 'https://login.example.com/token'";
    let url = given.text("oauth_token_url").map(str::trim).unwrap_or_default();
    if url.is_empty() {
        let message = "sasl_mechanism = 'oauthbearer' needs where tokens are got".to_owned();
        return Err(Contradiction(message, HINT));
    }
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Contradiction(format!("oauth_token_url = '{url}' is no address"), HINT));
    }
    Ok(TokenSource {
        url: url.to_owned(),
        client: client.to_owned(),
        secret: secret.to_owned(),
        scope: given.text("oauth_scope").map(str::to_owned),
    })
}
