//! What guests may do to the embedded host, and what it refuses them: `tests/guests`, served by the host-bridge.

mod memory;

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use shop_tests::environment::{root, variable};
use shop_tests::eventually;
use shop_tests::shop::{free_ports, signal};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, MutexGuard};

const PATIENCE: Duration = Duration::from_secs(60);

/// How long a guest may take over an answer, in seconds: so long that none takes it, whatever else the machine does …
const PATIENT: &str = "30";

/// … or not for long, where one does.
const IMPATIENT: &str = "3";

/// How long `wild` computes when it is to hold its instance.
const HOLD: Duration = Duration::from_millis(300);

static ALONE: Mutex<()> = Mutex::const_new(());

/// A host that serves the two guests `wild` and `tame`; it ends with this value.
struct Host {
    base: String,
    client: Client,
    process: Child,
    /// No other test's host runs meanwhile: where one computes, another waits.
    _alone: MutexGuard<'static, ()>,
}

struct Answer {
    status: u16,
    content_type: String,
    retry_after: Option<String>,
    body: String,
}

impl Host {
    async fn start(variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_with(PATIENT, variables).await
    }

    /// One whose guests soon have taken too long.
    async fn start_impatient() -> Result<Self> {
        Self::start_with(IMPATIENT, &[]).await
    }

    async fn start_with(request_timeout: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let alone = ALONE.lock().await;
        let [port, metrics] = free_ports()?;
        let mut command = Command::new(variable("SHOP_TEST_BRIDGE")?);
        command
            .current_dir(root())
            .args(["serve", "--manifest", "tests/guests/spin.toml"])
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--metrics-listen", &format!("127.0.0.1:{metrics}")])
            .args(["--cache-dir", "target/wasmtime-cache"])
            .args(["--request-timeout", request_timeout]);
        for (name, value) in variables {
            command.args(["--variable", &format!("{name}={value}")]);
        }
        let process = command.stdin(Stdio::null()).kill_on_drop(true).spawn()?;
        let host = Self {
            base: format!("http://127.0.0.1:{port}"),
            client: Client::builder().timeout(PATIENCE).build()?,
            process,
            _alone: alone,
        };
        let served = async || Ok((host.ask("/tame/age", "").await?.status == 200).then_some(()));
        eventually("the guests are served", PATIENCE, served).await?;
        Ok(host)
    }

    async fn ask(&self, path: &str, address: &str) -> Result<Answer> {
        let request = self
            .client
            .get(format!("{}{path}", self.base))
            .header("x-address", address);
        let response = request.send().await?;
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        Ok(Answer {
            status: response.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            body: response.text().await?,
        })
    }

    /// What the host has of the machine's memory, its share of what several processes have included.
    fn resident_bytes(&self) -> Result<u64> {
        let id = self.process.id().context("the host has ended")?;
        let rollup = std::fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: u64 = kibibytes.context("no Pss")?.parse()?;
        Ok(kibibytes * 1024)
    }

    /// What `wild` says became of `act` at `address`.
    async fn try_to(&self, act: &str, address: &str) -> Result<String> {
        let answer = self.ask(&format!("/wild/{act}"), address).await?;
        ensure!(answer.status == 200, "{act} {address}: {}", answer.body);
        Ok(answer.body)
    }

    /// Does the damage `act` several times over, while `tame` is asked without a pause; gives the answers to the
    /// damage.
    async fn do_damage(&self, act: &str) -> Result<Vec<Answer>> {
        let path = format!("/wild/{act}");
        let damage = futures::future::try_join_all((0..4).map(|_| self.ask(&path, "")));
        tokio::pin!(damage);
        loop {
            tokio::select! {
                answers = &mut damage => return answers,
                tame = self.ask("/tame/age", "") => {
                    let tame = tame?;
                    ensure!(tame.status == 200, "tame suffers: {} {}", tame.status, tame.body);
                }
            }
        }
    }

