//! What may be kept: the checks that the routes and the command line share.

use std::{ops::RangeInclusive, time::SystemTime};

use leverframe::{
    Error, ErrorKind,
    manifest::{is_environment, is_slug},
};

use crate::{
    gate::{
        NewGateKey, Rhythm, SHORTEST_LEASE_SECONDS, is_tag,
        model::{Settings, is_site},
    },
    model::{LoginMode, NamespaceRecord, Tenant, TokenRecord, TokenType},
    problem::Problem,
};

/// Input that does not have the form that it must have, with what that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad(pub(crate) String);

impl From<Bad> for Problem {
    fn from(bad: Bad) -> Self {
        Self::bad_request(bad.0)
    }
}

impl Bad {
    /// Says it on the command line.
    pub(crate) fn into_error(self, operation: &'static str) -> Error {
        Error::new(ErrorKind::Invalid, operation).hint(self.0)
    }
}

/// Characters of a name for people.
pub(crate) const LONGEST_NAME: usize = 200;
/// Characters of a description.
const LONGEST_DESCRIPTION: usize = 2_000;
/// Origins of a client token.
const MOST_ORIGINS: usize = 50;

/// Tags with a limit: those of an org and of its site together leave room for rules, since clients take a thousand.
const MOST_TAGS: usize = 400;
/// Seconds that a policy may hold.
const LEASE_SECONDS: RangeInclusive<u64> = SHORTEST_LEASE_SECONDS..=604_800;
/// Milliseconds between two reports, as far as clients follow them.
const PULSE_INTERVAL_MS: RangeInclusive<u64> = 1_000..=300_000;

/// Checks the slug of a tenant or a namespace.
pub(crate) fn slug(field: &str, value: &str) -> Result<(), Bad> {
    if is_slug(value) {
        return Ok(());
    }
    Err(Bad(format!(
        "`{field}` must begin with a lower-case letter, go on with lower-case letters, digits and `-`, and have at most 63 characters"
    )))
}

/// Checks the name of an environment.
pub(crate) fn environment(value: &str) -> Result<(), Bad> {
    if is_environment(value) {
        return Ok(());
    }
    Err(Bad(
        "`environment` must begin with a lower-case letter, go on with lower-case letters, digits, `-` and `_`, and have at most 63 characters".into(),
    ))
}

/// Checks a tenant.
pub(crate) fn tenant(tenant: &Tenant) -> Result<(), Bad> {
    slug("slug", &tenant.slug)?;
    required("display_name", &tenant.display_name, LONGEST_NAME)?;
    match (tenant.login_mode, &tenant.sso_provider, &tenant.email_domain) {
        (LoginMode::Sso, Some(provider), None) => required("sso_provider", provider, LONGEST_NAME),
        (LoginMode::EmailDomain, None, Some(domain)) => email_domain(domain),
        (LoginMode::Sso, ..) => {
            Err(Bad("a tenant that logs in by `sso` needs `sso_provider`, and no `email_domain`".into()))
        }
        (LoginMode::EmailDomain, ..) => {
            Err(Bad("a tenant that logs in by `email_domain` needs that field, and no `sso_provider`".into()))
        }
    }
}

/// Checks a namespace.
pub(crate) fn namespace(namespace: &NamespaceRecord) -> Result<(), Bad> {
    slug("slug", &namespace.slug)?;
    required("display_name", &namespace.display_name, LONGEST_NAME)?;
    text("description", &namespace.description, LONGEST_DESCRIPTION)
}

/// Checks the name of a site.
pub(crate) fn site(value: &str) -> Result<(), Bad> {
    if is_site(value) {
        return Ok(());
    }
    Err(Bad("`site` must have 1 to 64 letters, digits, `.`, `_` and `-`".into()))
}

