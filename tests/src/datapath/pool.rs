//! Loaded datapaths that wait for the next test: a load takes the verifier half a second, and minutes in an emulated VM.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::{Datapath, World};

static POOL: Mutex<Vec<Datapath>> = Mutex::new(Vec::new());

impl Datapath {
    /// Lends a datapath that is filled with this world: one that an earlier test left, or a new one. Its counters are not
    /// at zero.
    ///
    /// # Errors
    ///
    /// Those of loading and filling, and those of `work`.
    pub fn with<T>(world: &World, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut datapath = match take(world) {
            Some(mut datapath) => {
                datapath.refill(world)?;
                datapath
            }
            None => Self::load(world)?,
        };
        let result = work(&mut datapath);
        POOL.lock().unwrap_or_else(PoisonError::into_inner).push(datapath);
        result
    }
}

fn take(world: &World) -> Option<Datapath> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let found = pool.iter().position(|datapath| datapath.suits(world))?;
    Some(pool.swap_remove(found))
}
