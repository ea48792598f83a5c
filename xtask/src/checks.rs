//! `test`, `bench` and `ci`: everything that says whether the shop is right, and how fast it is, by running it. Each run
//! has fresh servers of its own, so it never touches the shop of `up`. What is said without running it is in `lints`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::addresses::Addresses;
use crate::builds;
use crate::checkout::Checkout;
use crate::interrupt;
use crate::kubernetes;
use crate::lints;
use crate::manifests;
use crate::process::Process;
use crate::programs::{self, Need, on_path};
use crate::progress::{Step, say};
use crate::run::{end_group, in_foreground};
use crate::schemathesis;
use crate::servers::{self, Kind, Servers, free_ports};
use crate::shop::{Shop, close, ports};
use crate::toolchain::cargo;
use crate::up::try_lock;

/// What Schemathesis draws from where nobody says otherwise: `main` is guarded by the same requests each time.
const SCHEMATHESIS_SEED: u64 = 5;

#[derive(clap::Args)]
pub(crate) struct Test {
    /// Run the black-box tests against a shop that runs elsewhere, for example in Spin
    #[arg(long, value_name = "URL")]
    against: Option<String>,

    /// Only what holds in every topology, in this one: each service by itself, or everything twice
    #[arg(long, value_enum, conflicts_with = "against")]
    topology: Option<Topology>,

    /// Only what holds in Spin as well, with the `spin` on PATH in the place of the embedded host
    #[arg(long, conflicts_with = "against")]
    spin: bool,

    /// Have Schemathesis draw other requests
    #[arg(long, value_name = "NUMBER", default_value_t = SCHEMATHESIS_SEED)]
    schemathesis_seed: u64,

    /// Run only tests whose name contains this
    filter: Vec<String>,
}

/// How a shop may be laid out besides all in one process.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Topology {
    /// Everything in one process
    Together,
    /// Each service a process of its own, found by URL, with a database of its own
    Split,
    /// Two hosts and two relays on the same stores
    Doubled,
}

impl Topology {
    /// Those that are tested besides, where nobody asks for one.
    const OTHERS: [Self; 2] = [Self::Split, Self::Doubled];
    /// Those that are tested in Spin, likewise.
    const SPINS: [Self; 2] = [Self::Together, Self::Split];

    fn name(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Split => "split",
            Self::Doubled => "doubled",
        }
    }
}

/// The modules of `tests/tests/inside` whose tests hold in every topology: the rest looks into one process or one database,
/// or asks what no topology changes.
const IN_EVERY_TOPOLOGY: [&str; 9] = [
    "chaos::",
    "deadlines::",
    "events::",
    "faults::",
    "operator::",
    "provider::",
    "relays::",
    "reservations::",
    "steps::",
];

/// Of these what Spin cannot be told: how many instances there may be.
const NOT_IN_SPIN: &str = "provider::";

const NO_SPIN: &str = "there is no `spin` on PATH: https://spinframework.dev says how to install it";

/// How long a shop of six hosts may take to end in order.
const CLOSE_LIMIT: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// How long the storm is in each of them, in s.
const STORM_SECONDS: &str = "45";

#[derive(clap::Args)]
pub(crate) struct Chaos {
    /// How long the storm lasts
    #[arg(long, default_value = "2", value_name = "MINUTES")]
    minutes: u64,

    /// Repeat the random choices of another run
    #[arg(long)]
    seed: Option<u64>,

    /// In a shop that is laid out otherwise than in one process
    #[arg(long, value_enum)]
    topology: Option<Topology>,
}

#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Say how the ratios changed since this file was written, and fail if one got worse
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,

    /// Passed on to the bench, after `--`
    #[arg(last = true)]
    args: Vec<String>,
}

/// What one test has the alert rules tried in. Without it that test says so and checks less.
const PROMETHEUS: Need = Need {
    title: "Prometheus",
    debian: "prometheus",
    homebrew: "prometheus",
    present: || on_path("prometheus").is_some(),
};

/// Fresh servers for one run; they stop when it ends, however it ends.
struct Ground<'a> {
    checkout: &'a Checkout,
    servers: Servers,
    /// The shop that the black-box tests visit.
    bridge: Option<Process>,
    /// The program of Spin, if it is to serve in the place of the embedded host.
    spin: Option<PathBuf>,
    _lock: File,
}

