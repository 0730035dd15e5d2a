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
        let mut event = AuditEvent::new(app.clock().wall(), action, bounded(target));
        event.request_id = info.id().to_owned();
        event.principal = principal.token().id.clone();
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
        if let Err(error) = self.store().record(&event).await {
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
        outcome
    }
}

fn bounded(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}
