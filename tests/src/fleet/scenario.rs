//! The scenarios, and the bench that runs them.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rutter_api::config::Object;
use rutter_api::{Config, ConfigKey, CreationTimestamp, ResourceType, SidecarNode, yaml};
use rutter_core::{ConfigBatch, ConfigChange, Mesh, MeshSettings};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::mesh::{GATEWAY_POD, MeshSpec, Rules, namespace};
use super::report::{Figures, quantile};
use super::server::Server;
use super::sidecar::{Fleet, Identity, Seen, Sidecar, lock};

/// The time without any response after which everything counts as sent.
const QUIET: Duration = Duration::from_millis(400);
/// The longest time that anything may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The number of connections that are opened at the same time.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// The names of the scenarios of sidecars, in the order in which they run. S12 is for a gateway: one of its VirtualServices
/// changes.
pub const ALL: [&str; 12] = ["S1", "S2", "S3", "S4", "S5", "S5w", "S6", "S8", "S9", "S10", "S11", "S7"];

/// A mesh, a server and a fleet of sidecars.
pub struct Bench {
    /// The mesh as it was at the beginning.
    pub spec: MeshSpec,
    /// The server under test.
    pub server: Server,
    /// What the sidecars share.
    pub fleet: Arc<Fleet>,
    /// The number of pods that S6 replaces, and the time that it takes, in seconds.
    pub rollout: (usize, usize),
    identities: Vec<Identity>,
    seen: Vec<Arc<Mutex<Seen>>>,
    /// The objects of each file of the mesh as it is now, for the comparison with what it should be.
    files: BTreeMap<String, String>,
    tasks: JoinSet<()>,
    /// The number of changes so far, which makes each change another one.
    turn: usize,
}

impl Bench {
    /// Returns a bench whose sidecars are not connected yet.
    pub fn new(spec: MeshSpec, server: Server, fleet: Fleet, sidecars: usize) -> Self {
        let identity = |number: usize| {
            let (place, turn) = (number % spec.namespaces, number / spec.namespaces);
            let (service, endpoint) = (turn % spec.services, turn / spec.services % spec.endpoints);
            Identity {
                pod: format!("s{service}-{turn}"),
                namespace: namespace(place),
                ip: spec.endpoint((place, service, endpoint), 0),
                is_gateway: false,
            }
        };
        let gateway = |_| Identity {
            pod: GATEWAY_POD.to_owned(),
            namespace: "edge".to_owned(),
            ip: Ipv4Addr::new(10, 200, 0, 1),
            is_gateway: true,
        };
        let identities: Vec<Identity> = match spec.rules {
            Rules::First | Rules::Each => (0..sidecars).map(identity).collect(),
            Rules::Gateway => (0..1).map(gateway).collect(),
        };
        Self {
            server,
            fleet: Arc::new(fleet),
            rollout: (500, 10),
            seen: identities.iter().map(|_| Arc::default()).collect(),
            identities,
            files: spec.files().into_iter().collect(),
            tasks: JoinSet::new(),
            turn: 1,
            spec,
        }
    }

    /// Connects every sidecar.
    ///
    /// # Errors
    /// Fails if they do not all come to be served.
    pub async fn connect(&mut self) -> Result<Figures> {
        let mut figures = self.start("connect").await?;
        let start = Instant::now();
        for (number, identity) in self.identities.iter().enumerate() {
            let sidecar = Sidecar::new(number, identity.clone(), self.fleet.clone(), self.seen[number].clone());
            self.tasks.spawn(sidecar.run());
        }
        self.open(self.identities.len() as u64).await?;
        self.finish(&mut figures, start).await?;
        Ok(figures)
    }