impl<'a> Ground<'a> {
    /// Launches the servers of `.shop/<name>`, empty.
    fn lay(checkout: &'a Checkout, name: &str) -> Result<Self> {
        let folder = checkout.shop().join(name);
        let lock = try_lock(&folder.with_extension("lock"))?
            .with_context(|| format!("another `cargo xtask {name}` is at it in this checkout"))?;
        servers::install(checkout, &Kind::ALL)?;
        if name == "test" {
            programs::ensure_if_possible(checkout, &PROMETHEUS);
        }
        if folder.join("servers.json").exists() {
            Servers::open(folder.clone())?.stop_all()?;
        }
        Servers::wipe(&folder)?;
        let ground = Self {
            checkout,
            servers: Servers::open(folder)?,
            bridge: None,
            spin: None,
            _lock: lock,
        };
        ground.servers.keep()?;
        for kind in Kind::ALL.into_iter().rev() {
            ground.servers.launch(kind)?;
        }
        Ok(ground)
    }

    /// Opens a shop with the demo data; gives its address.
    fn open_shop(&mut self) -> Result<String> {
        let port = free_ports(ports)?;
        let shop = Shop {
            checkout: self.checkout,
            folder: self.servers.folder(),
            secrets: &self.servers.secrets,
            addresses: Addresses::private(&self.servers)?,
            port,
            // Hashing passwords is what tests would spend their time on.
            variables: &[("bcrypt_cost", "4")],
        };
        shop.prepare()?;
        let bridge = &mut self.bridge;
        shop.open(|started| {
            *bridge = Some(started.clone());
            Ok(())
        })?;
        Ok(format!("http://127.0.0.1:{port}"))
    }

    /// Has a shop of this topology pass the black-box tests, and those of the tests inside that hold in every topology; or
    /// else those tests of both that `filter` names, whether they hold in it or not.
    fn test_in(&self, topology: Topology, filter: &[String]) -> Result<()> {
        say(&format!("topology: {}", topology.name()));
        let shop = OpenTopology::open(self, topology)?;
        let mut command = runner(self.checkout, Some("black_box"), filter);
        self.describe(&mut command)?;
        command.env("SHOP_TEST_BASE_URL", &shop.bases);
        command.env("SHOP_TEST_SERVICES", &shop.services);
        pass(command)?;
        shop.close()?;
        let hold = |module: &&str| self.spin.is_none() || *module != NOT_IN_SPIN;
        let modules = IN_EVERY_TOPOLOGY.into_iter().filter(hold);
        let modules: Vec<String> = modules.map(str::to_owned).collect();
        let filter = if filter.is_empty() { &modules[..] } else { filter };
        let mut command = runner(self.checkout, Some("inside"), filter);
        self.describe(&mut command)?;
        command.env("SHOP_TEST_TOPOLOGY", topology.name());
        command.env("SHOP_CHAOS_SECONDS", STORM_SECONDS);
        pass(command)
    }

    /// The same with Spin in the place of the embedded host, and before that the conformance tests; in one topology, or in
    /// those that Spin's users have.
    fn test_in_spin(&mut self, spin: PathBuf, topology: Option<Topology>, filter: &[String]) -> Result<()> {
        self.spin = Some(spin);
        let mut command = runner(self.checkout, Some("conformance"), filter);
        self.describe(&mut command)?;
        pass(command)?;
        let topologies = topology.map_or(Topology::SPINS.to_vec(), |topology| vec![topology]);
        topologies
            .into_iter()
            .try_for_each(|topology| self.test_in(topology, filter))
    }

    /// What tests and benches find their ground by.
    fn describe(&self, command: &mut Command) -> Result<()> {
        command
            .env("SHOP_TEST_POSTGRES", self.servers.url(Kind::Postgres)?)
            .env("SHOP_TEST_REDIS", self.servers.url(Kind::Redis)?)
            .env("SHOP_TEST_AMQP", self.servers.url(Kind::Rabbitmq)?)
            .env("SHOP_TEST_SERVERS", self.servers.book_path())
            .env("SHOP_TEST_BRIDGE", self.checkout.bridge())
            .env("SHOP_TEST_COMPONENTS", self.checkout.components())
            .env("SHOP_TEST_XTASK", self.checkout.xtask())
            .envs(self.spin.iter().map(|program| ("SHOP_TEST_SPIN", program)));
        Ok(())
    }
}

impl Drop for Ground<'_> {
    fn drop(&mut self) {
        let step = Step::start("stopping the servers");
        let bridge = self.bridge.as_ref().map_or(Ok(()), close);
        match bridge.and(self.servers.stop_all()) {
            Ok(()) => step.done(),
            Err(error) => say(&format!("cannot stop the servers: {error:#}")),
        }
    }
}

