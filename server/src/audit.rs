//! The audit log: every authorised write, and each one that was refused.

use crate::{app::App, model::AuditEvent, principal::Principal, problem::Problem, request::RequestInfo};

/// A write that somebody asks for.
#[derive(Clone, Debug)]
pub struct Write {
    event: AuditEvent,
}

/// Characters of a target that are kept: whoever is refused chooses them.
const LONGEST: usize = 200;

impl Write {
    /// Names what is asked for: the action as `thing.verb`, the tenant whose log it belongs to (`None` where there is
    /// none), and the target as `acme/payments` or `tok_…`.
    #[must_use]
    pub fn new(
        app: &App,
        principal: &Principal,
        info: &RequestInfo,
        action: &'static str,
        tenant: Option<&str>,
        target: &str,
    ) -> Self {
        Self::by(app, &principal.token().id, info, action, tenant, target)
    }

    /// Names what somebody asks for who has no token: `by` is the id of whatever they prove who they are with.
    pub(crate) fn by(
        app: &App,
        by: &str,
        info: &RequestInfo,
        action: &'static str,
        tenant: Option<&str>,
        target: &str,
    ) -> Self {
        let mut event = AuditEvent::new(app.clock().wall(), action, bounded(target));
        event.request_id = info.id().to_owned();
        by.clone_into(&mut event.principal);
        // A refused tenant's name need not be one.
        event.tenant = tenant.filter(|slug| leverframe::manifest::is_slug(slug)).map(str::to_owned);
        Self { event }
    }
}

impl App {
    /// Records how a write ended, and passes that on. What is worth knowing of what came of it is told by `detail`.
    ///
    /// A failure to record is logged and does not change the answer: what was written is written.
    ///
    /// # Errors
    /// Those of `outcome`.
    pub async fn audited<T: Send>(
        &self,
        write: Write,
        outcome: Result<T, Problem>,
        detail: impl FnOnce(&T) -> String + Send,
    ) -> Result<T, Problem> {
        let Write { mut event } = write;
        match &outcome {
            Ok(done) => event.detail = bounded(&detail(done)),
            Err(problem) => event.outcome = problem.code().to_owned(),
        }
        self.record(&event).await;
        outcome
    }

    /// Records that something is about to be handed out.
    ///
    /// # Errors
    /// `unavailable` if it could not be recorded: then it must not be.
    pub(crate) async fn audited_first(&self, write: Write, detail: &str) -> Result<(), Problem> {
        let Write { mut event } = write;
        event.detail = bounded(detail);
        if self.record(&event).await { Ok(()) } else { Err(Problem::unavailable()) }
    }

    /// Returns false, and logs the event, if the store did not take it.
    async fn record(&self, event: &AuditEvent) -> bool {
        let recorded = self.store().record(event).await;
        if let Err(error) = &recorded {
            tracing::error!(
                error = %error.chain(),
                request_id = event.request_id,
                principal = event.principal,
                action = event.action,
                target = event.target,
                outcome = event.outcome,
                "an audit event could not be stored"
            );
        }
        recorded.is_ok()
    }
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}
