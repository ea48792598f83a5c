//! The command line. Every flag has an environment variable, so that a secret need not be in a list of processes.

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand};
use embedded_host::VariableSource;
use relay::operator::ItemId;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::moment::{Since, age};

/// Runs a Spin application, and carries events between its outbox tables, RabbitMQ and its components.
///
/// Logs go to stderr, one JSON object a line. SIGTERM and SIGINT let it finish what it is at; a second one ends it at
/// once. Exit codes: 0 ended as asked, 1 could not start or failed, 2 wrong usage.
#[derive(Parser)]
#[command(name = "host-bridge", version)]
pub(crate) struct Cli {
    /// What to log: `error`, `warn`, `info`, `debug` or `trace`, for parts as in `info,relay=debug`
    #[arg(
        long,
        env = "SHOP_LOG_LEVEL",
        default_value = "info",
        global = true,
        value_name = "FILTER"
    )]
    pub(crate) log_level: String,

    /// Accept passwords and keys that everybody knows, or that are short: for demonstrations alone
    #[arg(long, env = "SHOP_DEMO_MODE", global = true)]
    pub(crate) demo: bool,

    /// Kill this process with SIGKILL at a named point, `point` or `point:count`: for tests
    #[arg(long, env = "SHOP_CRASH_AT", hide = true, global = true, value_name = "POINT")]
    pub(crate) crash_at: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Serve the components of spin.toml over HTTP
    Serve(Serve),
    /// Carry events: outbox tables → RabbitMQ → components; run as many as you like
    Relay(Relay),
    /// Both serve and relay, in one process
    Up(Up),
    /// Bring logins, schemas, tables and grants to where they should be; safe to repeat
    Migrate(Migrate),
    /// Load demo data; safe to repeat
    Seed(Seed),
    /// Show the shop at a glance: what is unwell, what waits where; ends with 1 if something is amiss
    Status(Status),
    /// Look at what no service or queue would take, and say what is to become of it
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Publish again what was published, after a broker was lost; relays must run
    Replay(Replay),
    /// Check on the live application what must always be true of it
    Audit(Audit),
}

#[derive(Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

#[derive(Args)]
pub(crate) struct Relay {
    #[command(flatten)]
    pub(crate) bridge: BridgeArgs,

    /// Where the components answer: /internal/<service>/events is called under this address
    #[arg(
        long,
        env = "SHOP_EVENTS_URL",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL"
    )]
    pub(crate) events_url: String,

    /// Where a service answers that has a process of its own: `ordering=http://ordering:8003` (repeatable)
    #[arg(long, env = "SHOP_SERVICE_URL", value_delimiter = ',', value_parser = pair::<String>, value_name = "SERVICE=URL")]
    pub(crate) service_url: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) host: HostArgs,
    #[command(flatten)]
    pub(crate) bridge: BridgeArgs,
    #[command(flatten)]
    pub(crate) process: ProcessArgs,
}

/// What every process that stays has.
#[derive(Args)]
pub(crate) struct ProcessArgs {
    /// Where Prometheus finds /metrics
    #[arg(
        long,
        env = "SHOP_METRICS_LISTEN",
        default_value = "127.0.0.1:9100",
        value_name = "ADDRESS"
    )]
    pub(crate) metrics_listen: SocketAddr,

    /// Where spans are sent to, by OTLP over HTTP: `http://collector:4318`; without it nothing is traced
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")]
    pub(crate) otlp_endpoint: Option<String>,

    /// Of the traces that begin here, which part is recorded, 0 to 1; a caller's own trace is as the caller says
    #[arg(long, env = "SHOP_TRACE_RATIO", default_value = "0.1", value_parser = part, value_name = "PART")]
    pub(crate) trace_ratio: f64,

    /// How many seconds the end may take once it is asked for; what is not done by then is cut off
    #[arg(long, env = "SHOP_DRAIN_TIMEOUT", default_value = "20", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) drain_timeout: Duration,
}

#[derive(Args)]
#[command(next_help_heading = "Components")]
pub(crate) struct HostArgs {
    /// The application's manifest
    #[arg(long, env = "SHOP_MANIFEST", default_value = "spin.toml", value_name = "FILE")]
    pub(crate) manifest: PathBuf,