/// A shop that is laid out in some way, kept open by a program of the tests, which ends with this.
struct OpenTopology {
    program: Child,
    /// Where clients come, separated by blanks.
    bases: String,
    /// Services that answer at a place of their own: `ordering=http://… payment=http://…`.
    services: String,
}

impl OpenTopology {
    fn open(ground: &Ground, topology: Topology) -> Result<Self> {
        let step = Step::start(format!("opening the shop ({})", topology.name()));
        let mut command = Command::new(ground.checkout.target().join("release/topology"));
        command.arg(topology.name()).current_dir(ground.checkout.root());
        ground.describe(&mut command)?;
        // A group of its own: Ctrl-C is for this program, which closes the shop.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut shop = Self {
            program: command.spawn().context("cannot open a shop")?,
            bases: String::new(),
            services: String::new(),
        };
        let stdout = shop.program.stdout.take().context("a program without output")?;
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Whoever waited may have been interrupted.
            let _ = sender.send((lines.next(), lines.next()));
        });
        let (bases, services) = loop {
            match said.recv_timeout(LOOK) {
                Ok(lines) => break lines,
                Err(RecvTimeoutError::Timeout) => interrupt::check()?,
                Err(RecvTimeoutError::Disconnected) => break (None, None),
            }
        };
        shop.bases = bases.context("the shop does not open: see above")?;
        shop.services = services.unwrap_or_default();
        step.done();
        Ok(shop)
    }

    /// Has it end in order.
    fn close(mut self) -> Result<()> {
        drop(self.program.stdin.take());
        let begun = Instant::now();
        while begun.elapsed() < CLOSE_LIMIT {
            if let Some(status) = self.program.try_wait().context("cannot wait for a shop")? {
                ensure!(status.success(), "the shop did not end in order: {status}");
                return Ok(());
            }
            interrupt::pause(LOOK)?;
        }
        bail!("the shop does not end")
    }
}

impl Drop for OpenTopology {
    fn drop(&mut self) {
        if matches!(self.program.try_wait(), Ok(Some(_))) {
            return;
        }
        if let Err(error) = end_group(&mut self.program) {
            say(&format!("cannot stop a shop: {error:#}"));
        }
    }
}

/// Builds everything and runs all tests.
pub(crate) fn test(checkout: &Checkout, test: &Test) -> Result<()> {
    if let Some(url) = &test.against {
        return test_against(checkout, url, &test.filter);
    }
    let spin = test.spin.then(|| on_path("spin").context(NO_SPIN)).transpose()?;
    let in_one_process = spin.is_none() && test.topology.is_none();
    let schemathesis = match in_one_process {
        true => Some(schemathesis::find_or_install(checkout)?),
        false => None,
    };
    let mut ground = Ground::lay(checkout, "test")?;
    builds::components_and_guests(checkout)?;
    builds::next_release(checkout)?;
    builds::tests(checkout)?;
    manifests::write(checkout)?;
    ground.servers.await_all(&Kind::ALL)?;
    if let Some(spin) = spin {
        return ground.test_in_spin(spin, test.topology, &test.filter);
    }
    if let Some(topology) = test.topology {
        return ground.test_in(topology, &test.filter);
    }
    let shop = ground.open_shop()?;
    let mut command = runner(checkout, None, &test.filter);
    ground.describe(&mut command)?;
    command
        .env("SHOP_TEST_BASE_URL", shop)
        .envs(schemathesis.map(|program| ("SHOP_TEST_SCHEMATHESIS", program)))
        .env("SHOP_TEST_SCHEMATHESIS_SEED", test.schemathesis_seed.to_string());
    pass(command)?;
    // Who asks for some tests has had them.
    if test.filter.is_empty() {
        for topology in Topology::OTHERS {
            ground.test_in(topology, &[])?;
        }
    }
    Ok(())
}

/// The chaos test alone, as long as one likes; it says what it does while it does it.
pub(crate) fn chaos(checkout: &Checkout, chaos: &Chaos) -> Result<()> {
    let ground = Ground::lay(checkout, "test")?;
    builds::components_and_guests(checkout)?;
    builds::tests(checkout)?;
    ground.servers.await_all(&Kind::ALL)?;
    let mut command = cargo(checkout);
    command.args(["test", "--locked", "--release", "--workspace", "--test", "inside"]);
    command.args(["chaos::", "--", "--nocapture"]);
    ground.describe(&mut command)?;
    command.env("SHOP_CHAOS_SECONDS", (60 * chaos.minutes).to_string());
    if let Some(topology) = chaos.topology {
        manifests::write(checkout)?;
        command.env("SHOP_TEST_TOPOLOGY", topology.name());
    }
    if let Some(seed) = chaos.seed {
        command.env("SHOP_CHAOS_SEED", seed.to_string());
    }
    pass(command)
}

