//! The state of the training: between consolidations, and at the last checkpoint of one.

use rusqlite::params;

use super::fault::Fault;
use super::quota::Cost;
use super::seal::Table;
use super::state::Memory;
use super::{query, seal};
use crate::error::Result;

impl Memory {
    /// Keeps what training hands to the next task: parameters, momentum copies, queues and the ids
    /// of learned samples. It replaces what was kept before.
    ///
    /// # Errors
    /// [`crate::Error::Full`] or [`crate::Error::State`] if it cannot be kept.
    pub fn save_training(&mut self, state: &[u8]) -> Result<()> {
        self.keep(&seal::TRAINING, state)
    }

    /// Returns what training handed to the next task, if anything was kept.
    ///
    /// # Errors
    /// [`crate::Error::State`] if the file cannot be read, [`crate::Error::Corrupt`] if the state
    /// is damaged.
    pub fn load_training(&self) -> Result<Option<Vec<u8>>> {
        self.kept(&seal::TRAINING)
    }

    /// Keeps how far a training is, in place of the last checkpoint.
    ///
    /// # Errors
    /// As [`Memory::save_training`].
    pub fn save_checkpoint(&mut self, state: &[u8]) -> Result<()> {
        self.keep(&seal::CHECKPOINTS, state)
    }

    /// Returns the last checkpoint of a training that is not done, if there is one.
    ///
    /// # Errors
    /// As [`Memory::load_training`].
    pub fn load_checkpoint(&self) -> Result<Option<Vec<u8>>> {
        self.kept(&seal::CHECKPOINTS)
    }

    /// Returns whether there is a checkpoint of a training that is not done.
    ///
    /// # Errors
    /// As [`Memory::load_training`].
    pub fn has_checkpoint(&self) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM checkpoints)";
        self.read(|connection| query::value(connection, sql, []))
    }

    /// Drops the checkpoint, since its training is done or no longer wanted.
    ///
    /// # Errors
    /// As [`Memory::save_training`].
    pub fn drop_checkpoint(&mut self) -> Result<()> {
        if self.has_checkpoint()? {
            self.write(Cost::of(0), |connection| query::execute(connection, "DELETE FROM checkpoints", []))?;
        }
        Ok(())
    }

    /// Puts `state` in the only row of a table.
    fn keep(&mut self, table: &Table, state: &[u8]) -> Result<()> {
        let sql = format!("SELECT coalesce(max(length(state)), 0) FROM {}", table.name);
        let before: i64 = self.read(|connection| query::value(connection, &sql, []))?;
        let before = usize::try_from(before).unwrap_or(0);
        let growth = state.len().saturating_sub(before);
        self.write(Cost { growth, log: state.len().max(before) }, |connection| {
            query::execute(connection, &format!("DELETE FROM {}", table.name), [])?;
            seal::insert(connection, table, params![0, state], &[])
        })
    }

    /// Returns the state in the only row of a table.
    fn kept(&self, table: &Table) -> Result<Option<Vec<u8>>> {
        let sql = seal::select_where(table, "id=0");
        self.read(|connection| {
            query::first(connection, &sql, [], |row| {
                if !seal::intact(table, row)? {
                    return Err(Fault::damaged(table.name, 0));
                }
                Ok(row.get(2)?)
            })
        })
    }
}
