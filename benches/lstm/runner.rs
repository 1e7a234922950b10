//! A setting of threads: the caller's thread alone, or a rayon pool.

use quadgate::Threads;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// Runs closures where calls have a given number of threads at their disposal.
#[derive(Debug)]
pub(crate) struct Runner {
    requested: usize,
    /// `None` for the caller's thread alone.
    pool: Option<ThreadPool>,
}

impl Runner {
    /// A runner with `threads` threads. With `joining`, which only one of them may ask for, the caller's is one of
    /// them, and closures always run there.
    ///
    /// # Errors
    /// What rayon says if it cannot start them.
    pub(crate) fn new(threads: usize, joining: bool) -> Result<Self, String> {
        let pool = match threads {
            0 | 1 => None,
            _ => {
                let pool = ThreadPoolBuilder::new().num_threads(threads);
                let pool = if joining { pool.use_current_thread() } else { pool }.build();
                Some(pool.map_err(|error| format!("cannot start {threads} threads: {error}"))?)
            }
        };
        Ok(Self { requested: threads, pool })
    }

    /// Threads at disposal. The plan of a call may use fewer.
    pub(crate) fn requested(&self) -> usize {
        self.requested
    }

    /// The setting that a layer needs to use them as it would by itself.
    pub(crate) fn threads(&self) -> Threads {
        if self.pool.is_some() { Threads::Auto } else { Threads::Serial }
    }

    /// Runs `work` in the pool, if there is one.
    pub(crate) fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}