    /// `wild` itself answers again, from an instance without a past.
    async fn await_recovery(&self) -> Result<()> {
        let young = async || {
            let answer = self.ask("/wild/age", "").await?;
            Ok((answer.status == 200 && answer.body == "1").then_some(()))
        };
        eventually("wild has recovered", PATIENCE, young).await
    }
}

/// Where an address leads, as a grant says it.
fn place(address: &str, scheme: &str) -> Result<String> {
    let url: url::Url = address.parse()?;
    let host = url.host_str().context("no host")?;
    let port = url.port().context("no port")?;
    Ok(format!("{scheme}://{host}:{port}"))
}

fn expect_problem(answer: &Answer, status: u16, slug: &str) -> Result<()> {
    ensure!(
        answer.status == status,
        "{} instead of {status}: {}",
        answer.status,
        answer.body
    );
    ensure!(
        answer.content_type == "application/problem+json",
        "{}",
        answer.content_type
    );
    let body: serde_json::Value = serde_json::from_str(&answer.body)?;
    ensure!(body["type"] == format!("/problems/{slug}"), "{body}");
    ensure!(
        answer.retry_after.is_some() == (status == 503),
        "{:?}",
        answer.retry_after
    );
    Ok(())
}

async fn damage_ends_in(host: Host, act: &str, status: u16, slug: &str) -> Result<()> {
    for answer in host.do_damage(act).await? {
        expect_problem(&answer, status, slug)?;
    }
    host.await_recovery().await
}

#[tokio::test]
async fn a_trap_is_502_and_hurts_no_other_component() -> Result<()> {
    damage_ends_in(Host::start(&[]).await?, "trap", 502, "component-failed").await
}

#[tokio::test]
async fn a_trap_ends_its_own_instance_and_never_another() -> Result<()> {
    let host = Host::start(&[]).await?;
    let hold = async || {
        let answer = host.ask("/wild/hold", "").await?;
        anyhow::Ok((answer, Instant::now()))
    };
    let trap = async || {
        tokio::time::sleep(HOLD / 3).await;
        let sent = Instant::now();
        let answer = host.ask("/wild/trap", "").await?;
        anyhow::Ok((answer, sent, Instant::now()))
    };
    let mut met = 0;
    for _ in 0..10 {
        let (one, other, (trap, sent, ended)) = tokio::try_join!(hold(), hold(), trap())?;
        expect_problem(&trap, 502, "component-failed")?;
        for (held, _) in [&one, &other] {
            ensure!(held.status == 200, "{}: {}", held.status, held.body);
        }
        // Both had their instance when the trap was sent, and still when it had ended.
        let was_held = |until: Instant| ended <= until && until <= sent + HOLD;
        met += usize::from(was_held(one.1) && was_held(other.1));
    }
    ensure!(met > 0, "no trap came while both computed");
    Ok(())
}

#[tokio::test]
async fn a_leak_is_502_and_hurts_no_other_component() -> Result<()> {
    damage_ends_in(Host::start(&[]).await?, "leak", 502, "component-failed").await
}

#[tokio::test]
async fn a_busy_loop_is_ended_with_503_and_hurts_no_other_component() -> Result<()> {
    let host = Host::start_impatient().await?;
    let mut begun = 0;
    for answer in host.do_damage("spin").await? {
        // Whoever did not come to compute within the time that one may wait was turned away.
        if expect_problem(&answer, 503, "overloaded").is_err() {
            expect_problem(&answer, 503, "timeout")?;
            begun += 1;
        }
    }
    ensure!(begun > 0, "nobody came to compute");
    host.await_recovery().await
}

#[tokio::test]
async fn a_guest_that_sleeps_on_is_ended_with_503_and_hurts_no_other_component() -> Result<()> {
    damage_ends_in(Host::start_impatient().await?, "sleep", 503, "timeout").await
}

