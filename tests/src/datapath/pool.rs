//! Keeps loaded datapaths for the next test: verifying one takes half a second, and minutes in an emulated VM.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::{Datapath, World};

static POOL: Mutex<Vec<Datapath>> = Mutex::new(Vec::new());

impl Datapath {
    /// Lends a datapath filled with this world: one that an earlier test left, or a new one. Its counters need not be zero.
    ///
    /// # Errors
    ///
    /// Errors of loading and filling, and of `work`.
    pub fn with<T>(world: &World, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let mut datapath = Self::lend(world)?;
        let result = work(&mut datapath);
        datapath.give_back();
        result
    }

    /// As [`Self::with`], for callers that give it back themselves.
    ///
    /// # Errors
    ///
    /// Errors of loading and filling.
    pub fn lend(world: &World) -> Result<Self> {
        let Some(mut datapath) = take(world) else { return Self::load(world) };
        datapath.refill(world)?;
        Ok(datapath)
    }

    /// Leaves it to the next test that needs one.
    pub fn give_back(self) {
        POOL.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }
}

fn take(world: &World) -> Option<Datapath> {
    let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    let found = pool.iter().position(|datapath| datapath.suits(world))?;
    Some(pool.swap_remove(found))
}
