//! Counting pulses.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use leverframe::{Error, ErrorKind, Result, gate::reflex::Aggregate};

use super::{
    batch::{Added, Batch, Judged, Memories},
    counts::{self, Cell, OTHER},
    memory::Memory,
    rows::Rows,
    sites::{self, Standing},
    window::{MINUTE, SECOND, start},
};
use crate::{
    gate::model::{SiteId, Verdict},
    store::engine::{Connection, Row, Value, Work},
};

/// So many tags of a site are told apart since ever.
const MOST_TAGS: u64 = 10_000;

const MEMORIES: Rows = Rows {
    before: "SELECT held.org, held.site, held.instance, held.memory FROM (VALUES ",
    row: "?, ?, ?",
    after: ") AS wanted CROSS JOIN gate_instances AS held WHERE held.org = wanted.column1 AND held.site = wanted.column2 AND held.instance = wanted.column3",
};
const REMEMBER: Rows = Rows {
    before: "INSERT INTO gate_instances (org, site, instance, memory, seen_at) VALUES ",
    row: "?, ?, ?, ?, ?",
    after: " ON CONFLICT (org, site, instance) DO UPDATE SET memory = excluded.memory, seen_at = excluded.seen_at",
};
const CELLS: Rows = Rows {
    before: "SELECT held.org, held.site, held.span, held.counts FROM (VALUES ",
    row: "?, ?, CAST(? AS BIGINT), CAST(? AS BIGINT)",
    after: ") AS wanted CROSS JOIN gate_cells AS held WHERE held.org = wanted.column1 AND held.site = wanted.column2 AND held.span = wanted.column3 AND held.start = wanted.column4",
};
const KEEP_CELLS: Rows = Rows {
    before: "INSERT INTO gate_cells (org, site, span, start, counts) VALUES ",
    row: "?, ?, ?, ?, ?",
    after: " ON CONFLICT (org, site, span, start) DO UPDATE SET counts = excluded.counts",
};
const TOTALS: Rows = Rows {
    before: "SELECT held.org, held.site, held.tag, held.counts FROM (VALUES ",
    row: "?, ?, ?",
    after: ") AS wanted CROSS JOIN gate_totals AS held WHERE held.org = wanted.column1 AND held.site = wanted.column2 AND held.tag = wanted.column3",
};
const KEEP_TOTALS: Rows = Rows {
    before: "INSERT INTO gate_totals (org, site, tag, counts) VALUES ",
    row: "?, ?, ?, ?",
    after: " ON CONFLICT (org, site, tag) DO UPDATE SET counts = excluded.counts",
};
const KEEP_SITES: Rows = Rows {
    before: "INSERT INTO gate_sites (org, site, pulses, last_pulse_at, tags) VALUES ",
    row: "?, ?, ?, ?, ?",
    after: " ON CONFLICT (org, site) DO UPDATE SET pulses = excluded.pulses, \
            last_pulse_at = excluded.last_pulse_at, tags = excluded.tags",
};

const KEEP_BATCH: Rows =
    Rows { before: "INSERT INTO gate_batches (id, verdicts) VALUES ", row: "?, ?", after: "" };

/// What sites have to add.
type Sites = BTreeMap<SiteId, Added>;

/// Counts a batch.
#[derive(Debug)]
pub(super) struct Count {
    /// By which the batch is recognised if the answer is lost.
    pub(super) id: String,
    pub(super) batch: Arc<Batch>,
    /// The sites that there is no room for.
    pub(super) refused: BTreeSet<SiteId>,
    /// In microseconds.
    pub(super) now: i64,
}

/// What comes of it.
#[derive(Debug)]
pub(super) enum Counted {
    /// What became of each pulse.
    All(Vec<Verdict>),
    /// Nothing was counted: these sites have to be added first.
    Missing(BTreeSet<SiteId>),
}

#[async_trait]
impl Work for Count {
    type Output = Counted;

    async fn run(&self, on: &mut dyn Connection, again: bool) -> Result<Counted> {
        if again && let Some(verdicts) = self.ours(on).await? {
            return Ok(Counted::All(verdicts));
        }
        let wanted = self.batch.sites(&self.refused);
        let mut standings = sites::hold(on, &wanted).await?;
        let missing: BTreeSet<_> = wanted.into_iter().filter(|site| !standings.contains_key(site)).collect();
        if !missing.is_empty() {
            return Ok(Counted::Missing(missing));
        }
        let memories = self.memories(on).await?;
        let Judged { verdicts, memories, sites } = self.batch.judge(&self.refused, memories);
        if sites.is_empty() {
            // Nothing is written, and whoever asks again is told the same.
            return Ok(Counted::All(verdicts));
        }
        let mut before = CELLS.about(&self.cell_keys(&sites));
        let cells = before.len();
        before.append(&mut TOTALS.about(&total_keys(&sites)));
        let mut found = on.query_all(&before).await?;
        let totals = found.split_off(cells);
        let mut writes = REMEMBER.about(&self.memory_rows(&memories));
        writes.append(&mut KEEP_CELLS.about(&self.cell_rows(&sites, found)?));
        writes.append(&mut KEEP_TOTALS.about(&total_rows(&sites, totals, &mut standings)?));
        writes.append(&mut KEEP_SITES.about(&self.site_rows(&sites, &standings)));
        let kept = Value::Text(verdicts.iter().map(|verdict| letter(*verdict)).collect());
        writes.append(&mut KEEP_BATCH.about(&[[(&self.id).into(), kept]]));
        on.put_all(&writes).await?;
        Ok(Counted::All(verdicts))
    }
}