/// Checks what a gate key is asked for with.
pub(crate) fn gate_key(new: &NewGateKey) -> Result<(), Bad> {
    slug("org", &new.org)?;
    new.site.iter().try_for_each(|name| site(name))?;
    text("name", &new.name, LONGEST_NAME)
}

/// Checks a token: which bindings each type needs, and that it does not begin its life expired.
pub(crate) fn token(token: &TokenRecord, now: SystemTime) -> Result<(), Bad> {
    text("name", &token.name, LONGEST_NAME)?;
    let kind = token.kind;
    let needs_namespace =
        matches!(kind, TokenType::NamespaceRead | TokenType::NamespaceWrite | TokenType::NamespaceClient);
    bound(kind, "tenant", token.tenant.is_some(), kind != TokenType::Superadmin)?;
    bound(kind, "namespace", token.namespace.is_some(), needs_namespace)?;
    bound(kind, "environment", token.environment.is_some(), kind == TokenType::NamespaceClient)?;
    token.tenant.iter().try_for_each(|tenant| slug("tenant", tenant))?;
    token.namespace.iter().try_for_each(|namespace| slug("namespace", namespace))?;
    token.environment.iter().try_for_each(|name| environment(name))?;
    if kind != TokenType::NamespaceClient && !token.allowed_origins.is_empty() {
        return Err(Bad("`allowed_origins` is for `namespace_client` tokens only".into()));
    }
    if token.allowed_origins.len() > MOST_ORIGINS {
        return Err(Bad(format!("`allowed_origins` may have at most {MOST_ORIGINS} entries")));
    }
    if let Some(bad) = token.allowed_origins.iter().find(|origin| !is_origin(origin)) {
        let shown: String = bad.chars().take(100).collect();
        return Err(Bad(format!(
            "`{shown}` is no origin: `allowed_origins` takes what browsers send, such as `https://shop.example.com` or `http://localhost:3000`"
        )));
    }
    if token.expires_at.is_some_and(|at| at <= now) {
        return Err(Bad("`expires_at` must lie ahead".into()));
    }
    Ok(())
}

/// Checks what is set for a fleet.
pub(crate) fn gate_settings(settings: &Settings) -> Result<(), Bad> {
    let weight = |field: &str, weight: f64| {
        if weight.is_finite() { Ok(()) } else { Err(Bad(format!("`{field}` must be a number"))) }
    };
    settings.global_max_weight.iter().try_for_each(|limit| weight("global_max_weight", *limit))?;
    if settings.tag_max_weights.len() > MOST_TAGS {
        return Err(Bad(format!("`tag_max_weights` may have at most {MOST_TAGS} entries")));
    }
    for (tag, limit) in &settings.tag_max_weights {
        weight("tag_max_weights", *limit)?;
        if tag.is_empty() || !is_tag(tag) {
            return Err(Bad(
                "a tag of `tag_max_weights` must have 1 to 128 bytes, and no control characters".into(),
            ));
        }
    }
    settings.status.iter().try_for_each(|status| required("status", status, LONGEST_NAME))
}

/// Checks how long a policy is to hold and how often is to be reported, where either is set: by itself, and in what it
/// comes to with what else is set for the org and its site.
pub(crate) fn gate_rhythm(org: &Settings, site: &Settings) -> Result<(), Bad> {
    let rhythm = Rhythm::of(org, site);
    let interval = rhythm.pulse_interval_ms;
    if !PULSE_INTERVAL_MS.contains(&interval) {
        let (least, most) = (PULSE_INTERVAL_MS.start(), PULSE_INTERVAL_MS.end());
        return Err(Bad(format!("`pulse_interval` must be from {least} to {most} milliseconds")));
    }
    let Some(lease) = rhythm.lease_seconds else { return Ok(()) };
    if !LEASE_SECONDS.contains(&lease) {
        let (least, most) = (LEASE_SECONDS.start(), LEASE_SECONDS.end());
        return Err(Bad(format!("`lease_duration_seconds` must be from {least} to {most}")));
    }
    let least = rhythm.shortest_lease();
    if lease < least {
        return Err(Bad(format!(
            "`lease_duration_seconds` of {lease} is too short for a `pulse_interval` of {interval} milliseconds: it must be at least {least}, or one late report ends it"
        )));
    }
    Ok(())
}

