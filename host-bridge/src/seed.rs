//! `seed`: demo data, for each service one file of SQL that is safe to repeat, run as that service.

use crate::cli::Seed;
use crate::database::{Databases, connect, explained, run_generated};
use crate::migrate::login;
use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use tracing::info;

pub(crate) async fn seed(args: Seed) -> anyhow::Result<()> {
    let databases = Databases::new(args.databases);
    for (service, file) in files(&args.folder)? {
        load(databases.of(&service), &service, &file)
            .await
            .with_context(|| format!("demo data of {service}"))?;
        info!(service, "demo data loaded");
    }
    Ok(())
}

async fn load(url: &str, service: &str, file: &Path) -> anyhow::Result<()> {
    let sql = std::fs::read_to_string(file)?;
    let mut client = connect(url).await?;
    run_generated(
        &client,
        include_str!("sql/act_as.sql"),
        &[&login(service), &service],
    )
    .await
    .map_err(explained)?;
    // All of it or nothing.
    let transaction = client.transaction().await.map_err(explained)?;
    transaction.batch_execute(&sql).await.map_err(explained)?;
    transaction.commit().await.map_err(explained)
}

/// The files `<service>.sql`, in alphabetical order.
fn files(folder: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let read = || format!("demo data {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let service = path
                .file_stem()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            files.push((service, path));
        }
    }
    files.sort();
    ensure!(
        !files.is_empty(),
        "{}: there is no file <service>.sql",
        folder.display()
    );
    Ok(files)
}
