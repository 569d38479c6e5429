//! Sockets that open and close while the process runs.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use rutter_proxy_core::{ListenerPlan, ProxyConfig};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::accept::accept;
use crate::current::{Current, ListenerHandle};

/// Owns every listener: it opens and drains sockets as each config says, one config after the other.
pub(crate) struct Listeners {
    current: Current,
    open: HashMap<String, watch::Sender<bool>>,
    tasks: JoinSet<()>,
    ready: Arc<AtomicBool>,
}

impl Listeners {
    pub(crate) fn new(current: Current) -> Self {
        Self { current, open: HashMap::new(), tasks: JoinSet::new(), ready: Arc::default() }
    }

    /// Returns a flag that says whether listeners are open.
    pub(crate) fn ready(&self) -> Arc<AtomicBool> {
        self.ready.clone()
    }

    /// Carries configs out until there are no more.
    pub(crate) async fn run(mut self, mut updates: mpsc::Receiver<Arc<ProxyConfig>>) -> Result<()> {
        while let Some(config) = updates.recv().await {
            let plan = config.plan(&self.current.load());
            self.current.store(config);
            self.carry_out(plan).await;
            while self.tasks.try_join_next().is_some() {}
        }
        Ok(())
    }

    async fn carry_out(&mut self, plan: ListenerPlan) {
        for name in plan.drain {
            if let Some(stop) = self.open.remove(&name) {
                info!(listener = name, "draining");
                // A listener that has ended need not be stopped.
                let _ = stop.send(true);
            }
        }
        for (name, addr) in plan.open {
            match TcpListener::bind(addr).await {
                Ok(socket) => self.start(name, addr, socket),
                Err(failure) => {
                    error!(listener = name, error = format!("{addr}: {failure}"), "a listener cannot be opened")
                }
            }
        }
        self.ready.store(!self.open.is_empty(), Ordering::Relaxed);
    }

    fn start(&mut self, name: String, addr: SocketAddr, socket: TcpListener) {
        info!(listener = name, %addr, "open");
        let (stop, stopped) = watch::channel(false);
        self.open.insert(name.clone(), stop);
        self.tasks.spawn(accept(ListenerHandle { name, current: self.current.clone() }, socket, stopped));
    }
}

#[cfg(test)]
mod tests;
