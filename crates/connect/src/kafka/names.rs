//! What others call the options of this connector: librdkafka and the Java client, Flink, RisingWave and ClickHouse. Who comes
//! from there is told the name here.

/// Their names, without prefixes such as `properties.` and `scan.`, and ours.
pub(super) const CALLED: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers"),
    ("bootstrap.server", "brokers"),
    ("metadata.broker.list", "brokers"),
    ("broker.list", "brokers"),
    ("topics", "topic"),
    ("topic.list", "topic"),
    ("topic.pattern", "topic"),
    ("group.id", "group"),
    ("group.name", "group"),
    ("group.id.prefix", "group"),
    ("group.instance.id", "group_instance"),
    ("session.timeout.ms", "session_timeout"),
    ("auto.offset.reset", "start"),
    ("startup.mode", "start"),
    ("startup.timestamp.millis", "start"),
    ("startup.specific.offsets", "start"),
    ("isolation.level", "isolation"),
    ("queued.max.messages.kbytes", "queue_bytes_max"),
    ("retry.backoff.ms", "retry_wait"),
    ("retry.backoff.max.ms", "retry_wait_max"),
    ("security.protocol", "tls"),
    ("ssl.ca.location", "tls_ca"),
    ("ssl.certificate.location", "tls_certificate"),
    ("ssl.key.location", "tls_key"),
    ("sasl.mechanism", "sasl_mechanism"),
    ("sasl.mechanisms", "sasl_mechanism"),
    ("sasl.username", "username"),
    ("sasl.password", "password"),
    ("sasl.oauthbearer.token.endpoint.url", "oauth_token_url"),
    ("sasl.oauthbearer.scope", "oauth_scope"),
    ("schema.registry.url", "schema_registry"),
    ("value.format", "format"),
    ("delivery.guarantee", "delivery"),
    ("compression.type", "compression"),
    ("compression.codec", "compression"),
];

#[cfg(test)]
mod tests {
    use super::CALLED;
    use crate::kafka::options::SPEC;

    #[test]
    fn each_is_the_name_of_an_option() {
        for (theirs, ours) in CALLED {
            let own = SPEC.options.iter().any(|option| option.name == *ours);
            assert!(own || *ours == "format", "{theirs}: {ours}");
            assert_eq!(theirs.to_lowercase(), *theirs);
        }
    }
}
