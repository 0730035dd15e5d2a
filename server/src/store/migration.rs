//! Bringing a database up to today's schema, step by step, whoever else is doing so.

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result};

use super::engine::{Connection, Work};
use crate::model::archive_address;

/// A step towards today's schema. Once released, its text never changes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Migration {
    pub(super) number: i64,
    pub(super) name: &'static str,
    pub(super) script: &'static str,
}

impl Migration {
    fn checksum(&self) -> String {
        archive_address(self.script.as_bytes())
    }
}

/// Takes the steps that were not taken yet; comes to how many that were.
#[derive(Debug)]
pub(super) struct Migrate(pub(super) &'static [Migration]);

#[async_trait]
impl Work for Migrate {
    type Output = u32;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<u32> {
        on.lock_schema().await?;
        on.batch(
            "CREATE TABLE IF NOT EXISTS schema_migrations \
             (number BIGINT PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)",
        )
        .await?;
        let taken = taken(self.0, on).await?;
        for step in &self.0[taken..] {
            on.batch(step.script).await?;
            let values = [step.number.into(), step.name.into(), (&step.checksum()).into()];
            on.put("INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)", &values)
                .await?;
        }
        Ok(u32::try_from(self.0.len() - taken).unwrap_or(u32::MAX))
    }
}

/// Says how many steps were not taken yet.
#[derive(Debug)]
pub(super) struct Pending(pub(super) &'static [Migration]);

#[async_trait]
impl Work for Pending {
    type Output = usize;

    async fn run(&self, on: &mut dyn Connection, _again: bool) -> Result<usize> {
        Ok(self.0.len() - taken(self.0, on).await?)
    }
}

/// Returns how many steps were taken, if they were these.
async fn taken(steps: &[Migration], on: &mut dyn Connection) -> Result<usize> {
    let mut taken = 0;
    for mut row in
        on.query("SELECT number, name, checksum FROM schema_migrations ORDER BY number", &[]).await?
    {
        let (number, name, checksum) = (row.int()?, row.text()?, row.text()?);
        let Some(step) = steps.get(taken).filter(|step| step.number == number) else {
            return Err(unknown_step(number, &name));
        };
        if step.checksum() != checksum {
            return Err(Error::new(ErrorKind::Corrupt, "bring the schema up to date")
                .with("step", step.name)
                .with("reason", "what was run under this name then is not what it is now")
                .hint("run the build that made this database"));
        }
        taken += 1;
    }
    Ok(taken)
}

fn unknown_step(number: i64, name: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "use the database")
        .with("step", format!("{number} ({name})"))
        .with("reason", "the database is newer than this program")
        .hint("run the release that migrated it, or a newer one; going back needs a backup from before")
}
