//! Owns the one thread that starts children. Receives commands, emits the children.
//!
//! Linux's parent-death signal fires when the *thread* that forked ends, and threads of
//! a runtime come and go; this one lives as long as its owner.

use std::io;
use std::sync::{Mutex, PoisonError, mpsc};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

type Reply = oneshot::Sender<io::Result<Child>>;
type Order = (Command, Handle, Reply);

/// Orders that may wait: starting a child takes about a millisecond.
const WAITING: usize = 64;

/// Name of the thread, by which the end recognises it as ours.
const THREAD: &str = "lp-spawner";

#[derive(Default)]
pub(super) struct Spawner {
    orders: Mutex<Option<mpsc::SyncSender<Order>>>,
}

impl Spawner {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (reply, answer) = oneshot::channel();
        let orders = self.orders()?;
        orders.try_send((command, Handle::current(), reply)).map_err(|_| busy())?;
        answer.await.map_err(|_| busy())?
    }

    fn orders(&self) -> io::Result<mpsc::SyncSender<Order>> {
        let mut slot = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(orders) = slot.as_ref() {
            return Ok(orders.clone());
        }
        let (orders, queue) = mpsc::sync_channel(WAITING);
        std::thread::Builder::new().name(THREAD.to_owned()).spawn(move || run(&queue))?;
        *slot = Some(orders.clone());
        Ok(orders)
    }
}

fn run(queue: &mpsc::Receiver<Order>) {
    while let Ok((mut command, runtime, reply)) = queue.recv() {
        let _runtime = runtime.enter();
        // An abandoned order's child is killed by its drop.
        let _ = reply.send(command.spawn());
    }
}

fn busy() -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, "too many processes are being started")
}
