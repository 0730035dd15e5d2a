//! A client that follows a stage, by a clock that the test moves.

use std::{thread, time::Duration};

use leverframe::{
    EvalContext, ExdClient, ExdClientBuilder,
    backends::clock_system::SystemClock,
    document::Tree,
    sse::{StreamState, StreamStatus},
    testing::ManualClock,
    traits::Clock,
};

use super::{
    shop::files,
    stage::{Stage, TOKEN},
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// For so long a feed holds still that was told for nothing.
const LULL: Duration = Duration::from_millis(20);

pub(crate) struct Following {
    pub(crate) stage: Stage,
    pub(crate) clock: ManualClock,
    pub(crate) client: ExdClient,
}

impl Following {
    /// Follows the first version of `shop`, which is served and settled.
    pub(crate) async fn start() -> Self {
        Self::start_as(Stage::with_shop(1), |builder| builder).await
    }

    pub(crate) async fn start_as(
        stage: Stage,
        change: impl FnOnce(ExdClientBuilder) -> ExdClientBuilder,
    ) -> Self {
        let clock = ManualClock::new();
        let client = change(builder(&stage, &clock)).build().await.unwrap();
        let following = Self { stage, clock, client };
        following.until("the stream to be steady", |following| following.is_steady());
        following
    }

    pub(crate) fn stream(&self) -> StreamStatus {
        self.client.status().stream.unwrap()
    }

    pub(crate) fn is_steady(&self) -> bool {
        self.stream().state == StreamState::Steady
    }

    /// The value of the flag that tells which state is served.
    pub(crate) fn limit(&self) -> i64 {
        self.client.int_flag_sync("limit", &EvalContext::new(), -1)
    }

    pub(crate) fn error(&self) -> String {
        self.client.last_refresh_error().unwrap_or_default()
    }

    /// Publishes state `number` and waits until it is served.
    #[track_caller]
    pub(crate) fn publishes(&self, number: i64) {
        self.stage.publish("shop", files(number));
        self.until(&format!("state {number}"), |following| following.limit() == number);
    }

    /// Waits for something, without moving the clock but for the lulls of a feed.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let system = SystemClock::new();
        let end = system.now() + PATIENCE;
        while !reached(self) {
            assert!(
                system.now() < end,
                "no {what}: {:#?}, sleeps {:?} from {:?}, asked {:#?}",
                self.client.status(),
                self.clock.deadlines(),
                self.clock.now(),
                self.stage.asked("")
            );
            if self.clock.deadlines().contains(&(self.clock.now() + LULL)) {
                self.clock.advance(LULL);
            }
            thread::yield_now();
        }
    }

    /// Tells whether somebody sleeps for `pause`; what of it the feed held still for may be over.
    pub(crate) fn is_asleep_for(&self, pause: Duration) -> bool {
        let end = self.clock.now() + pause;
        self.clock.deadlines().into_iter().any(|deadline| deadline <= end && end - deadline <= LULL)
    }

    /// Waits until somebody sleeps for `pause`, and lets that time pass.
    #[track_caller]
    pub(crate) fn sleeps_for(&self, pause: Duration) {
        self.until(&format!("sleep of {pause:?}"), |following| following.is_asleep_for(pause));
        self.clock.advance(pause);
    }

    /// Waits until somebody sleeps for about `interval`, up to a tenth less, and lets that time pass.
    #[track_caller]
    pub(crate) fn sleeps_for_about(&self, interval: Duration) {
        self.until(&format!("sleep of about {interval:?}"), |following| {
            let now = following.clock.now();
            let mut left = following.clock.deadlines().into_iter().map(|deadline| deadline - now);
            left.any(|left| left <= interval && left >= interval.mul_f64(0.89))
        });
        self.clock.advance(interval);
    }

    /// Sends a heartbeat, so that time may pass without the stream counting as dead.
    #[track_caller]
    pub(crate) fn beats(&self) {
        self.stage.send_raw(b": still here\n\n");
        let silence = Duration::from_secs(45);
        self.until("heartbeat", |f| f.clock.deadlines().contains(&(f.clock.now() + silence)));
    }

    /// Lets so much time pass that any pause before the next connection is over.
    #[track_caller]
    pub(crate) fn reconnects(&self) {
        let before = self.stream();
        self.until("loss of the stream", |following| following.stream().connected_since.is_none());
        self.clock.advance(Duration::from_secs(2));
        self.until("new connection", |following| following.stream().connections > before.connections);
        self.until("first event", |following| following.stream().events > before.events);
        self.until("the stream to be steady", |following| following.is_steady());
    }
}

pub(crate) fn builder(stage: &Stage, clock: &ManualClock) -> ExdClientBuilder {
    ExdClient::builder()
        .server(stage.url())
        .tenant("acme")
        .namespace("shop")
        .environment("production")
        .api_token(TOKEN)
        .event_stream(true)
        .clock(std::sync::Arc::new(clock.clone()))
}

/// State `number` with another flag beside it.
pub(crate) fn with_flag(number: i64, key: &str, value: i64) -> Tree {
    let mut tree = files(number);
    let flag = format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\ndescription = \"One more\"\nowner = \"web\"\n\
         [flag.variants]\nused = {value}\n[flag.environments._]\nvariant = \"used\"\n"
    );
    tree.insert(format!("flags/{key}.toml"), leverframe::document::Entry::File(flag.into()));
    tree
}