    /// Where the application's routes are served
    #[arg(
        long,
        env = "SHOP_LISTEN",
        default_value = "127.0.0.1:8000",
        value_name = "ADDRESS"
    )]
    pub(crate) listen: SocketAddr,

    /// Serve one component on an address of its own as well: `ordering=127.0.0.1:8003` (repeatable)
    #[arg(long, env = "SHOP_SERVICE_LISTEN", value_delimiter = ',', value_parser = pair::<SocketAddr>, value_name = "NAME=ADDRESS")]
    pub(crate) service_listen: Vec<(String, SocketAddr)>,

    /// A variable of spin.toml: `name=value`, `name=@file`, `@file.toml` or `@file.json` (repeatable, the last one
    /// counts); then SPIN_VARIABLE_<NAME> of the environment is asked
    #[arg(long, value_name = "VARIABLE")]
    pub(crate) variable: Vec<VariableSource>,

    /// Look at the components' files, and have a new version of one serve once it is there; SIGHUP does the same once
    #[arg(long, env = "SHOP_WATCH")]
    pub(crate) watch: bool,

    /// What a new version of a component is asked before it serves: this must be answered with 2xx
    #[arg(long, env = "SHOP_PROBE_PATH", default_value = "/health", value_name = "PATH")]
    pub(crate) probe_path: String,

    /// Try a new version of a component with this part of its requests, above 0 and below 1, beside the one that serves:
    /// `ordering=0.1`; it is taken back if more of its answers are errors, and else serves alone in the end (repeatable)
    #[arg(long, env = "SHOP_CANARY", value_delimiter = ',', value_parser = share, value_name = "NAME=PART")]
    pub(crate) canary: Vec<(String, f64)>,

    /// For how many seconds it is tried
    #[arg(long, env = "SHOP_CANARY_TIME", default_value = "60", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) canary_time: Duration,

    /// Keep compiled components here, so that the next start is quick
    #[arg(long, env = "SHOP_CACHE_DIR", value_name = "FOLDER")]
    pub(crate) cache_dir: Option<PathBuf>,

    /// How many seconds a component may take over an answer; then 503
    #[arg(long, env = "SHOP_REQUEST_TIMEOUT", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) request_timeout: Duration,

    /// How many bytes the body of a request may have; then 413
    #[arg(long, env = "SHOP_MAX_BODY_BYTES", default_value_t = 2 * 1024 * 1024, value_name = "BYTES")]
    pub(crate) max_body_bytes: u64,

    /// How many bytes the bodies of all requests to a component may have at a time; then 503
    #[arg(long, env = "SHOP_MAX_BODIES_BYTES", default_value_t = 64 * 1024 * 1024, value_name = "BYTES")]
    pub(crate) max_bodies_bytes: u64,

    /// How many bytes of memory an instance may use
    #[arg(long, env = "SHOP_MAX_INSTANCE_BYTES", default_value_t = 64 * 1024 * 1024, value_name = "BYTES")]
    pub(crate) max_instance_bytes: usize,

    /// How many instances of one component may live at a time
    #[arg(
        long,
        env = "SHOP_INSTANCES_PER_COMPONENT",
        default_value_t = 32,
        value_name = "COUNT"
    )]
    pub(crate) instances_per_component: u32,

    /// How many requests one component works on at a time; as many more wait, then 503
    #[arg(
        long,
        env = "SHOP_REQUESTS_PER_COMPONENT",
        default_value_t = 256,
        value_name = "COUNT"
    )]
    pub(crate) requests_per_component: usize,

    /// How many requests to one reserved path a component works on beyond those
    #[arg(
        long,
        env = "SHOP_RESERVED_PER_COMPONENT",
        default_value_t = 16,
        value_name = "COUNT"
    )]
    pub(crate) reserved_per_component: usize,

    /// A path that has such room of its own, so that it is answered while clients are turned away; `{component}` is
    /// whoever answers
    /// (repeatable)
    #[arg(
        long,
        env = "SHOP_RESERVED_PATH",
        value_delimiter = ',',
        default_values = embedded_host::RESERVED_PATHS,
        value_name = "PATH"
    )]
    pub(crate) reserved_path: Vec<String>,

    /// Of how many traces a second to a component a client may say that they be recorded
    #[arg(long, env = "SHOP_CLIENT_TRACES", default_value_t = 10, value_name = "COUNT")]
    pub(crate) client_traces: u32,

    /// How many connections one listener has at a time; a further one is answered 503
    #[arg(
        long,
        env = "SHOP_MAX_CONNECTIONS",
        default_value_t = 4096,
        value_name = "COUNT"
    )]
    pub(crate) max_connections: usize,

    /// How many of them from one address; behind a proxy, as many as that may have
    #[arg(
        long,
        env = "SHOP_MAX_CONNECTIONS_PER_ADDRESS",
        default_value_t = 1024,
        value_name = "COUNT"
    )]
    pub(crate) max_connections_per_address: usize,

    /// How many seconds a client may take over the head of a request; then 408
    #[arg(long, env = "SHOP_HEADER_TIMEOUT", default_value = "10", value_parser = interval, value_name = "SECONDS")]
    pub(crate) header_timeout: Duration,

    /// How many seconds a connection may be idle; then it is closed
    #[arg(long, env = "SHOP_IDLE_TIMEOUT", default_value = "60", value_parser = interval, value_name = "SECONDS")]
    pub(crate) idle_timeout: Duration,

    /// How many bytes the line and the headers of a request may have together; then 431
    #[arg(long, env = "SHOP_MAX_HEAD_BYTES", default_value_t = 32 * 1024, value_name = "BYTES")]
    pub(crate) max_head_bytes: usize,

    /// How many connections one component may have to one Postgres address
    #[arg(
        long,
        env = "SHOP_POSTGRES_CONNECTIONS",
        default_value_t = 16,
        value_name = "COUNT"
    )]
    pub(crate) postgres_connections: usize,

    /// Give every request an instance of its own, instead of using one for many as Spin does
    #[arg(long, env = "SHOP_FRESH_INSTANCES")]
    pub(crate) fresh_instances: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Events")]