fn bound(kind: TokenType, field: &str, is_there: bool, is_needed: bool) -> Result<(), Bad> {
    match (is_there, is_needed) {
        (false, true) => Err(Bad(format!("a `{}` token needs `{field}`", kind.as_str()))),
        (true, false) => {
            Err(Bad(format!("a `{}` token is not bound by `{field}`: leave it out", kind.as_str())))
        }
        _ => Ok(()),
    }
}

/// Returns true for an origin as browsers send it: scheme and host in lower case, a port that is not the scheme's.
fn is_origin(origin: &str) -> bool {
    let (rest, usual) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
        (Some(rest), _) => (rest, "443"),
        (_, Some(rest)) => (rest, "80"),
        _ => return false,
    };
    let is_port = |port: &str| {
        port.parse::<u16>().is_ok_and(|number| number > 0 && number.to_string() == port) && port != usual
    };
    // An IPv6 address stands in brackets, colons and all.
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("ipv6", rest.strip_prefix(':').or(if rest.is_empty() { None } else { Some("") }))
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    origin.len() <= 255 && is_host(host) && port.is_none_or(is_port)
}

fn email_domain(value: &str) -> Result<(), Bad> {
    if value.contains('.') && is_host(value) {
        return Ok(());
    }
    Err(Bad("`email_domain` must be a domain in lower case, such as `example.com`".into()))
}

/// Returns true for what may stand between the dots of a host name.
pub(crate) fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_host(host: &str) -> bool {
    host.len() <= 253 && host.split('.').all(is_label)
}

/// Checks a text that must say something.
pub(crate) fn required(field: &str, value: &str, longest: usize) -> Result<(), Bad> {
    if value.trim().is_empty() {
        return Err(Bad(format!("`{field}` must not be empty")));
    }
    text(field, value, longest)
}

