//! `make bench-store`: what a commit to the embedded store costs, with one writer and with 64 at once, beside the same
//! bytes written to sled and made durable without anything else. It gives figures of `docs/performance.md` and judges
//! nothing.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rutter_api::{ConfigKey, Kind};
use rutter_store::{ConfigStore, ConfigWrite, EmbeddedStore, Expected, Owner};

/// The number of rounds, of which each measures everything once. It is odd, so that there is a median.
const ROUNDS: usize = 11;
/// The number of commits of a measurement.
const COMMITS: usize = 1024;
/// The number of objects that are written in turn.
const OBJECTS: usize = 500;
/// The length of an object in bytes.
const OBJECT_BYTES: usize = 500;
/// The number of writers at once.
const WRITERS: usize = 64;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let (mut bare, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // In the working directory, which is on a disk where the temporary folder may be in memory.
        let dir = tempfile::tempdir_in(".")?;
        bare.push(bare_sled(dir.path())?);
        one.push(commits(dir.path(), 1).await?);
        many.push(commits(dir.path(), WRITERS).await?);
    }
    let [bare, one, many] = [bare, one, many].map(median);
    let microseconds = |time: Duration| time.as_secs_f64() * 1e6 / COMMITS as f64;
    println!("bare sled, made durable: {:>7.1} µs a write", microseconds(bare));
    for (name, time) in [("one writer", one), ("64 writers", many)] {
        let ratio = time.as_secs_f64() / bare.as_secs_f64();
        println!("{name:<24} {:>7.1} µs a write, {ratio:.2} times that", microseconds(time));
    }
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn json(number: usize) -> String {
    format!("{{\"v\":{number},\"pad\":\"{}\"}}", "x".repeat(OBJECT_BYTES))
}

/// Writes the same bytes as a commit does, each time durably.
fn bare_sled(dir: &Path) -> Result<Duration> {
    let dir = dir.join("bare");
    let sled = sled::Config::new().path(&dir).segment_size(16 << 20).cache_capacity(8 << 20).open()?;
    let file = File::open(dir.join("db"))?;
    let start = Instant::now();
    for number in 0..COMMITS {
        let mut batch = sled::Batch::default();
        batch.insert(format!("c/{}", number % OBJECTS).as_str(), json(number).as_str());
        batch.insert(format!("h/{number}").as_str(), json(number).as_str());
        batch.insert("m/revision", number.to_string().as_str());
        sled.apply_batch(batch)?;
        sled.flush()?;
        file.sync_data()?;
    }
    Ok(start.elapsed())
}

async fn commits(dir: &Path, writers: usize) -> Result<Duration> {
    let store = Arc::new(EmbeddedStore::open(&dir.join(format!("writers-{writers}")))?);
    let start = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let store = store.clone();
        tasks.spawn(async move {
            for number in (writer..COMMITS).step_by(writers) {
                let write = ConfigWrite {
                    key: ConfigKey::new(Kind::Service, "default", &format!("s{}", number % OBJECTS)),
                    json: Some(json(number).into()),
                    created: None,
                    owner: Owner::Api,
                    expected: Expected::Any,
                };
                store.commit(vec![write]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(start.elapsed())
}