#[tokio::test]
async fn a_body_that_is_larger_than_2_mib_is_413_whoever_is_asked() -> Result<()> {
    let host = Host::start(&[]).await?;
    for (bytes, status) in [(2 * 1024 * 1024, 200), (2 * 1024 * 1024 + 1, 413)] {
        let request = host.client.post(format!("{}/tame/age", host.base));
        let answer = request.body(vec![b' '; bytes]).send().await?;
        ensure!(answer.status() == status, "{bytes} bytes: {}", answer.status());
    }
    Ok(())
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() -> Result<()> {
    let host = Host::start_impatient().await?;
    let mut slow = TcpStream::connect(host.base.trim_start_matches("http://")).await?;
    slow.write_all(b"POST /tame/age HTTP/1.1\r\nhost: h\r\ncontent-length: 4\r\n\r\nab")
        .await?;
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, slow.read_to_string(&mut answer)).await??;
    ensure!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    ensure!(answer.contains("\"/problems/body-timeout\""), "{answer}");
    Ok(())
}

#[tokio::test]
async fn an_instance_answers_128_requests_and_no_more() -> Result<()> {
    let host = Host::start(&[]).await?;
    let mut oldest = 0;
    // Whoever is asked next, some instance comes to its end.
    for _ in 0..1000 {
        let age: u32 = host.ask("/tame/age", "").await?.body.parse()?;
        oldest = oldest.max(age);
    }
    ensure!(oldest == 128, "the oldest instance answered {oldest}");
    Ok(())
}

