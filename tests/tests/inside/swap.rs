//! New versions of components take the place of those that serve, while clients shop.

use crate::alone;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use shop_tests::crowd::Crowd;
use shop_tests::environment::root;
use shop_tests::eventually;
use shop_tests::swappable::{COMPONENTS, Files, another, sha256};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// How often each component is swapped while clients shop: to a file that nobody has compiled yet, back, and there again.
const ROUNDS: u64 = 3;

/// Clients that shop at the same time.
const CLIENTS: usize = 4;

/// How long a version is tried at least.
const TRIAL: Duration = Duration::from_secs(1);

/// As many health checks that a tenth of them would do for a trial, if they counted.
const HEALTH_CHECKS: usize = 300;

#[tokio::test]
async fn a_new_version_takes_over_without_a_request_or_an_event_lost() -> Result<()> {
    let _alone = alone().await;
    let (shop, files) = Files::start(&[]).await?;
    let anybody = shop.anonymous()?;
    let rose = anybody
        .admin()
        .await?
        .add_flower("Swapped rose", "150.00")
        .await?;
    let first = anybody.register().await?;
    first.order_once_known(&rose, "pm_card_visa").await?;
    let crowd = Crowd::come(&anybody, &rose, CLIENTS).await?;
    let mut versions = Vec::new();
    for component in COMPONENTS {
        versions.push([another(component)?, std::fs::read(files.file(component))?]);
    }
    for round in 0..ROUNDS {
        for (component, [new, old]) in COMPONENTS.into_iter().zip(&versions) {
            let is_new = round.is_multiple_of(2);
            let sha256 = files.put(component, if is_new { new } else { old })?;
            shop.ask_to_swap().await?;
            // Of one with a dependency the digest is of both.
            match component {
                "payment" => shop.await_swaps(component, "done", round + 1).await?,
                _ => shop.await_version(component, &sha256).await?,
            }
        }
    }
    let orders = crowd.go().await?;
    shop.await_shipped(&orders).await?;
    shop.expect_clean_audit().await?;
    let dead = "select count(*) from bridge.dead_letters";
    assert_eq!(shop.count(dead).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_file_that_would_not_do_leaves_what_serves_alone() -> Result<()> {
    let _alone = alone().await;
    let (shop, files) = Files::start(&[]).await?;
    let anybody = shop.anonymous()?;
    let good = std::fs::read(files.file("catalog"))?;
    let half = &good[..good.len() / 2];
    let greedy = wat::parse_str(r#"(component (import "shop:nowhere/thing" (func)))"#)?;
    let deaf = wat::parse_str("(component)")?;
    let stillborn = std::fs::read(root().join("target/wasm32-wasip2/wasm/stillborn.wasm"))?;
    // What it is, and what the one line says of it.
    let bad: [(&[u8], &str); 5] = [
        (half, "failed to parse"),
        (&greedy, "shop:nowhere/thing"),
        (&deaf, "wasi:http/handler"),
        (b"no wasm", "failed to parse"),
        (&stillborn, "GET /health failed"),
    ];
    for (count, (bytes, _)) in (1..).zip(bad) {
        files.put("catalog", bytes)?;
        shop.ask_to_swap().await?;
        shop.await_swaps("catalog", "refused", count).await?;
        anybody.get("/api/catalog/flowers?limit=5").await?.expect(200)?;
    }
    shop.await_version("catalog", &sha256(&good)).await?;
    assert_eq!(shop.swaps("catalog", "done").await?, 0);
    let log = shop.whole_log("host")?;
    let lines = log.lines().filter(|line| line.contains("a version would not do"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), bad.len(), "one line each");
    for (line, (_, reason)) in lines.into_iter().zip(bad) {
        ensure!(line.contains(reason), "{line}");
    }
    Ok(())
}

/// That it is compiled is seen by the compiler's thread.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_somebody_thinks_better_of_while_it_is_compiled_never_serves() -> Result<()> {
    let _alone = alone().await;
    let (mut shop, files) = Files::start(&[]).await?;
    let good = std::fs::read(files.file("catalog"))?;
    let mut hosts = shop.hosts().into_iter();
    let pid = hosts.next().and_then(|host| host.id()).context("no host")?;
    let compiles = || -> Result<bool> {
        let mut threads = std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten();
        let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm"));
        Ok(threads.any(|thread| name(thread).is_ok_and(|name| name.trim() == "swap-compiler")))
    };
    files.put_again("catalog")?;
    shop.ask_to_swap().await?;
    eventually("it is compiled", PATIENCE, async || Ok(compiles()?.then_some(()))).await?;
    files.put("catalog", &good)?;
    ensure!(compiles()?, "that was too late to tell");
    eventually("the host has seen it", PATIENCE, async || {
        let log = shop.whole_log("host")?;
        let mut lines = log.lines().filter(|line| line.contains("nothing to swap"));
        Ok(lines
            .any(|line| line.contains(r#""component":"catalog""#))
            .then_some(()))
    })
    .await?;
    shop.await_version("catalog", &sha256(&good)).await?;
    assert_eq!(shop.swaps("catalog", "done").await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_host_that_watches_swaps_by_itself() -> Result<()> {
    let _alone = alone().await;
    let (shop, files) = Files::start(&["--watch"]).await?;
    let sha256 = files.put_again("delivery")?;
    shop.await_version("delivery", &sha256).await
}

#[tokio::test]
async fn a_version_on_trial_that_does_worse_is_taken_back_and_one_that_does_as_well_serves_in_the_end()
-> Result<()> {
    let _alone = alone().await;
    let (shop, files) = Files::start(&[
        "--canary=catalog=0.1",
        &format!("--canary-time={}", TRIAL.as_secs()),
    ])
    .await?;
    let anybody = shop.anonymous()?;
    let good = std::fs::read(files.file("catalog"))?;
    let turncoat = std::fs::read(root().join("target/wasm32-wasip2/wasm/turncoat.wasm"))?;
    let share = async |sha256: &str| {
        let labels = [("component", "catalog"), ("sha256", sha256)];
        shop.sample("embedded_host_version", &labels).await
    };

    // It is healthy when it is asked, and fails at everything else.
    let bad = files.put("catalog", &turncoat)?;
    shop.ask_to_swap().await?;
    let on_trial = async || Ok((share(&bad).await? == Some(0.1)).then_some(()));
    eventually("it is on trial", PATIENCE, on_trial).await?;
    assert_eq!(share(&sha256(&good)).await?, Some(0.9));
    let mut errors = 0;
    while shop.swaps("catalog", "taken_back").await? == 0 {
        let answer = anybody.get("/api/catalog/flowers?limit=5").await?;
        errors += u32::from(answer.status.is_server_error());
        ensure!(errors < 10, "it goes on failing");
    }
    let log = shop.whole_log("host")?;
    ensure!(log.contains("a version did worse and was taken back"), "{log}");
    assert_eq!(
        (share(&bad).await?, share(&sha256(&good)).await?),
        (Some(0.0), Some(1.0))
    );

    // It is not tried again, for all that its file is still there.
    shop.ask_to_swap().await?;
    let delivery = files.put_again("delivery")?;
    shop.ask_to_swap().await?;
    shop.await_version("delivery", &delivery).await?;
    assert_eq!(share(&bad).await?, Some(0.0));

    // Nor is one whose place its predecessor takes again.
    let other = files.put_again("catalog")?;
    shop.ask_to_swap().await?;
    let on_trial = async || Ok((share(&other).await? == Some(0.1)).then_some(()));
    eventually("it is on trial", PATIENCE, on_trial).await?;
    files.put("catalog", &good)?;
    shop.ask_to_swap().await?;
    let is_over = async || Ok((share(&sha256(&good)).await? == Some(1.0)).then_some(()));
    eventually("it is no longer on trial", PATIENCE, is_over).await?;
    assert_eq!(shop.swaps("catalog", "refused").await?, 0);

    // One that does as well serves alone once it has answered often enough, whatever it says of its health.
    let better = files.put_again("catalog")?;
    let served = std::fs::read(files.file("catalog"))?;
    shop.ask_to_swap().await?;
    let on_trial = async || Ok((share(&better).await? == Some(0.1)).then_some(()));
    eventually("it is on trial", PATIENCE, on_trial).await?;
    let (begin, mut checks) = (Instant::now(), 0);
    while checks < HEALTH_CHECKS || begin.elapsed() < TRIAL {
        anybody.get("/health").await?.expect(200)?;
        checks += 1;
    }
    assert_eq!(share(&better).await?, Some(0.1), "after {checks} health checks");
    eventually("it serves", PATIENCE, async || {
        anybody.get("/api/catalog/flowers?limit=5").await?.expect(200)?;
        Ok((share(&better).await? == Some(1.0)).then_some(()))
    })
    .await?;
    assert_eq!(shop.swaps("catalog", "done").await?, 1);

    // An operator sees what there was.
    let metrics = format!("http://{}/metrics", shop.metrics()[0]);
    let status = [
        "status",
        "--json",
        "--shop-url",
        &shop.base,
        "--metrics-url",
        &metrics,
    ];
    let output = shop.operate(&status).await?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let catalog = &report["versions"]["catalog"];
    let serving = json!([{"sha256": better, "version": env!("CARGO_PKG_VERSION"), "share": 1.0}]);
    assert_eq!(catalog["serving"], serving);
    assert_eq!(catalog["swaps"], json!({"done": 1.0, "taken_back": 1.0}));
    assert_eq!(catalog["last_swap"]["outcome"], "done");
    assert!(
        catalog["age_seconds"].as_u64().is_some_and(|age| age < 60),
        "{catalog}"
    );

    // Whoever wants the one of before back has it at once, and has to try the other again.
    files.put("catalog", &good)?;
    shop.ask_to_swap().await?;
    shop.await_swaps("catalog", "done", 2).await?;
    assert_eq!(share(&sha256(&good)).await?, Some(1.0));
    files.put("catalog", &served)?;
    shop.ask_to_swap().await?;
    eventually("it is on trial again", PATIENCE, on_trial).await
}

#[tokio::test]
async fn a_version_on_trial_that_never_answers_is_taken_back() -> Result<()> {
    let _alone = alone().await;
    let arguments = ["--canary=catalog=0.5", "--variable=catalog_timeout_seconds=1"];
    let (shop, files) = Files::start(&arguments).await?;
    let anybody = shop.anonymous()?;
    let good = sha256(&std::fs::read(files.file("catalog"))?);
    let turncoat = std::fs::read(root().join("target/wasm32-wasip2/wasm/turncoat.wasm"))?;
    let bad = files.put("catalog", &turncoat)?;
    shop.ask_to_swap().await?;
    let labels = [("component", "catalog"), ("sha256", bad.as_str())];
    eventually("it is on trial", PATIENCE, async || {
        let share = shop.sample("embedded_host_version", &labels).await?;
        Ok((share == Some(0.5)).then_some(()))
    })
    .await?;
    // The catalog finds nothing of that name, the other never answers, and the gateway waits no longer than a second.
    let mut late = 0;
    while shop.swaps("catalog", "taken_back").await? == 0 {
        let answer = anybody.get("/api/catalog/flowers?search=hang").await?;
        late += u32::from(answer.status.is_server_error());
        ensure!(late < 10, "it goes on keeping clients waiting");
    }
    ensure!(late >= 3, "{late} were enough");
    shop.await_version("catalog", &good).await?;
    anybody
        .get("/api/catalog/flowers?search=hang")
        .await?
        .expect(200)?;
    Ok(())
}