    async fn open(&self, count: u64) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while self.fleet.open.load(Ordering::Relaxed) < count {
            if Instant::now() > end {
                bail!("want {count} streams, got {}", self.fleet.open.load(Ordering::Relaxed));
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Runs a scenario by its name.
    ///
    /// # Errors
    /// Fails if there is no scenario of that name, or if it fails.
    pub async fn run(&mut self, name: &str) -> Result<Figures> {
        self.turn += 1;
        let turn = self.turn;
        let middle = self.spec.namespaces / 2;
        let dir = namespace(middle);
        match name {
            "S1" => {
                let text = self.spec.service((middle, 1), 1, turn % 15 + 1);
                self.changed(name, vec![(format!("{dir}/s1.yaml"), text)]).await
            }
            "S2" => {
                let text = self.spec.quiet_routes(turn);
                self.changed(name, vec![("quiet/routes.yaml".into(), text)]).await
            }
            "S3" => self.changed(name, vec![("shared/routes.yaml".into(), MeshSpec::shared_routes(turn))]).await,
            "S4" => self.service_comes_and_goes(middle).await,
            "S5" => {
                let text = MeshSpec::subsets(
                    middle,
                    if self.files[&format!("{dir}/subsets.yaml")].contains("v3") { 2 } else { 3 },
                );
                self.changed(name, vec![(format!("{dir}/subsets.yaml"), text)]).await
            }
            "S5w" => {
                let text = MeshSpec::routes(middle, u8::try_from(turn % 89).unwrap_or(0) + 1);
                self.changed(name, vec![(format!("{dir}/routes.yaml"), text)]).await
            }
            "S6" => self.rollout().await,
            "S7" => self.killed().await,
            "S8" => self.reconnect().await,
            "S9" => self.storm().await,
            "S10" => self.slow().await,
            "S11" => self.refused().await,
            "S12" => {
                let number = turn % (self.spec.namespaces * self.spec.services);
                let text = self.spec.gateway_routes(number, turn);
                self.changed(name, vec![(MeshSpec::gateway_file(number), text)]).await
            }
            other => bail!("want one of {}, got {other:?}", ALL.join(", ")),
        }
    }

    async fn start(&mut self, name: &str) -> Result<Figures> {
        self.fleet.reset();
        *lock(&self.fleet.last_heard) = None;
        for seen in &self.seen {
            let mut seen = lock(seen);
            (seen.last_ack, seen.responses) = (None, 0);
        }
        Ok(Figures {
            scenario: name.to_owned(),
            cpu: self.server.cpu().ok().map(|cpu| cpu.as_secs_f64()),
            encodes: self.server.metric("rutter_encodes").await,
            ..Figures::default()
        })
    }

    /// Waits until nothing comes any more, and returns what came.
    async fn finish(&mut self, figures: &mut Figures, start: Instant) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let began = Instant::now();
        loop {
            let last = lock(&self.fleet.last_heard).unwrap_or(began).max(began);
            if last.elapsed() > QUIET {
                break;
            }
            if Instant::now() > end {
                bail!("{}: responses come without end", figures.scenario);
            }
            sleep(LOOK_EVERY).await;
        }
        let ms = |ack: Instant| (ack.saturating_duration_since(start)).as_secs_f64() * 1e3;
        let mut millis: Vec<f64> = self.seen.iter().filter_map(|seen| lock(seen).last_ack).map(ms).collect();
        millis.sort_unstable_by(f64::total_cmp);
        figures.reached = millis.len();
        figures.millis = [0.5, 0.99, 1.0].map(|share| quantile(&millis, share));
        figures.bytes = self.fleet.bytes.load(Ordering::Relaxed);
        figures.resources = self.fleet.resources.load(Ordering::Relaxed);
        figures.cpu = self.server.cpu().ok().zip(figures.cpu).map(|(after, before)| after.as_secs_f64() - before);
        figures.rss_kb = self.server.rss_kb().ok();
        let encodes = self.server.metric("rutter_encodes").await;
        figures.encodes = encodes.zip(figures.encodes).map(|(after, before)| after.saturating_sub(before));
        if self.server.monitoring.is_some() {
            (figures.wrong, figures.missing) = self.compare()?;
        }
        Ok(())
    }

    async fn changed(&mut self, name: &str, files: Vec<(String, String)>) -> Result<Figures> {
        self.files.extend(files.iter().cloned());
        self.measured(name, async move |bench| bench.server.change(&files).await).await
    }

    async fn measured(&mut self, name: &str, change: impl AsyncFnOnce(&mut Self) -> Result<()>) -> Result<Figures> {
        let mut figures = self.start(name).await?;
        let start = Instant::now();
        change(self).await?;
        self.finish(&mut figures, start).await?;
        Ok(figures)
    }

    async fn service_comes_and_goes(&mut self, place: usize) -> Result<Figures> {
        let (dir, name) = (namespace(place), "added");
        let text = self.spec.service((place, 0), 0, 0).replace("s0", name).replace("240.", "241.");
        let path = format!("{dir}/{name}.yaml");
        let mut figures = self.changed("S4", vec![(path.clone(), text)]).await?;
        self.files.remove(&path);
        let gone =
            self.measured("S4", async |bench| bench.server.remove(&path, ("ServiceEntry", &dir, name)).await).await?;
        figures.note = format!("gone again: {} bytes, last {:.1} ms", gone.bytes, gone.millis[2]);
        figures.wrong += gone.wrong;
        figures.missing += gone.missing;
        Ok(figures)
    }

    /// Replaces pods one after another, each in another namespace.
    async fn rollout(&mut self) -> Result<Figures> {
        let (pods, seconds) = self.rollout;
        let generation = self.turn % 15 + 1;
        let spec = self.spec;
        let mut figures = self
            .measured("S6", async move |bench| {
                let pause = Duration::from_secs(seconds as u64).div_f64(pods as f64);
                let start = Instant::now();
                for pod in 0..pods {
                    let (place, turn) = (pod % spec.namespaces, pod / spec.namespaces);
                    let (service, replaced) = (turn % spec.services, turn / spec.services + 1);
                    let text = spec.service((place, service), replaced.min(spec.endpoints), generation);
                    let file = (format!("{}/s{service}.yaml", namespace(place)), text);
                    bench.files.insert(file.0.clone(), file.1.clone());
                    bench.server.change(&[file]).await?;
                    sleep((start + pause * (pod as u32 + 1)).saturating_duration_since(Instant::now())).await;
                }
                Ok(())
            })
            .await?;
        let per_50 = figures.cpu.map_or(0.0, |cpu| cpu * 50.0 / pods as f64);
        figures.note = format!("{pods} pods in {seconds} s; for 50 of them {per_50:.3} cpu s");
        Ok(figures)
    }

    async fn reconnect(&mut self) -> Result<Figures> {
        self.measured("S8", async |bench| {
            bench.fleet.open.store(0, Ordering::Relaxed);
            bench.fleet.cuts.send_modify(|cuts| *cuts += 1);
            bench.open(bench.identities.len() as u64).await
        })
        .await
    }

    async fn killed(&mut self) -> Result<Figures> {
        let mut figures = self.start("S7").await?;
        self.fleet.open.store(0, Ordering::Relaxed);
        let start = Instant::now();
        self.server.restart().await?;
        let up = start.elapsed();
        figures.cpu = Some(0.0);
        figures.encodes = Some(0);
        self.open(self.identities.len() as u64).await?;
        let open = start.elapsed();
        self.finish(&mut figures, start).await?;
        figures.millis[2] = figures.millis[2].max(open.as_secs_f64() * 1e3);
        figures.note = format!(
            "ready after {:.0} ms, all streams after {:.0} ms",
            up.as_secs_f64() * 1e3,
            open.as_secs_f64() * 1e3
        );
        Ok(figures)
    }

    async fn storm(&mut self) -> Result<Figures> {
        let path = format!("{}/routes.yaml", namespace(1));
        let same = vec![(path.clone(), self.files[&path].clone())];
        self.measured("S9", async move |bench| {
            for _ in 0..1000 {
                bench.server.change(&same).await?;
            }
            Ok(())
        })
        .await
    }

    /// Lets one sidecar in a hundred read nothing during fifty changes that all sidecars should see.
    async fn slow(&mut self) -> Result<Figures> {
        let count = (self.identities.len() / 100).max(1);
        let before = self.server.rss_kb().ok();
        self.fleet.asleep.send_replace(count);
        let mut figures = self
            .measured("S10", async |bench| {
                for _ in 0..50 {
                    bench.turn += 1;
                    let file = ("shared/routes.yaml".to_owned(), MeshSpec::shared_routes(bench.turn));
                    bench.files.insert(file.0.clone(), file.1.clone());
                    bench.server.change(&[file]).await?;
                    sleep(Duration::from_millis(20)).await;
                }
                Ok(())
            })
            .await?;
        let grown = self.server.rss_kb().ok().zip(before).map_or(0, |(after, before)| after.saturating_sub(before));
        let behind = figures.missing + figures.wrong;
        let wake = async |bench: &mut Self| {
            bench.fleet.asleep.send_replace(0);
            Ok(())
        };
        let awake = self.measured("S10", wake).await?;
        figures.note = format!(
            "50 changes past {count} asleep ({behind} resources behind): rss +{grown} kB; awake: {} bytes",
            awake.bytes
        );
        (figures.wrong, figures.missing) = (awake.wrong, awake.missing);
        Ok(figures)
    }

    /// Lets all sidecars refuse a virtual host. Other changes still have to come.
    async fn refused(&mut self) -> Result<Figures> {
        let name = format!("80/{}:80", super::mesh::SHARED);
        *lock(&self.fleet.refused) = Some(name);
        let refused = self.run_one("S3").await?;
        let dir = namespace(0);
        let text = MeshSpec::routes(0, 7);
        let mut figures = self.changed("S11", vec![(format!("{dir}/routes.yaml"), text)]).await?;
        *lock(&self.fleet.refused) = None;
        let mended = self.run_one("S3").await?;
        figures.note = format!(
            "refused by {} in {} responses; mended: {} reached",
            refused.reached, refused.resources, mended.reached
        );
        (figures.wrong, figures.missing) = (mended.wrong, mended.missing);
        Ok(figures)
    }

    fn run_one<'a>(&'a mut self, name: &'a str) -> std::pin::Pin<Box<dyn Future<Output = Result<Figures>> + 'a>> {
        Box::pin(self.run(name))
    }

    /// Compares what sidecars hold with what they should hold, and returns how much is wrong and how much is missing.
    fn compare(&self) -> Result<(usize, usize)> {
        let mut changes = BTreeMap::<ConfigKey, ConfigChange>::new();
        let first: BTreeMap<String, String> = self.spec.files().into_iter().collect();
        for (path, text) in &self.files {
            // What came later is younger: of two services at one port the older names it.
            let created = CreationTimestamp::from_microseconds(if first.contains_key(path) { 1 } else { 2 });
            for document in yaml::parse(text)? {
                let object = Object::from_value(document.value, "default")
                    .map_err(|faults| anyhow::anyhow!("{path}: {faults:?}"))?;
                let config = Arc::new(Config { created, ..(*object.config).clone() });
                changes.insert(config.key.clone(), ConfigChange::Put(config));
            }
        }
        let mut mesh = Mesh::new(MeshSettings::default());
        mesh.apply(&ConfigBatch { changes, revision: 1, since: None });
        let (mut wrong, mut missing) = (0, 0);
        for (identity, seen) in self.identities.iter().zip(&self.seen) {
            let node = SidecarNode::try_from(&identity.node(self.fleet.minor))?;
            let id = mesh.connect(node);
            let view = mesh.view(id).context("connected")?;
            let seen = lock(seen);
            for resource_type in ResourceType::ALL {
                let held = &seen.held[resource_type];
                let mut found = 0;
                for resource in view.iter(resource_type) {
                    match held.get(&*resource.name) {
                        Some(version) if *version == resource.version.to_string() => found += 1,
                        Some(_) => wrong += 1,
                        None => missing += 1,
                    }
                }
                wrong += held.len().saturating_sub(found);
            }
        }
        Ok((wrong, missing))
    }
}