pub(crate) struct OutboxArgs {
    /// Exchanges, queues and outboxes
    #[arg(
        long,
        env = "SHOP_TOPOLOGY",
        default_value = "host-bridge/topology.toml",
        value_name = "FILE"
    )]
    pub(crate) topology: PathBuf,

    /// Postgres, with the bridge's own login: `postgres://shop_bridge:…@host/flower_shop_db`
    #[arg(long, env = "SHOP_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) database_url: String,

    /// Where the tables of a service are that has moved to a database of its own: `ordering=postgres://…` (repeatable)
    #[arg(long, env = "SHOP_OUTBOX_URL", hide_env_values = true, value_delimiter = ' ', value_parser = pair::<String>, value_name = "SERVICE=URL")]
    pub(crate) outbox_url: Vec<(String, String)>,
}

#[derive(Args)]
#[command(next_help_heading = "Events")]
pub(crate) struct BridgeArgs {
    #[command(flatten)]
    pub(crate) outboxes: OutboxArgs,

    /// RabbitMQ: `amqp://user:…@host/vhost`
    #[arg(long, env = "SHOP_AMQP_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) amqp_url: String,

    /// The key that signs batches of events, `whsec_` and base64: the components' variable `events_key`
    #[arg(
        long,
        env = "SHOP_EVENTS_KEY",
        hide_env_values = true,
        value_name = "KEY",
        required_unless_present = "events_key_file"
    )]
    pub(crate) events_key: Option<String>,

    /// A file that holds that key
    #[arg(
        long,
        env = "SHOP_EVENTS_KEY_FILE",
        conflicts_with = "events_key",
        value_name = "FILE"
    )]
    pub(crate) events_key_file: Option<PathBuf>,

    /// How often what was kept long enough is removed, in seconds
    #[arg(long, env = "SHOP_PRUNE_INTERVAL", default_value = "600", value_parser = interval, value_name = "SECONDS")]
    pub(crate) prune_interval: Duration,
}

/// Where every service's tables are, for who may do anything with them.
#[derive(Args)]
pub(crate) struct AdminArgs {
    /// Postgres, with a login that may create logins and schemas
    #[arg(
        long,
        env = "SHOP_ADMIN_DATABASE_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub(crate) database_url: String,

    /// Where a service has a database of its own, with an admin's login: `ordering=postgres://…` (repeatable)
    #[arg(long, env = "SHOP_SERVICE_DATABASE_URL", hide_env_values = true, value_delimiter = ' ', value_parser = pair::<String>, value_name = "SERVICE=URL")]
    pub(crate) service_database_url: Vec<(String, String)>,
}

#[derive(Args)]
pub(crate) struct Migrate {
    #[command(flatten)]
    pub(crate) databases: AdminArgs,