impl Count {
    /// Returns what an earlier attempt of this very call came to.
    async fn ours(&self, on: &mut dyn Connection) -> Result<Option<Vec<Verdict>>> {
        let found = on.first("SELECT verdicts FROM gate_batches WHERE id = $1", &[(&self.id).into()]).await?;
        let Some(mut row) = found else { return Ok(None) };
        row.text()?.chars().map(verdict).collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "read what became of a batch").hint("restore a backup")
        })
    }

    async fn memories(&self, on: &mut dyn Connection) -> Result<Memories> {
        let keys: Vec<_> = self.batch.instances(&self.refused).iter().map(instance_key).collect();
        let mut memories = Memories::new();
        for mut row in on.query_all(&MEMORIES.about(&keys)).await?.into_iter().flatten() {
            let instance = (sites::site(&mut row)?, row.text()?);
            memories.insert(instance, Memory::decode(&row.blob()?)?);
        }
        Ok(memories)
    }

    fn memory_rows(&self, memories: &Memories) -> Vec<[Value; 5]> {
        let row = |(instance, memory): (_, &Memory)| {
            let [org, site, instance] = instance_key(instance);
            [org, site, instance, Value::Blob(memory.encode()), self.now.into()]
        };
        memories.iter().map(row).collect()
    }

    /// Returns the cells that sites add to: that of the second, and that of the minute.
    fn cells<'s>(&self, sites: &'s Sites) -> impl Iterator<Item = (&'s SiteId, &'s Cell, i64, i64)> {
        let now = self.now;
        let counting = sites.iter().filter(|(_, added)| !added.cell.is_empty());
        counting.flat_map(move |(site, added)| {
            [SECOND, MINUTE].map(|span| (site, &added.cell, span, start(now, span)))
        })
    }

    fn cell_keys(&self, sites: &Sites) -> Vec<[Value; 4]> {
        let key = |(site, _, span, start): (_, _, i64, i64)| {
            let [org, name] = sites::key(site);
            [org, name, span.into(), start.into()]
        };
        self.cells(sites).map(key).collect()
    }

    fn cell_rows(&self, sites: &Sites, found: Vec<Vec<Row>>) -> Result<Vec<[Value; 5]>> {
        let mut before = BTreeMap::new();
        for mut row in found.into_iter().flatten() {
            let place = (sites::site(&mut row)?, row.int()?);
            before.insert(place, Cell::decode(&row.blob()?)?);
        }
        let row = |(site, added, span, start): (&SiteId, &Cell, i64, i64)| {
            let mut cell = before.remove(&(site.clone(), span)).unwrap_or_default();
            cell.add(added.window());
            let [org, name] = sites::key(site);
            [org, name, span.into(), start.into(), Value::Blob(cell.encode())]
        };
        Ok(self.cells(sites).map(row).collect())
    }

    fn site_rows(&self, sites: &Sites, standings: &BTreeMap<SiteId, Standing>) -> Vec<[Value; 5]> {
        let row = |(site, added): (&SiteId, &Added)| {
            let before = standings.get(site).copied().unwrap_or_default();
            let [org, name] = sites::key(site);
            let last = before.last_pulse_at.map_or(self.now, |last| last.max(self.now));
            [org, name, before.pulses.saturating_add(added.pulses).into(), last.into(), before.tags.into()]
        };
        sites.iter().map(row).collect()
    }
}

fn total_keys(sites: &Sites) -> Vec<[Value; 3]> {
    let mut keys = Vec::new();
    for (site, added) in sites.iter().filter(|(_, added)| !added.cell.is_empty()) {
        let rest = Some(OTHER).filter(|rest| !added.cell.window().contains_key(*rest));
        for tag in added.cell.window().keys().map(String::as_str).chain(rest) {
            let [org, name] = sites::key(site);
            keys.push([org, name, tag.into()]);
        }
    }
    keys
}

/// Returns the totals with what was added, and takes note of how many tags they tell apart then.
fn total_rows(
    sites: &Sites,
    found: Vec<Vec<Row>>,
    standings: &mut BTreeMap<SiteId, Standing>,
) -> Result<Vec<[Value; 4]>> {
    let mut before = BTreeMap::<(SiteId, String), Aggregate>::new();
    for mut row in found.into_iter().flatten() {
        let place = (sites::site(&mut row)?, row.text()?);
        before.insert(place, counts::decode(&row.blob()?)?);
    }
    let mut totals = BTreeMap::<(SiteId, String), Aggregate>::new();
    for (site, added) in sites {
        let standing = standings.entry(site.clone()).or_default();
        for (tag, counted) in added.cell.window() {
            let mut place = (site.clone(), tag.clone());
            if !before.contains_key(&place) {
                if standing.tags < MOST_TAGS || tag.is_empty() || tag == OTHER {
                    standing.tags += 1;
                } else {
                    place.1 = OTHER.to_owned();
                }
            }
            let total = totals
                .entry(place)
                .or_insert_with_key(|place| before.get(place).cloned().unwrap_or_default());
            counts::add(total, counted);
        }
    }
    let row = |((site, tag), total): (&(SiteId, String), &Aggregate)| {
        let [org, name] = sites::key(site);
        [org, name, tag.into(), Value::Blob(counts::encode(total))]
    };
    Ok(totals.iter().map(row).collect())
}

fn instance_key((site, instance): &(SiteId, String)) -> [Value; 3] {
    let [org, site] = sites::key(site);
    [org, site, instance.into()]
}

const fn letter(verdict: Verdict) -> char {
    match verdict {
        Verdict::Counted => 'c',
        Verdict::CountedBefore => 'b',
        Verdict::Replayed => 'r',
        Verdict::TooManySites => 's',
    }
}

fn verdict(found: char) -> Option<Verdict> {
    [Verdict::Counted, Verdict::CountedBefore, Verdict::Replayed, Verdict::TooManySites]
        .into_iter()
        .find(|verdict| letter(*verdict) == found)
}
