//! What an engine has to do to be measured, and the check that all engines do the same.

use std::{hint::black_box, ops::Range};

use crate::workload::{USERS, Workload};

/// Something that evaluates the workload's boolean flags for its users.
pub trait Engine: Sized + Sync {
    /// The engine's name and version.
    const NAME: &'static str;

    /// Loads the 100 flags and prepares what can be prepared for each user.
    fn new(workload: &Workload) -> Self;

    /// Evaluates a flag for the user of that index.
    fn is_on(&self, flag: &str, user: usize) -> bool;
}

/// Makes an engine and checks that it answers as the workload demands.
///
/// Which half of the users gets a flag is each engine's own affair (they hash differently); everything else is not.
///
/// # Panics
/// When an answer is wrong: a figure for other work than the row says would be worse than none.
#[must_use]
pub fn verified<E: Engine>(workload: &Workload) -> E {
    let engine = E::new(workload);
    for flag in &workload.static_flags {
        for user in 0..USERS {
            assert!(engine.is_on(flag, user), "{}: `{flag}` is on for everyone", E::NAME);
        }
    }
    let targeted = workload.users.iter().filter(|u| u.is_targeted()).count();
    let mut on_in_all = 0;
    for flag in &workload.targeted_flags {
        let mut on = 0;
        for (at, user) in workload.users.iter().enumerate() {
            let answer = engine.is_on(flag, at);
            assert_eq!(answer, engine.is_on(flag, at), "{}: `{flag}` is sticky", E::NAME);
            assert!(user.is_targeted() || !answer, "{}: `{flag}` is off for {user:?}", E::NAME);
            on += usize::from(answer);
        }
        // Five standard deviations of a fair coin tossed for 576 users are a tenth.
        let share = on as f64 / targeted as f64;
        assert!((0.4..0.6).contains(&share), "{}: `{flag}` is on for {share:.2} of its audience", E::NAME);
        on_in_all += on;
    }
    let share = on_in_all as f64 / (targeted * workload.targeted_flags.len()) as f64;
    assert!((0.48..0.52).contains(&share), "{}: targeted flags are on for {share:.3}", E::NAME);
    engine
}

/// Evaluates something for one user after the other; `users` must be a power of two in number.
///
/// Never inlined, so that each row's loop is compiled by itself and shows up by name in a profile.
#[inline(never)]
pub fn users_in_turn<T>(users: Range<usize>, iterations: u64, evaluate: impl Fn(usize) -> T) {
    let mask = users.len() - 1;
    for at in 0..iterations as usize {
        black_box(evaluate(users.start + (at & mask)));
    }
}

/// Evaluates one flag for all users in turn.
pub fn one_flag<E: Engine>(engine: &E, flag: &str, iterations: u64) {
    users_in_turn(0..USERS, iterations, |user| engine.is_on(black_box(flag), user));
}

/// Evaluates one flag after the other for all users in turn.
#[inline(never)]
pub fn flags_in_turn<E: Engine>(engine: &E, flags: &[String], iterations: u64) {
    // 50 flags and 1,024 users: it takes 25,600 evaluations until a flag meets a user again.
    for (at, flag) in flags.iter().cycle().take(iterations as usize).enumerate() {
        black_box(engine.is_on(black_box(flag), at % USERS));
    }
}
