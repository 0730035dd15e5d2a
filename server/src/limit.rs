//! How often somebody may do something.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use leverframe::traits::Tick;

/// A number of requests that is refilled at a steady pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rate {
    /// How many a second in the long run; 0 for any number.
    pub per_second: u32,
    /// How many at once after a pause.
    pub burst: u32,
}

impl Rate {
    /// Makes a rate.
    #[must_use]
    pub const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }

    /// Any number of requests.
    pub const UNLIMITED: Self = Self::new(0, 0);
}

/// What is left of a [`Rate`] for one holder.
///
/// Kept as the one time at which the bucket would be full again, so that taking is a single exchange without a lock.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    full_at: AtomicU64,
}

impl Bucket {
    /// Takes one; otherwise returns how long to wait for it.
    pub(crate) fn take(&self, rate: Rate, now: Tick) -> Result<(), Duration> {
        if rate.per_second == 0 {
            return Ok(());
        }
        let each = 1_000_000_000 / u64::from(rate.per_second);
        let most = each * u64::from(rate.burst.max(1));
        let now = nanos(now);
        let mut wait = 0;
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now) + each;
            wait = (next - now).saturating_sub(most);
            (wait == 0).then_some(next)
        });
        taken.map(drop).map_err(|_| Duration::from_nanos(wait))
    }

    fn is_full(&self, now: Tick) -> bool {
        self.full_at.load(Ordering::Relaxed) <= nanos(now)
    }
}

fn nanos(now: Tick) -> u64 {
    u64::try_from(now.since_origin().as_nanos()).unwrap_or(u64::MAX / 2)
}

/// One bucket for each address that something was refused to.
#[derive(Debug, Default)]
pub(crate) struct PeerBuckets {
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

/// As many addresses as are remembered: a megabyte's worth.
const MOST_PEERS: usize = 10_000;

impl PeerBuckets {
    /// Takes one for an address.
    pub(crate) fn take(&self, peer: IpAddr, rate: Rate, now: Tick) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_PEERS {
            buckets.retain(|_, bucket| !bucket.is_full(now));
            // Still as many: an attack from everywhere, which counting by address does not stop anyway.
            if buckets.len() >= MOST_PEERS {
                buckets.clear();
            }
        }
        buckets.entry(network_of(peer)).or_default().take(rate, now)
    }
}

/// Lets through the first few of a minute, of each of many: what anybody can cause as often as they like must not fill
/// what is kept for good.
#[derive(Debug, Default)]
pub(crate) struct FirstFew {
    minutes: Mutex<HashMap<String, Minute>>,
}

#[derive(Debug)]
struct Minute {
    until: Tick,
    count: u32,
}

/// How many are let through.
const FEW: u32 = 10;
/// Of as many they are counted; of more, none is let through in that minute.
const MOST_COUNTED: usize = 10_000;

impl FirstFew {
    /// Returns true for the first few of each minute.
    pub(crate) fn takes(&self, of: &str, now: Tick) -> bool {
        // Under the lock nothing panics half-way.
        let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(minute) = minutes.get_mut(of).filter(|minute| now < minute.until) {
            minute.count = minute.count.saturating_add(1);
            return minute.count <= FEW;
        }
        if minutes.len() >= MOST_COUNTED {
            minutes.retain(|_, minute| now < minute.until);
        }
        if minutes.len() >= MOST_COUNTED {
            return false;
        }
        minutes.insert(of.to_owned(), Minute { until: now + Duration::from_secs(60), count: 1 });
        true
    }
}

/// One customer's addresses: in IPv6 that is a network of 64 bits, of which one machine can use any.
fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            IpAddr::V6(segments.into())
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn a_bucket_gives_its_burst_at_once_and_then_keeps_the_pace() {
        let (bucket, rate) = (Bucket::default(), Rate::new(10, 3));

        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(0)), Ok(()));
        }
        assert_eq!(bucket.take(rate, at(0)), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(rate, at(60)), Err(Duration::from_millis(40)));
        assert_eq!(bucket.take(rate, at(100)), Ok(()));
        assert!(bucket.take(rate, at(100)).is_err());
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, at(10_000)), Ok(()), "no more than the burst is saved up");
        }
        assert!(bucket.take(rate, at(10_000)).is_err());
    }

    #[test]
    fn no_rate_is_no_limit() {
        let bucket = Bucket::default();

        assert!((0..10_000).all(|_| bucket.take(Rate::UNLIMITED, at(0)).is_ok()));
    }

    #[test]
    fn addresses_do_not_share_a_bucket_but_those_of_one_ipv6_network_do() {
        let (buckets, rate) = (PeerBuckets::default(), Rate::new(1, 1));
        let take = |peer: &str| buckets.take(peer.parse().unwrap(), rate, at(0)).is_ok();

        assert!(take("192.0.2.1") && take("192.0.2.2") && !take("192.0.2.1"));
        assert!(take("2001:db8::1") && !take("2001:db8::2") && take("2001:db8:0:1::1"));
        assert!(!take("::ffff:192.0.2.2"), "the same address in other clothes");
    }

    #[test]
    fn only_so_many_addresses_are_remembered() {
        let (buckets, rate) = (PeerBuckets::default(), Rate::new(1, 1));

        for host in 0..30_000_u32 {
            let _ = buckets.take(IpAddr::from(host.to_be_bytes()), rate, at(0));
        }

        assert!(buckets.buckets.lock().unwrap().len() <= MOST_PEERS);
    }

    #[test]
    fn the_first_few_of_a_minute_are_let_through_of_each() {
        let few = FirstFew::default();
        let takes = |of: &str, millis| (0..20).filter(|_| few.takes(of, at(millis))).count();

        assert_eq!([takes("a", 0), takes("b", 0), takes("a", 59_999)], [10, 10, 0]);
        assert_eq!(takes("a", 60_000), 10);
        for number in 0..MOST_COUNTED {
            few.takes(&number.to_string(), at(60_000));
        }
        assert!(!few.takes("one too many", at(60_000)) && few.minutes.lock().unwrap().len() == MOST_COUNTED);
        assert!(few.takes("one too many", at(120_000)));
    }
}
