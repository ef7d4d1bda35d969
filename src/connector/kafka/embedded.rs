//! A broker inside this process: librdkafka's own stand-in, for `demo`.
//!
//! It speaks Kafka's protocol on a port of this machine and keeps the last 5 MiB of each partition,
//! in memory. It ends with the process. It takes transactions, but they are not all or nothing: what
//! runs on it is a show, and survives nothing.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::marks;
use crate::connector::ConnectorError;

/// A broker with one topic, until it is dropped.
pub struct EmbeddedBroker(MockCluster<'static, DefaultProducerContext>);

impl std::fmt::Debug for EmbeddedBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EmbeddedBroker")
            .field(&self.servers())
            .finish()
    }
}

impl EmbeddedBroker {
    /// Starts it, with a topic of so many partitions.
    pub fn start(topic: &str, partitions: u16) -> Result<Self, ConnectorError> {
        let failed = |error| {
            ConnectorError::permanent(format!("cannot start a broker in this process: {error}"))
        };
        let cluster = MockCluster::new(1).map_err(failed)?;
        cluster
            .create_topic(topic, i32::from(partitions), 1)
            .map_err(failed)?;
        // It makes topics that somebody asks for, with more partitions than this one may have.
        cluster.create_topic(marks::TOPIC, 1, 1).map_err(failed)?;
        Ok(Self(cluster))
    }

    /// Where it listens.
    #[must_use]
    pub fn servers(&self) -> String {
        self.0.bootstrap_servers()
    }
}
