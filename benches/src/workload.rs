//! What every engine evaluates: 100 flags and 1,024 users, the same for all.

/// How many users take turns; a power of two, so that taking turns costs a mask.
pub const USERS: usize = 1024;

/// How many flags of each kind there are; 100 in all.
pub const FLAGS_OF_A_KIND: usize = 50;

/// The countries that the targeted flags are for.
pub const TARGETED_COUNTRIES: [&str; 3] = ["US", "DE", "FR"];

/// The plan that the targeted flags are for.
pub const TARGETED_PLAN: &str = "premium";

/// The environment that flags are evaluated in.
pub const ENVIRONMENT: &str = "production";

/// Somebody for whom flags are evaluated.
#[derive(Clone, Debug)]
pub struct User {
    /// The id that rollouts hash.
    pub id: String,
    /// One of four countries, three of them targeted.
    pub country: &'static str,
    /// `premium` for three users in four.
    pub plan: &'static str,
}

impl User {
    /// Returns true for the nine users in sixteen that reach the 50/50 split.
    #[must_use]
    pub fn is_targeted(&self) -> bool {
        TARGETED_COUNTRIES.contains(&self.country) && self.plan == TARGETED_PLAN
    }
}

/// The flags' keys and the users.
#[derive(Debug)]
pub struct Workload {
    /// Boolean flags that are on for everyone, without any rule.
    pub static_flags: Vec<String>,
    /// Boolean flags that are on for one half, by id, of the users in three countries on the premium plan.
    pub targeted_flags: Vec<String>,
    /// The users; [`USERS`] of them.
    pub users: Vec<User>,
}

impl Workload {
    /// Makes the workload; always the same.
    #[must_use]
    pub fn new() -> Self {
        // Countries and plans are drawn, not dealt in turn: a pattern that repeats would train the branch predictor.
        let mut state = 1;
        let users = (0..USERS)
            .map(|_| {
                let draw = splitmix64(&mut state);
                User {
                    id: format!("user-{:08x}", draw >> 32),
                    country: ["US", "DE", "FR", "JP"][draw as usize & 3],
                    plan: if draw >> 2 & 3 == 0 { "free" } else { TARGETED_PLAN },
                }
            })
            .collect();
        Self { static_flags: keys("kill-switch"), targeted_flags: keys("premium-rollout"), users }
    }

    /// Returns the static flag that rows with one key evaluate.
    #[must_use]
    pub fn static_flag(&self) -> &str {
        &self.static_flags[FLAGS_OF_A_KIND / 2]
    }

    /// Returns the targeted flag that rows with one key evaluate.
    #[must_use]
    pub fn targeted_flag(&self) -> &str {
        &self.targeted_flags[FLAGS_OF_A_KIND / 2]
    }
}

impl Default for Workload {
    fn default() -> Self {
        Self::new()
    }
}

fn keys(stem: &str) -> Vec<String> {
    (0..FLAGS_OF_A_KIND).map(|n| format!("{stem}-{n:02}")).collect()
}

/// The generator that seeds other generators (Steele, Lea, Flood 2014).
fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