    /// A folder for each service, named as its schema, with files `V<number>__<name>.sql`
    #[arg(
        long,
        env = "SHOP_MIGRATIONS",
        default_value = "migrations",
        value_name = "FOLDER"
    )]
    pub(crate) migrations: PathBuf,

    /// Whose outboxes the bridge is to read
    #[arg(
        long,
        env = "SHOP_TOPOLOGY",
        default_value = "host-bridge/topology.toml",
        value_name = "FILE"
    )]
    pub(crate) topology: PathBuf,

    /// The password of a service's login `shop_<service>` (repeatable; others see it in a list of processes)
    #[arg(long, value_parser = pair::<String>, value_name = "SERVICE=PASSWORD")]
    pub(crate) password: Vec<(String, String)>,

    /// A TOML file of these passwords: `ordering = "…"`
    #[arg(long, env = "SHOP_PASSWORDS_FILE", value_name = "FILE")]
    pub(crate) passwords_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Seed {
    #[command(flatten)]
    pub(crate) databases: AdminArgs,

    /// A file `<service>.sql` for each service
    #[arg(long, env = "SHOP_DEMO", default_value = "demo", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

#[derive(Args)]
pub(crate) struct Status {
    /// Where the gateway answers; empty where it may not be asked
    #[arg(
        long,
        env = "SHOP_URL",
        default_value = "http://127.0.0.1:8000",
        value_name = "URL"
    )]
    pub(crate) shop_url: String,

    /// Where the embedded host's metrics are, which tell the components' versions; of several hosts, separated by commas
    #[arg(
        long,
        env = "SHOP_METRICS_URL",
        default_value = "http://127.0.0.1:9100/metrics",
        value_delimiter = ',',
        value_name = "URL"
    )]
    pub(crate) metrics_url: Vec<String>,

    /// RabbitMQ, to look at its queues: `amqp://user:…@host/vhost`
    #[arg(long, env = "SHOP_AMQP_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) amqp_url: Option<String>,

    /// For programs: an object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) outboxes: OutboxArgs,
}

#[derive(Subcommand)]
pub(crate) enum DeadLetters {
    /// List what waits for an operator, oldest first
    List(List),
    /// Show all that is known of one
    Show(Show),
    /// Try them again: a letter goes to the queue that it died in, a parked row is due at once
    Retry(Retry),
    /// Say that nothing is to become of them
    Discard(Discard),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) chosen: FilterArgs,

    /// For programs: an array of objects
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) outboxes: OutboxArgs,
}

#[derive(Args)]
pub(crate) struct Show {
    /// As the list names it: `letter:45` or `outbox:ordering:123`
    pub(crate) id: ItemId,

    /// For programs: an object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) outboxes: OutboxArgs,
}

#[derive(Args)]
pub(crate) struct Retry {
    #[command(flatten)]
    pub(crate) meant: Meant,

    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,

    /// RabbitMQ, needed for letters alone: `amqp://user:…@host/vhost`
    #[arg(long, env = "SHOP_AMQP_URL", hide_env_values = true, value_name = "URL")]
    pub(crate) amqp_url: Option<String>,

    #[command(flatten)]
    pub(crate) outboxes: OutboxArgs,
}

#[derive(Args)]
pub(crate) struct Discard {
    #[command(flatten)]
    pub(crate) meant: Meant,

    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,

    #[command(flatten)]
    pub(crate) outboxes: OutboxArgs,
}

/// Which of those that wait are meant, and how.
#[derive(Args)]
pub(crate) struct Meant {
    /// As the list names them: `letter:45`, `outbox:ordering:123`
    #[arg(required_unless_present = "all", value_name = "ID")]
    pub(crate) ids: Vec<ItemId>,

    /// All that the list would show with the same filters
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) chosen: FilterArgs,

    /// Who does it, for the record; by default the user of this process
    #[arg(long, env = "SHOP_OPERATOR", value_name = "NAME")]
    pub(crate) by: Option<String>,

    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// For programs: an array of objects
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Of this service: its queues and its outbox (repeatable)
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Vec<String>,

    /// Of this event type (repeatable)
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Vec<String>,

    /// That wait for longer than this: `90s`, `30m`, `2h`, `7d`
    #[arg(long, value_parser = age, value_name = "AGE")]
    pub(crate) older_than: Option<Duration>,

    /// About this: the value of the topology's `correlate_by`, an order's id in the shop
    #[arg(long, visible_alias = "order", value_name = "ID")]
    pub(crate) about: Option<String>,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// What was published since then: `2026-01-31T12:00:00Z`, or how long ago: `90s`, `30m`, `2h`, `7d`
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Since,

    /// Of this service's outbox (repeatable)
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Vec<String>,

    /// Of this event type (repeatable)
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) event_type: Vec<String>,

    /// Who does it, for the record; by default the user of this process
    #[arg(long, env = "SHOP_OPERATOR", value_name = "NAME")]
    pub(crate) by: Option<String>,

    /// Only say how many they are
    #[arg(long)]
    pub(crate) dry_run: bool,

    /// For programs: an array of objects
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) outboxes: OutboxArgs,
}

