//! A connection while a piece of work has it.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use deadpool_postgres::{
    GenericClient,
    tokio_postgres::{
        self, Statement as Prepared,
        types::{IsNull, ToSql, Type, to_sql_checked},
    },
};
use futures_util::future::try_join_all;
use leverframe::{Error, ErrorKind, Result};

use super::failure::failure;
use crate::store::engine::{Connection, Row, Statement, Value};

/// Every process that migrates takes the lock of this number, which is of no other use.
const LOCK_SCHEMA: &str = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
     SELECT pg_advisory_xact_lock(7810487190893161829)";

/// A connection, or a transaction on it.
pub(super) struct On<'c, C>(pub(super) &'c C);

impl<C: GenericClient + Sync> On<'_, C> {
    async fn prepare(&self, sql: &str) -> Result<Prepared> {
        // Kept by the connection: what is asked all the time is planned once.
        self.0.prepare_cached(sql).await.map_err(|error| failure("prepare a statement", &error))
    }
}

#[async_trait]
impl<C: GenericClient + Sync> Connection for On<'_, C> {
    async fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>> {
        let statement = self.prepare(sql).await?;
        let found = self.0.query(&statement, &parameters(values)).await;
        found.map_err(|error| failure("run a statement", &error))?.iter().map(row).collect()
    }

    async fn query_all(&mut self, statements: &[Statement]) -> Result<Vec<Vec<Row>>> {
        let asked = statements.iter().map(async |statement| {
            let prepared = self.prepare(&statement.sql).await?;
            let found = self.0.query(&prepared, &parameters(&statement.values)).await;
            found.map_err(|error| failure("run a statement", &error))?.iter().map(row).collect()
        });
        // All are sent before the first is answered. One that fails is answered before those that fail because of it.
        try_join_all(asked).await
    }

    async fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64> {
        let statement = self.prepare(sql).await?;
        let done = self.0.execute(&statement, &parameters(values)).await;
        done.map_err(|error| failure("run a statement", &error))
    }

    async fn batch(&mut self, script: &str) -> Result<()> {
        self.0.batch_execute(script).await.map_err(|error| failure("run a statement", &error))
    }

    async fn lock_schema(&mut self) -> Result<()> {
        self.batch(LOCK_SCHEMA).await
    }
}

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self {
            Self::Blob(bytes) => (&**bytes).to_sql(ty, out),
            Self::Int(number) => number.to_sql(ty, out),
            Self::Null => Ok(IsNull::Yes),
            Self::Text(text) => text.to_sql(ty, out),
        }
    }

    /// What the schema has. A value of another of these types is refused by the database.
    fn accepts(ty: &Type) -> bool {
        [Type::BYTEA, Type::INT8, Type::TEXT].contains(ty)
    }

    to_sql_checked!();
}

fn parameters(values: &[Value]) -> Vec<&(dyn ToSql + Sync)> {
    values.iter().map(|value| value as _).collect()
}

fn row(found: &tokio_postgres::Row) -> Result<Row> {
    let value = |(index, column): (usize, &tokio_postgres::Column)| {
        let value = match *column.type_() {
            Type::BYTEA => {
                found.try_get::<_, Option<Vec<u8>>>(index).map(|v| v.map(|v| Value::Blob(Bytes::from(v))))
            }
            Type::INT4 => found.try_get::<_, Option<i32>>(index).map(|v| v.map(|v| Value::Int(v.into()))),
            Type::INT8 => found.try_get::<_, Option<i64>>(index).map(|v| v.map(Value::Int)),
            Type::TEXT => found.try_get::<_, Option<String>>(index).map(|v| v.map(Value::Text)),
            _ => return Err(unreadable(column.name())),
        };
        value.map(|value| value.unwrap_or(Value::Null)).map_err(|_| unreadable(column.name()))
    };
    Ok(Row::new(found.columns().iter().enumerate().map(value).collect::<Result<_>>()?))
}

/// A column of a type that the schema does not have.
fn unreadable(column: &str) -> Error {
    Error::new(ErrorKind::Corrupt, "read a stored row")
        .with("column", column)
        .with("reason", "it is of another type than the schema says")
}
