//! `tests/conformance`: small guests, one folder for each behaviour, and the answers that Spin's source has for them.
//! Asked of the embedded host, or of Spin itself where `SHOP_TEST_SPIN` names its program.

mod application;
mod expectation;

use anyhow::{Context, Result, ensure};
use application::Application;
use bytes::Bytes;
use expectation::{Behaviour, Case};
use http_body_util::StreamBody;
use hyper::body::Frame;
use reqwest::{Client, Method};
use shop_tests::environment::root;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some of them count on an instance to be the only one, or on time: one behaviour at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

macro_rules! behaviours {
    ($($test:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($test)),*];

        /// `cargo xtask test conformance` finds them by this name.
        mod conformance {
            $(
                #[tokio::test]
                async fn $test() -> anyhow::Result<()> {
                    super::check(stringify!($test)).await
                }
            )*

            #[test]
            fn every_folder_has_a_test() -> anyhow::Result<()> {
                super::check_folders()
            }
        }
    };
}

behaviours! {
    bodies
    chaining
    denied_hosts
    failures
    instances
    postgres_errors
    postgres_transactions
    postgres_types
    redis
    request_headers
    response_headers
    routes
    sandbox
    variables
}

fn check_folders() -> Result<()> {
    let mut folders = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests/conformance"))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.insert(entry.file_name().to_string_lossy().replace('-', "_"));
        }
    }
    let tested: BTreeSet<String> = TESTED.iter().map(|&name| name.to_owned()).collect();
    ensure!(folders == tested, "{folders:?} are not {tested:?}");
    Ok(())
}

/// Asks all cases of a folder, in their order, and tells all differences together.
async fn check(test: &str) -> Result<()> {
    let _alone = ALONE.lock().await;
    let folder = root().join("tests/conformance").join(test.replace('_', "-"));
    let behaviour = Behaviour::read(&folder.join("expected.toml"))?;
    let application = Application::start(&folder, &behaviour.arguments).await?;
    let client = Client::builder().timeout(PATIENCE).build()?;
    let mut differences = Vec::new();
    for case in &behaviour.cases {
        if let Err(difference) = check_case(&application, &client, case).await {
            differences.push(format!("{}: {difference:#}", case.name));
        }
    }
    let asked = behaviour.cases.len();
    application.end().await?;
    ensure!(
        differences.is_empty(),
        "{} of {asked} differ:\n{}",
        differences.len(),
        differences.join("\n")
    );
    Ok(())
}

async fn check_case(application: &Application, client: &Client, case: &Case) -> Result<()> {
    let expected = case.expected_of(application.host);
    tokio::time::sleep(Duration::from_millis(case.after_ms)).await;
    let mut answers = Vec::new();
    for _ in 0..case.times {
        let asked = (0..case.at_once).map(|number| async move {
            tokio::time::sleep(Duration::from_millis(case.apart_ms) * number).await;
            ask(application, client, case).await
        });
        answers.extend(futures::future::try_join_all(asked).await?);
    }
    for answer in &answers {
        expected.check(answer, application)?;
    }
    expected.check_together(&answers)
}

/// What came of a request.
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    /// `None` if it broke off.
    body: Option<String>,
}

async fn ask(application: &Application, client: &Client, case: &Case) -> Result<Answer> {
    let method = Method::from_bytes(case.method.as_bytes())?;
    let url = format!("{}{}", application.base(), application.fill_in(&case.path));
    let mut request = client.request(method, url);
    for (name, values) in &case.headers {
        for value in values.bytes(application) {
            request = request.header(name, value);
        }
    }
    let body = match case.body_bytes {
        Some(length) => "x".repeat(length),
        None => application.fill_in(&case.body),
    };
    if case.is_chunked {
        let bytes = body.into_bytes().into_iter();
        let pieces = bytes.map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![byte]))));
        let body = StreamBody::new(futures::stream::iter(pieces));
        request = request.body(reqwest::Body::wrap(body));
    } else if !body.is_empty() {
        request = request.body(body);
    }
    let sent = request.send().await;
    let response = match sent {
        Ok(response) => response,
        // Nothing came but the connection's end: that is how an answer may break off, too.
        Err(error) if error.is_request() && !error.is_connect() && !error.is_timeout() => {
            return Ok(Answer {
                status: 0,
                headers: reqwest::header::HeaderMap::new(),
                body: None,
            });
        }
        Err(error) => return Err(error).context("no answer"),
    };
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = match response.text().await {
        Ok(body) => Some(body),
        Err(error) if error.is_timeout() => return Err(error).context("the answer does not end"),
        Err(_) => None,
    };
    Ok(Answer {
        status,
        headers,
        body,
    })
}
