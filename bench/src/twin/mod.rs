//! The native twin: the routes that are measured, written with axum as one would without WebAssembly, over the same
//! SQL, the same domain, the same Redis values and pools of the same size. It does less than the components where they
//! have more to do: no problem details, no request ids, no cache entries checked. What it leaves out counts for it.

mod flowers;
mod orders;
mod postgres;
mod shapes;
mod tokens;

use anyhow::{Context as _, Result};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use postgres::Postgres;
use redis::aio::MultiplexedConnection;
use service::health::Health;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use tokens::Tokens;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// How the twin has Postgres run a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Statements {
    /// Prepared anew for each call, as `spin:postgres` does and `Client::query` with a text does too.
    PerCall,
    /// Prepared once for each connection.
    Cached,
}

impl Statements {
    fn argument(self) -> &'static str {
        match self {
            Self::PerCall => "per-call",
            Self::Cached => "cached",
        }
    }
}

/// What a twin is told. The secrets come through its environment.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Settings {
    /// How statements are prepared
    #[arg(long, value_enum)]
    pub(crate) statements: Statements,

    /// Most connections to Postgres
    #[arg(long)]
    pub(crate) postgres_connections: usize,

    /// Postgres, with ordering's login
    #[arg(long, env = "TWIN_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,

    /// The catalog's Redis
    #[arg(long, env = "TWIN_REDIS_URL", hide_env_values = true)]
    pub(crate) redis_url: String,

    /// The HS256 key of the access tokens
    #[arg(long, env = "TWIN_JWT_KEY", hide_env_values = true)]
    pub(crate) jwt_key: String,
}

struct Twin {
    postgres: Postgres,
    redis: MultiplexedConnection,
    tokens: Tokens,
}

/// Serves on a free port of 127.0.0.1 until standard input ends. The first line of standard output is the address.
///
/// # Errors
/// If it cannot start.
pub(crate) async fn serve(settings: Settings) -> Result<()> {
    let redis = redis::Client::open(settings.redis_url.as_str())?;
    let twin = Twin {
        postgres: Postgres::new(&settings)?,
        redis: redis.get_multiplexed_async_connection().await?,
        tokens: Tokens::new(&settings.jwt_key),
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        // Where it cannot be set the twin is slower, and still right.
        let _ = stream.set_nodelay(true);
    });
    let server = axum::serve(listener, router(Arc::new(twin)));
    // Standard input ends with whoever started this, however that ended.
    let orphaned = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    tokio::select! {
        ended = server => ended?,
        _ = orphaned => {}
    }
    Ok(())
}

fn router(twin: Arc<Twin>) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/catalog/flowers/{id}", get(flowers::show))
        .route("/orders", get(orders::list).post(orders::place))
        .with_state(twin)
}

async fn live() -> Json<Health> {
    Json(Health::new("ordering", []))
}

/// Why the twin has no answer: the status alone.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Unauthorized,
    NotFound,
    Invalid,
    Unavailable,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        status.into_response()
    }
}

/// Says on standard error what went wrong below.
fn unavailable(error: impl std::fmt::Display) -> Failure {
    eprintln!("twin: {error}");
    Failure::Unavailable
}

/// A twin in a process of its own, so that its CPU time is its own; it ends with this value.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) pid: u32,
    _child: Child,
}

impl Running {
    /// Starts one.
    ///
    /// # Errors
    /// If it does not say where it listens.
    pub(crate) async fn start(settings: &Settings) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["twin", "--statements", settings.statements.argument()])
            .arg("--postgres-connections")
            .arg(settings.postgres_connections.to_string())
            .env("TWIN_DATABASE_URL", &settings.database_url)
            .env("TWIN_REDIS_URL", &settings.redis_url)
            .env("TWIN_JWT_KEY", &settings.jwt_key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).await?;
        let address = line.trim().parse().context("the twin does not start")?;
        let pid = child.id().context("the twin has ended")?;
        Ok(Self {
            address,
            pid,
            _child: child,
        })
    }
}