/// Checks a text for people.
pub(crate) fn text(field: &str, value: &str, longest: usize) -> Result<(), Bad> {
    if value.chars().count() > longest || value.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Bad(format!(
            "`{field}` must have at most {longest} characters, and no control characters"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn record(kind: TokenType, bindings: [Option<&str>; 3]) -> TokenRecord {
        let mut token = TokenRecord::new("tok_1", kind, NOW);
        [token.tenant, token.namespace, token.environment] = bindings.map(|b| b.map(str::to_owned));
        token
    }

    #[test]
    fn each_type_of_token_has_its_bindings_and_no_other() {
        let all = [None, Some("a")];
        for kind in TokenType::ALL {
            let needed = match kind {
                TokenType::NamespaceRead | TokenType::NamespaceWrite => [true, true, false],
                TokenType::NamespaceClient => [true, true, true],
                TokenType::TenantAdmin => [true, false, false],
                TokenType::Superadmin => [false, false, false],
            };
            for tenant in all {
                for namespace in all {
                    for environment in all {
                        let bindings = [tenant, namespace, environment];
                        let accepted = token(&record(kind, bindings), NOW).is_ok();
                        assert_eq!(
                            accepted,
                            bindings.map(|b| b.is_some()) == needed,
                            "{kind:?} {bindings:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn bindings_are_names() {
        let client =
            |bindings| token(&record(TokenType::NamespaceClient, bindings), NOW).map_err(|bad| bad.0);

        assert!(client([Some("acme"), Some("payments"), Some("prod_eu")]).is_ok());
        for (bindings, field) in [
            ([Some("Acme"), Some("payments"), Some("prod")], "`tenant`"),
            ([Some("acme"), Some("pay_ments"), Some("prod")], "`namespace`"),
            ([Some("acme"), Some("payments"), Some("../prod")], "`environment`"),
            ([Some("-"), Some("payments"), Some("prod")], "`tenant`"),
        ] {
            assert!(client(bindings).unwrap_err().contains(field), "{bindings:?}");
        }
    }

    #[test]
    fn only_client_tokens_have_origins() {
        let mut reads = record(TokenType::NamespaceRead, [Some("a"), Some("b"), None]);
        reads.allowed_origins = vec!["https://a.example".into()];

        assert!(token(&reads, NOW).unwrap_err().0.contains("namespace_client"));
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for good in [
            "https://shop.example.com",
            "http://localhost:3000",
            "https://127.0.0.1:8443",
            "http://[::1]:81",
            "https://[2001:db8::1]",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "shop.example.com",
            "https://",
            "https://Shop.example.com",
            "https://shop.example.com/",
            "https://shop.example.com/a",
            "https://ann@shop.example.com",
            "https://shop.example.com:443",
            "http://localhost:80",
            "http://localhost:",
            "http://localhost:0",
            "http://localhost:007",
            "http://localhost:70000",
            "ftp://a.example",
            "https://*.example.com",
            "https://[::1",
            "https://[::1]x",
            "https://[::1]:",
            "https://a..b",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }

    #[test]
    fn a_token_does_not_begin_expired() {
        let mut read = record(TokenType::NamespaceRead, [Some("a"), Some("b"), None]);
        read.expires_at = Some(NOW);
        assert!(token(&read, NOW).is_err());

        read.expires_at = Some(NOW + Duration::from_secs(1));
        assert_eq!(token(&read, NOW), Ok(()));
    }

    #[test]
    fn a_tenant_says_how_its_people_log_in_and_nothing_else() {
        let make = |mode, provider: Option<&str>, domain: Option<&str>| {
            let mut made = Tenant::new("acme", mode, NOW);
            made.sso_provider = provider.map(str::to_owned);
            made.email_domain = domain.map(str::to_owned);
            tenant(&made).is_ok()
        };

        assert!(make(LoginMode::Sso, Some("okta"), None));
        assert!(make(LoginMode::EmailDomain, None, Some("acme.example")));
        assert!(
            !make(LoginMode::Sso, None, None) && !make(LoginMode::Sso, Some("okta"), Some("acme.example"))
        );
        assert!(!make(LoginMode::Sso, Some(" "), None));
        assert!(!make(LoginMode::EmailDomain, None, None));
        for bad in ["acme", "@acme.example", "Acme.example", "acme.example.", "a b.example", "-a.example"] {
            assert!(!make(LoginMode::EmailDomain, None, Some(bad)), "{bad}");
        }
    }

    #[test]
    fn a_gate_key_is_for_an_org_and_perhaps_a_site() {
        let make = |org: &str, site: Option<&str>| {
            let mut made = NewGateKey::new(org);
            made.site = site.map(str::to_owned);
            gate_key(&made)
        };

        assert_eq!(make("acme", None), Ok(()));
        assert_eq!(make("acme", Some("EU-west_1.a")), Ok(()));
        for (org, site) in
            [("Acme", None), ("", None), ("acme", Some("")), ("acme", Some("a b")), ("acme", Some("a/b"))]
        {
            assert!(make(org, site).is_err(), "{org} {site:?}");
        }
        assert!(make("acme", Some(&"a".repeat(65))).is_err());
    }

    #[test]
    fn names_for_people_are_bounded_lines() {
        let make = |name: &str| {
            let mut made = NamespaceRecord::new("acme", "payments", NOW);
            made.display_name = name.to_owned();
            namespace(&made).is_ok()
        };

        assert!(make("Zahlungen & Größen") && make(&"ä".repeat(200)));
        assert!(!make("") && !make("  ") && !make("a\0b") && !make("a\u{1b}[31m") && !make(&"a".repeat(201)));
    }
}
