//! Pulses on their way into the store, sorted by where they are counted.

use std::collections::{BTreeMap, BTreeSet};

use leverframe::{Error, ErrorKind, Result, gate::reflex::Window};

use super::{
    counts::Cell,
    memory::{Memory, digest_of_instance},
};
use crate::gate::model::{Pulse, SiteId, Verdict};

/// Pulses that are counted together.
#[derive(Debug)]
pub(super) struct Batch {
    sites: BTreeMap<SiteId, Vec<Report>>,
    count: usize,
}

/// A pulse, and its place among those that came.
#[derive(Debug)]
struct Report {
    place: usize,
    instance: String,
    pulse_id: Option<String>,
    ts: u64,
    window: Window,
}

/// What instances of sites are remembered by.
pub(super) type Memories = BTreeMap<(SiteId, String), Memory>;

/// What comes of a batch.
#[derive(Debug)]
pub(super) struct Judged {
    /// What became of each pulse, in the order that they came in.
    pub(super) verdicts: Vec<Verdict>,
    /// The memories that changed.
    pub(super) memories: Memories,
    /// What each site has to add, by name, if anything counts.
    pub(super) sites: BTreeMap<SiteId, Added>,
}

/// What a site has to add.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub(super) pulses: u64,
    pub(super) cell: Cell,
}

impl Batch {
    /// Takes pulses; `Invalid` if one names a site that cannot be.
    pub(super) fn of(pulses: &[Pulse]) -> Result<Self> {
        let mut sites = BTreeMap::<SiteId, Vec<Report>>::new();
        for (place, pulse) in pulses.iter().enumerate() {
            check(&pulse.site)?;
            let report = Report {
                place,
                instance: digest_of_instance(&pulse.instance),
                pulse_id: pulse.pulse_id.clone(),
                ts: pulse.ts,
                window: pulse.window.clone(),
            };
            match sites.get_mut(&pulse.site) {
                Some(reports) => reports.push(report),
                None => drop(sites.insert(pulse.site.clone(), vec![report])),
            }
        }
        Ok(Self { sites, count: pulses.len() })
    }

    /// Returns the sites that are counted for, in the order in which they are held.
    pub(super) fn sites(&self, refused: &BTreeSet<SiteId>) -> Vec<SiteId> {
        self.sites.keys().filter(|site| !refused.contains(site)).cloned().collect()
    }

    /// Returns whose reports these are.
    pub(super) fn instances(&self, refused: &BTreeSet<SiteId>) -> BTreeSet<(SiteId, String)> {
        let reports = |(site, reports): (&SiteId, &Vec<Report>)| {
            reports.iter().map(|report| (site.clone(), report.instance.clone())).collect::<Vec<_>>()
        };
        self.sites.iter().filter(|(site, _)| !refused.contains(site)).flat_map(reports).collect()
    }

    /// Says what becomes of each pulse, given what is remembered.
    pub(super) fn judge(&self, refused: &BTreeSet<SiteId>, mut memories: Memories) -> Judged {
        let mut verdicts = vec![Verdict::TooManySites; self.count];
        let mut changed = BTreeSet::new();
        let mut sites = BTreeMap::<SiteId, Added>::new();
        for (site, reports) in self.sites.iter().filter(|(site, _)| !refused.contains(site)) {
            for report in reports {
                let instance = (site.clone(), report.instance.clone());
                let memory = memories.entry(instance.clone()).or_default();
                let verdict = memory.judge(report.ts, report.pulse_id.as_deref());
                verdicts[report.place] = verdict;
                if verdict == Verdict::Counted {
                    changed.insert(instance);
                    let added = sites.entry(site.clone()).or_default();
                    added.pulses += 1;
                    added.cell.add(&report.window);
                }
            }
        }
        memories.retain(|instance, _| changed.contains(instance));
        Judged { verdicts, memories, sites }
    }
}

/// Refuses names that cannot be kept: whoever takes pulses has looked at them before.
pub(super) fn check(site: &SiteId) -> Result<()> {
    let is_name = |name: &str| (1..=64).contains(&name.len()) && !name.contains('\0');
    if is_name(&site.org) && is_name(&site.site) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Invalid, "count for a site")
        .with("reason", "names of orgs and sites have 1 to 64 bytes and no NUL character"))
}