#[derive(Args)]
pub(crate) struct Audit {
    #[command(flatten)]
    pub(crate) databases: AdminArgs,

    /// What is asked: `facts/<service>/<name>.sql`, `views.sql`, `checks/<name>.sql`, `reports/<name>.sql`
    #[arg(long, env = "SHOP_AUDIT", default_value = "audit", value_name = "FOLDER")]
    pub(crate) folder: PathBuf,

    /// For how long something must have been left alone to count as quiet: `90s`, `30m`, `2h`
    #[arg(long, default_value = "60s", value_parser = age, value_name = "AGE")]
    pub(crate) grace: Duration,

    /// How many seconds after a violation it is looked whether it is still there
    #[arg(long, default_value = "5", value_parser = seconds, value_name = "SECONDS")]
    pub(crate) recheck: Duration,

    /// For programs: an object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is wrong with a command line, on one line. A value that is refused is not repeated: it may be a secret.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let source = std::error::Error::source(error);
    if let (Some(ContextValue::String(argument)), Some(source)) = (error.get(ContextKind::InvalidArg), source)
    {
        return format!("{argument}: {source}");
    }
    let text = error.render().to_string();
    // What follows the first empty line repeats the usage.
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error:").split_whitespace().collect();
    format!("{}; --help explains", words.join(" "))
}

/// `name=value`. The error does not repeat the value, which may be a secret.
fn pair<T: FromStr>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("it has the form NAME=VALUE")?;
    let value = value
        .parse()
        .map_err(|_| format!("the value for {name:?} cannot be read"))?;
    Ok((name.to_owned(), value))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a number of seconds is needed")?;
    if !(0.0..=86_400.0).contains(&seconds) {
        return Err("it lies between 0 and 86400".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| "a number is needed")?;
    (0.0..=1.0)
        .contains(&part)
        .then_some(part)
        .ok_or("it lies between 0 and 1".to_owned())
}

fn share(text: &str) -> Result<(String, f64), String> {
    let (name, share): (String, f64) = pair(text)?;
    let is_share = share > 0.0 && share < 1.0;
    is_share
        .then_some((name, share))
        .ok_or("the part lies above 0 and below 1".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|interval| {
        let enough = interval >= Duration::from_secs(1);
        enough.then_some(interval).ok_or("it is at least 1".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_every_command_is_explained() {
        let cli = Cli::command();
        let mut commands: Vec<&clap::Command> = cli.get_subcommands().collect();
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands());
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
        }
    }

    #[test]
    fn wrong_usage_is_told_in_one_line_without_the_value() {
        let wrong = |arguments: &[&str]| {
            let arguments = ["host-bridge"].iter().chain(arguments);
            let Err(error) = Cli::try_parse_from(arguments) else {
                panic!("it is wrong")
            };
            one_line(&error)
        };
        let line = wrong(&["migrate", "--database-url", "x", "--password", "secret"]);
        assert!(
            line.contains("--password") && !line.contains("secret") && !line.contains('\n'),
            "{line}"
        );
        let line = wrong(&["relay", "--amqp-url", "x", "--events-key", "y"]);
        assert!(line.contains("--database-url") && !line.contains('\n'), "{line}");
        let line = wrong(&["dead-letters", "retry", "--database-url", "x"]);
        assert!(line.contains("<ID>") && !line.contains('\n'), "{line}");
        let line = wrong(&["dead-letters", "discard", "letter:1", "--database-url", "x"]);
        assert!(line.contains("--reason"), "{line}");
        let line = wrong(&["dead-letters", "show", "parcel:1", "--database-url", "x"]);
        assert!(line.contains("letter:45"), "{line}");
        let line = wrong(&["serve", "--trace-ratio", "1.5"]);
        assert!(line.contains("between 0 and 1"), "{line}");
        let line = wrong(&["serve", "--canary", "ordering=1"]);
        assert!(line.contains("--canary") && line.contains("below 1"), "{line}");
        let line = wrong(&["rely"]);
        assert!(line.contains("rely") && !line.contains('\n'), "{line}");
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_not_repeated() {
        assert!(!pair::<SocketAddr>("a=secret").unwrap_err().contains("secret"));
        assert_eq!(pair::<String>("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    }
}