/// The black-box tests alone; the shop, its servers and its demo data are someone else's.
fn test_against(checkout: &Checkout, url: &str, filter: &[String]) -> Result<()> {
    let mut command = cargo(checkout);
    command
        .args([
            "test",
            "--locked",
            "--release",
            "--workspace",
            "--test",
            "black_box",
            "--",
        ])
        .args(filter);
    command
        .env("SHOP_TEST_BASE_URL", url)
        .env("SHOP_TEST_XTASK", checkout.xtask());
    pass(command)
}

/// nextest where it is installed (a hung or crashing test is then only itself), else `cargo test`. All tests, or those of
/// one binary.
fn runner(checkout: &Checkout, binary: Option<&str>, filter: &[String]) -> Command {
    let mut command = cargo(checkout);
    if on_path("cargo-nextest").is_some() {
        command.args([
            "nextest",
            "run",
            "--locked",
            "--cargo-profile",
            "release",
            "--workspace",
        ]);
        command.args(["--no-fail-fast"]);
        if binary.is_some() {
            // What is asked for may be in another one.
            command.arg("--no-tests=pass");
        }
        command.args(binary.map(|name| ["--test", name]).into_iter().flatten());
    } else {
        command.args(["test", "--locked", "--release", "--workspace", "--no-fail-fast"]);
        command.args(binary.map(|name| ["--test", name]).into_iter().flatten());
        command.arg("--");
    }
    // A failed test says what was missed; where in the runtime it did so tells nobody anything.
    command.args(filter).env("RUST_LIB_BACKTRACE", "0");
    command
}

fn pass(command: Command) -> Result<()> {
    if !in_foreground(command)?.success() {
        bail!("tests failed: see above");
    }
    Ok(())
}

/// Has the tests that hold the descriptions against the code write them instead: first the services', of which the
/// gateway's is made.
pub(crate) fn describe(checkout: &Checkout) -> Result<()> {
    let services = ["auth", "catalog", "ordering", "payment", "delivery"];
    for packages in [&services[..], &["gateway", "description"]] {
        let step = Step::start(format!("describing {}", packages.join(", ")));
        let mut test = cargo(checkout);
        test.args(["test", "--locked", "--release"]);
        for package in packages {
            test.args(["--package", package]);
        }
        test.args(["--", "the_file_"]).env("SHOP_WRITE_DESCRIPTIONS", "1");
        builds::build(checkout, step, test, "describe")?;
    }
    Ok(())
}

/// Runs the bench on fresh servers.
pub(crate) fn bench(checkout: &Checkout, bench: &Bench) -> Result<()> {
    if !checkout.root().join("bench/Cargo.toml").is_file() {
        bail!("this checkout has no bench yet");
    }
    let ground = Ground::lay(checkout, "bench")?;
    builds::components_and_guests(checkout)?;
    manifests::write(checkout)?;
    let step = Step::long("building the host-bridge and the bench", builds::HINT);
    let mut build = cargo(checkout);
    build.args([
        "build",
        "--locked",
        "--release",
        "--workspace",
        "--bin",
        "host-bridge",
        "--bin",
        "bench",
    ]);
    builds::build(checkout, step, build, "bench")?;
    ground.servers.await_all(&Kind::ALL)?;
    let mut command = Command::new(checkout.target().join("release/bench"));
    if let Some(file) = &bench.compare {
        command.arg("--compare").arg(file);
    }
    command.args(&bench.args).current_dir(checkout.root());
    ground.describe(&mut command)?;
    if !in_foreground(command)?.success() {
        bail!("the bench failed: see above");
    }
    Ok(())
}

/// What guards `main`.
pub(crate) fn ci(checkout: &Checkout) -> Result<()> {
    lints::all(checkout)?;
    lints::dependencies_if_possible(checkout)?;
    kubernetes::check(checkout)?;
    test(
        checkout,
        &Test {
            against: None,
            topology: None,
            spin: false,
            schemathesis_seed: SCHEMATHESIS_SEED,
            filter: Vec::new(),
        },
    )
}
