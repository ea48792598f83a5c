//! The kinds that operators bring, as far as the shop uses them: field by field as their definitions have them, and no
//! field besides. From spin-operator v0.6.1 (`api/v1alpha1`), KEDA v2.20 (`apis/keda/v1alpha1`) and External Secrets
//! (`apis/externalsecrets/v1`).

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Checks a document of such a kind; says `false` of one that is Kubernetes' own.
///
/// # Errors
/// If it has a field that its kind has not, lacks one, or has something else in it.
pub(super) fn check(document: &Value) -> Result<bool> {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        ("core.spinkube.dev/v1alpha1", "SpinApp") => fits::<SpinApp>(document),
        ("core.spinkube.dev/v1alpha1", "SpinAppExecutor") => fits::<SpinAppExecutor>(document),
        ("keda.sh/v1alpha1", "ScaledObject") => fits::<ScaledObject>(document),
        ("external-secrets.io/v1", "SecretStore") => fits::<SecretStore>(document),
        ("external-secrets.io/v1", "ExternalSecret") => fits::<ExternalSecret>(document),
        _ => Ok(false),
    }
}

fn fits<S: DeserializeOwned>(document: &Value) -> Result<bool> {
    Object::<S>::deserialize(document)
        .with_context(|| format!("{} {}", document["kind"], document["metadata"]["name"]))?;
    Ok(true)
}

type Texts = BTreeMap<String, String>;

/// Declares shapes whose fields are only ever compared with what is there.
macro_rules! shapes {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),+ $(,)? })+) => {$(
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "camelCase")]
        #[expect(dead_code, reason = "that they can be read is all that is asked")]
        struct $name { $($(#[$attribute])* $field: $type),+ }
    )+};
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(dead_code, reason = "that they can be read is all that is asked")]
struct Object<S> {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: S,
}

shapes! {
    Metadata {
        name: String,
        namespace: String,
        labels: Option<Texts>,
        annotations: Option<Texts>,
    }
    KeyRef { name: String, key: String, optional: Option<bool> }
    Name { name: String }

    SpinApp {
        image: String,
        executor: String,
        replicas: Option<u32>,
        enable_autoscaling: Option<bool>,
        service_account_name: Option<String>,
        pod_labels: Option<Texts>,
        checks: Checks,
        resources: Resources,
        runtime_config: RuntimeConfig,
        variables: Vec<Variable>,
    }
    Checks { readiness: Probe, liveness: Probe }
    Probe {
        http_get: HttpGet,
        initial_delay_seconds: Option<u32>,
        period_seconds: Option<u32>,
        timeout_seconds: Option<u32>,
        failure_threshold: Option<u32>,
        success_threshold: Option<u32>,
    }
    HttpGet { path: String }
    Resources { requests: Texts, limits: Texts }
    RuntimeConfig { load_from_secret: String }
    Variable { name: String, value: Option<String>, value_from: Option<ValueFrom> }
    ValueFrom { secret_key_ref: Option<KeyRef>, config_map_key_ref: Option<KeyRef> }

    SpinAppExecutor { create_deployment: bool, deployment_config: Option<DeploymentConfig> }
    DeploymentConfig { runtime_class_name: String, #[serde(rename = "installDefaultCACerts")] install_default_ca_certs: Option<bool> }

    ScaledObject {
        scale_target_ref: Name,
        min_replica_count: u32,
        max_replica_count: u32,
        triggers: Vec<Trigger>,
    }
    Trigger {
        r#type: TriggerType,
        metric_type: MetricType,
        metadata: Texts,
    }

    SecretStore { provider: Provider }
    Provider { vault: Vault }
    Vault { server: String, path: String, version: VaultVersion, auth: VaultAuth }
    VaultAuth { kubernetes: VaultKubernetes }
    VaultKubernetes { mount_path: String, role: String, service_account_ref: Name }

    ExternalSecret {
        refresh_interval: String,
        secret_store_ref: StoreRef,
        target: Target,
        data: Vec<Entry>,
    }
    StoreRef { name: String, kind: StoreKind }
    Target { name: String, template: Option<Template> }
    Template { data: Texts }
    Entry { secret_key: String, remote_ref: RemoteRef }
    RemoteRef { key: String, property: String }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum TriggerType {
    Cpu,
    Prometheus,
}

#[derive(Deserialize)]
enum MetricType {
    Utilization,
    Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum VaultVersion {
    V2,
}

#[derive(Deserialize)]
enum StoreKind {
    SecretStore,
}