#[tokio::test]
async fn an_answer_of_another_length_than_it_says_is_502() -> Result<()> {
    for act in ["short", "long"] {
        let host = Host::start(&[]).await?;
        for answer in host.do_damage(act).await? {
            expect_problem(&answer, 502, "component-failed").with_context(|| act)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_answer_that_is_a_change_of_protocol_is_502() -> Result<()> {
    damage_ends_in(Host::start(&[]).await?, "protocol", 502, "component-failed").await
}

#[tokio::test]
async fn an_answer_whose_promised_body_never_comes_is_503() -> Result<()> {
    damage_ends_in(Host::start_impatient().await?, "stuck", 503, "timeout").await
}

/// Reads an answer that must break off; gives how long it was.
async fn read_until_it_breaks(host: &Host, act: &str) -> Result<usize> {
    let mut response = host
        .client
        .get(format!("{}/wild/{act}", host.base))
        .send()
        .await?;
    ensure!(response.status() == 200, "{act}: {}", response.status());
    let mut length = 0;
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => length += chunk.len(),
            Ok(None) => anyhow::bail!("{act}: the answer ended after {length} bytes as if it were whole"),
            Err(_) => return Ok(length),
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_off_and_hurts_no_other_component() -> Result<()> {
    let host = Host::start_impatient().await?;
    let before = host.resident_bytes()?;
    for act in ["silent", "endless"] {
        let damage = read_until_it_breaks(&host, act);
        tokio::pin!(damage);
        let length = loop {
            tokio::select! {
                length = &mut damage => break length?,
                tame = host.ask("/tame/age", "") => {
                    let tame = tame?;
                    ensure!(tame.status == 200, "tame suffers: {} {}", tame.status, tame.body);
                }
            }
        };
        ensure!((length > 0) == (act == "endless"), "{act}: {length} bytes");
    }
    // It was never kept as a whole.
    let grown = host.resident_bytes()?.saturating_sub(before);
    ensure!(grown < 64 * 1024 * 1024, "the host has grown by {grown} bytes");
    host.await_recovery().await
}

#[tokio::test]
async fn a_guest_cannot_write_an_answer_into_the_middle_of_its_own() -> Result<()> {
    let host = Host::start(&[]).await?;
    let taken = host.try_to("fields", "").await?;
    ensure!(taken.is_empty(), "these were taken: {taken}");
    Ok(())
}

#[tokio::test]
async fn a_guest_reaches_what_it_is_granted_and_nothing_else() -> Result<()> {
    // Nobody may so much as connect to this one.
    let forbidden = TcpListener::bind("127.0.0.1:0").await?;
    let port = forbidden.local_addr()?.port();
    let postgres = variable("SHOP_TEST_POSTGRES")?;
    let redis = variable("SHOP_TEST_REDIS")?;
    let host = Host::start(&[
        ("granted_postgres", &place(&postgres, "postgres")?),
        ("granted_redis", &place(&redis, "redis")?),
    ])
    .await?;
    ensure!(host.try_to("postgres", &postgres).await? == "ok");
    ensure!(host.try_to("redis", &redis).await? == "ok");
    ensure!(host.try_to("http", "http://tame.spin.internal/age").await? == "ok");

    for (act, address) in [
        (
            "postgres",
            format!("postgres://somebody:secret@127.0.0.1:{port}/db"),
        ),
        ("postgres", format!("{postgres}?hostaddr=127.0.0.1&port={port}")),
        ("postgres", format!("{postgres}?host=127.0.0.1&port={port}")),
        (
            "postgres",
            postgres.replacen('@', &format!("@127.0.0.1:{port},"), 1),
        ),
        (
            "postgres",
            format!("host=127.0.0.1 port={port} user=somebody password=secret"),
        ),
        ("redis", format!("redis://127.0.0.1:{port}")),
        ("redis", format!("{redis}@127.0.0.1:{port}")),
        ("http", format!("http://127.0.0.1:{port}/")),
        ("http", format!("http://tame.spin.internal@127.0.0.1:{port}/")),
        ("http", format!("http://tame.spin.internal:{port}/")),
        ("http", format!("http://localhost:{port}/")),
        // Its own grant is for Postgres, whatever else might listen there.
        ("http", place(&postgres, "http")?),
        ("redis", place(&postgres, "redis")?),
        // No grant, though it is in the same application.
        ("http", "http://wild.spin.internal/age".to_owned()),
    ] {
        let said = host.try_to(act, &address).await?;
        ensure!(said != "ok", "{act} {address} was let through");
        ensure!(!said.contains("secret"), "{act}: {said}");
    }
    let nobody = tokio::time::timeout(Duration::ZERO, forbidden.accept()).await;
    ensure!(nobody.is_err(), "somebody connected where nobody may");
    Ok(())
}

#[tokio::test]
async fn a_call_that_the_host_cannot_make_is_an_error_and_no_trap() -> Result<()> {
    for (address, expected) in [
        // No such component; one that is there, which has no ports; a scheme that is not implemented.
        ("http://nobody.spin.internal", "DestinationNotFound"),
        ("http://tame.spin.internal:81", "DestinationNotFound"),
        ("https://127.0.0.1:1", "does not implement https"),
        // Nobody listens there.
        ("http://127.0.0.1:1", "ConnectionRefused"),
    ] {
        let host = Host::start(&[("granted_http", address)]).await?;
        let said = host.try_to("http", &format!("{address}/age")).await?;
        ensure!(said.contains(expected), "{address}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_guest_reads_its_own_variables_and_no_other() -> Result<()> {
    let host = Host::start(&[("secret", "tame alone may know")]).await?;
    let tame = host.ask("/tame/variable", "secret").await?;
    ensure!(tame.body == "ok", "{}", tame.body);
    let wild = host.try_to("variable", "secret").await?;
    ensure!(wild.contains("Undefined"), "{wild}");
    Ok(())
}

#[tokio::test]
async fn a_host_that_is_asked_to_end_answers_what_it_has_and_takes_nothing_new() -> Result<()> {
    let mut host = Host::start(&[]).await?;
    let address = host.base.trim_start_matches("http://").to_owned();
    let mut slow = TcpStream::connect(&address).await?;
    slow.write_all(
        b"POST /tame/age HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n",
    )
    .await?;
    // Once it is told to go on, its request is being worked on.
    let mut told = [0; 25];
    slow.read_exact(&mut told).await?;
    ensure!(&told == b"HTTP/1.1 100 Continue\r\n\r\n");
    slow.write_all(b"ab").await?;

    signal(&host.process, "TERM").await?;
    eventually("nobody new is let in", PATIENCE, async || {
        Ok(TcpStream::connect(&address).await.is_err().then_some(()))
    })
    .await?;
    slow.write_all(b"cd").await?;
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    ensure!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    let status = tokio::time::timeout(PATIENCE, host.process.wait()).await??;
    ensure!(status.success(), "{status}");
    Ok(())
}
