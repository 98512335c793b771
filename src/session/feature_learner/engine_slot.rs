//! An engine that is opened when training first needs it: a GPU driver takes a while to start.

use crate::Result;
use crate::learn::engine::Engine;
use crate::learn::engine_choice::{EngineChoice, open};

/// An engine, opened or only chosen.
pub struct EngineSlot {
    choice: EngineChoice,
    engine: Option<Box<dyn Engine>>,
    /// The line that says what was opened and why; it is taken once.
    line: Option<String>,
}

impl std::fmt::Debug for EngineSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.engine.as_ref().map(|engine| engine.name());
        f.debug_struct("EngineSlot").field("choice", &self.choice).field("engine", &name).finish()
    }
}

impl From<EngineChoice> for EngineSlot {
    fn from(choice: EngineChoice) -> Self {
        Self { choice, engine: None, line: None }
    }
}

impl From<Box<dyn Engine>> for EngineSlot {
    fn from(engine: Box<dyn Engine>) -> Self {
        Self { choice: EngineChoice::Auto, engine: Some(engine), line: None }
    }
}

impl EngineSlot {
    /// The engine; it is opened if that did not happen yet.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the GPU was asked for and no adapter serves.
    pub fn get(&mut self) -> Result<&mut dyn Engine> {
        let engine = match self.engine.take() {
            Some(engine) => engine,
            None => {
                let (engine, line) = open(self.choice)?;
                self.line = Some(line);
                engine
            }
        };
        Ok(self.engine.insert(engine).as_mut())
    }

    /// Opens an engine that was asked for by name and that a machine may lack, so that it is missed
    /// at once and not only when there is something to train.
    ///
    /// # Errors
    /// As [`EngineSlot::get`].
    pub(crate) fn require(&mut self) -> Result<()> {
        match self.choice {
            EngineChoice::Gpu => self.get().map(drop),
            EngineChoice::Auto | EngineChoice::Cpu => Ok(()),
        }
    }

    /// A line that says which engine was opened and why, once after it was opened.
    pub fn take_line(&mut self) -> Option<String> {
        self.line.take()
    }
}
