//! Connections: how they are made, and what is set on each of them.

use std::time::Duration;

use postgres::config::{ChannelBinding, TargetSessionAttrs};
use postgres::{Client, Config};

use super::address::Address;
use super::{error, tls};
use crate::connector::ConnectorError;

/// Names in PostgreSQL have at most this many bytes.
const NAME_MAX: usize = 63;

/// The oldest server that has all that is used here.
const VERSION_MIN: i32 = 120_000;

/// How long things may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) statement: Duration,
    pub(super) lock: Duration,
}

/// A connection and what was found on the other side.
pub(super) struct Connected {
    pub(super) client: Client,
    /// Where tables without a schema are.
    pub(super) schema: String,
    /// Whether it only follows another server.
    pub(super) standby: bool,
}

/// Connects and sets the session up.
pub(super) fn connect(
    address: &Address,
    limits: Limits,
    pipeline: &str,
) -> Result<Connected, ConnectorError> {
    let (mode, tls) = tls::configure(address).map_err(ConnectorError::permanent)?;
    let mut config = configure(address)?;
    config.ssl_mode(mode);
    config.application_name(&application_name(pipeline));
    let mut client = config
        .connect(tls)
        .map_err(|e| error::unconnected(address, &e))?;
    let failed = |e| error::converted("use", address, &e);
    client.batch_execute(&settings(limits)).map_err(failed)?;
    let row = client
        .query_one(
            "select current_schema()::text, pg_is_in_recovery(),
                    current_setting('server_version_num')::int4, current_setting('server_version')",
            &[],
        )
        .map_err(failed)?;
    if row.get::<_, i32>(2) < VERSION_MIN {
        let version: &str = row.get(3);
        return Err(ConnectorError::hinted(
            format!("`{address}` is PostgreSQL {version}"),
            "12 is the oldest that is supported",
        ));
    }
    let Some(schema) = row.get::<_, Option<String>>(0) else {
        return Err(ConnectorError::hinted(
            format!("`{address}`: no schema of the role's search_path exists"),
            "CREATE SCHEMA, or add ?options=-csearch_path%3Dpublic to `url`",
        ));
    };
    Ok(Connected {
        client,
        schema,
        standby: row.get(1),
    })
}

/// Hash and merge joins would scan the whole table for a few thousand keys. Commits are not waited
/// for on the disk: rows and mark are lost together or not at all.
fn settings(limits: Limits) -> String {
    let (statement, lock) = (limits.statement.as_millis(), limits.lock.as_millis());
    // A transaction of ours waits for nobody but us, and we encode between its statements.
    let idle = Duration::from_secs(60).max(limits.statement).as_millis();
    format!(
        "set enable_hashjoin = off; set enable_mergejoin = off; set jit = off;
         set synchronous_commit = off; set timezone = 'UTC';
         set standard_conforming_strings = on; set client_min_messages = warning;
         set statement_timeout = {statement}; set lock_timeout = {lock};
         set idle_in_transaction_session_timeout = {idle}"
    )
}

fn configure(address: &Address) -> Result<Config, ConnectorError> {
    let mut config = Config::new();
    let seconds = |name: &str, default: u64| {
        let seconds = address.get(name).and_then(|text| text.parse().ok());
        Duration::from_secs(seconds.unwrap_or(default))
    };
    config
        .user(address.user())
        .dbname(address.database())
        .connect_timeout(seconds("connect_timeout", 10))
        .keepalives(true)
        .keepalives_idle(seconds("keepalives_idle", 30))
        .keepalives_interval(seconds("keepalives_interval", 5))
        .keepalives_retries(3);
    // In milliseconds, as libpq has it.
    let unanswered = address.get("tcp_user_timeout").and_then(|t| t.parse().ok());
    config.tcp_user_timeout(Duration::from_millis(unanswered.unwrap_or(30_000)));
    for (host, port) in address.hosts() {
        config.host(host).port(port);
    }
    for address in address
        .get("hostaddr")
        .into_iter()
        .flat_map(|t| t.split(','))
    {
        let address = address
            .parse()
            .map_err(|_| ConnectorError::permanent("`hostaddr` must be an IP address"))?;
        config.hostaddr(address);
    }
    if let Some(password) = address.get("password") {
        config.password(password);
    }
    if let Some(options) = address.get("options") {
        config.options(options);
    }
    let several = address.hosts().len() > 1;
    match address.get("target_session_attrs") {
        Some("read-write" | "primary") => {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        None if several => {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        _ => {}
    }
    if address.get("channel_binding") == Some("require") {
        config.channel_binding(ChannelBinding::Require);
    }
    Ok(config)
}

fn application_name(pipeline: &str) -> String {
    let mut name = format!("tidemark {pipeline}");
    while name.len() > NAME_MAX {
        name.pop();
    }
    name
}
