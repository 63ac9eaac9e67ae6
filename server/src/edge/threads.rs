//! Threads, and futures driven on them.

use std::thread::JoinHandle;

use crate::failure::StartError;

pub(crate) fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    started.map_err(|cause| StartError::System { what: "start a thread", cause })
}

/// Drives a future that waits for queues only.
pub(crate) fn block_on(future: impl Future<Output = ()>) {
    match tokio::runtime::Builder::new_current_thread().build() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => tracing::error!(%error, "a store loop could not start"),
    }
}
