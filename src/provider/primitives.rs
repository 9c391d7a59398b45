//! What lives and leases stand on: std's lock, tokio's tasks and timers. In the tests' build with the feature `shuttle` it is what
//! shuttle explores instead (`life/interleavings.rs`), so that it is the real code whose interleavings are looked at.

#[cfg(not(all(test, feature = "shuttle")))]
mod chosen {
    use std::{future::pending, time::Instant};

    pub use std::sync::{Mutex, MutexGuard};
    /// The tasks of a provider.
    pub use tokio_util::task::TaskTracker as Lives;

    pub async fn at(when: Option<Instant>) {
        match when {
            Some(when) => tokio::time::sleep_until(when.into()).await,
            None => pending().await,
        }
    }
}

#[cfg(all(test, feature = "shuttle"))]
mod chosen {
    use std::{
        future::{Future, pending},
        time::Instant,
    };

    pub use shuttle::sync::{Mutex, MutexGuard};
    use tokio_util::task::TaskTracker;

    pub struct Lives(TaskTracker);

    impl Lives {
        pub fn new() -> Self {
            Self(TaskTracker::new())
        }

        pub fn spawn<F: Future<Output: Send> + Send + 'static>(&self, life: F) {
            drop(shuttle::future::spawn(self.0.track_future(life)));
        }

        pub fn close(&self) {
            self.0.close();
        }

        pub async fn wait(&self) {
            self.0.wait().await;
        }
    }

    /// No time passes; what is due is due at once.
    pub async fn at(when: Option<Instant>) {
        match when {
            Some(when) if when <= Instant::now() => shuttle::future::yield_now().await,
            _ => pending().await,
        }
    }
}

pub use chosen::{Lives, Mutex, MutexGuard, at};
