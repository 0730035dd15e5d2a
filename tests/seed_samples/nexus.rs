//! The first client of the settings service: what its highlights name, as its users write it.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::PathBuf,
    thread,
    time::Duration,
};

use leverframe::{NexusClient, NexusConfig, NexusError, WifConfig};

/// Answers as a service does that holds one of each kind, and returns where.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the process.
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut reader = BufReader::new(connection.try_clone().unwrap());
            let mut first = String::new();
            reader.read_line(&mut first).unwrap();
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap_or(0) > 2 {
                let lower = line.to_ascii_lowercase();
                length = lower.strip_prefix("content-length: ").map_or(length, |n| n.trim().parse().unwrap());
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let (status, body) = match first.as_str() {
                line if line.starts_with("GET /v1/sync") => ("200 OK", SYNC),
                line if line.starts_with("POST /v1/flags") => {
                    ("200 OK", r#"{"results":{"new-checkout":true}}"#)
                }
                line if line.starts_with("POST /v1/secrets") => ("201 Created", "{}"),
                _ => ("200 OK", "{}"),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            // A client that ends meanwhile is no failure of the service.
            let _ = connection.write_all(format!("{head}{body}").as_bytes());
        }
    });
    format!("http://{address}")
}

const SYNC: &str = r#"{
    "synced_at": "2026-06-01T10:00:00Z", "key_type": "sk", "service_kind": "backend",
    "configs": {"timeout_ms": {"value": 250, "source": "service"}},
    "secrets": {
        "DB_PASSWORD": {"value": "hunter2", "version": 1, "type": "text", "source": "service"},
        "TLS_CERT": {"value": "-----BEGIN", "version": 1, "type": "file", "source": "service"}
    },
    "flags": {"new-checkout": {"is_active": true, "source": "service"}}
}"#;

#[test]
fn is_called_as_its_first_client_is() -> Result<(), NexusError> {
    let client = NexusClient::create(NexusConfig {
        api_key: "sk_live_your_key_here".to_string(),
        endpoint: service(),
        ttl: Some(Duration::from_secs(60)),
        wif: None,
    })?;
    client.run_stream();

    let timeout: Option<serde_json::Value> = client.get_config("timeout_ms");
    let all: HashMap<String, serde_json::Value> = client.get_all_configs();
    let password = client.get_secret("DB_PASSWORD")?;
    let certificate: PathBuf = client.get_secret_file_path("TLS_CERT")?;
    let is_on: bool = client.get_flag("new-checkout", false);
    let flags: HashMap<String, bool> = client.get_all_flags();
    client.set_secret("DB_PASSWORD", "correct horse")?;
    client.delete_secret_version("DB_PASSWORD", 1)?;
    client.delete_secret("DB_PASSWORD")?;
    let mut attributes = HashMap::new();
    attributes.insert("plan".to_string(), serde_json::json!("pro"));
    let results: HashMap<String, bool> = client.evaluate_ab(&["new-checkout"], "user-123", &attributes)?;
    client.sync()?;

    assert_eq!((timeout, all.len()), (Some(250.into()), 1));
    assert_eq!(password.expose_secret(), "hunter2");
    assert_eq!(std::fs::read_to_string(certificate)?, "-----BEGIN");
    assert!(is_on && flags["new-checkout"] && results["new-checkout"]);
    let kind: String = client.kind();
    let key_type: &str = client.key_type();
    assert_eq!((kind.as_str(), key_type, client.billing_overdue()), ("backend", "sk", false));
    let clone = client.clone();
    thread::spawn(move || assert!(clone.get_flag("new-checkout", false))).join().unwrap();
    Ok(())
}

#[test]
fn errors_are_told_apart_as_its_first_client_tells_them() {
    let told = |error: NexusError| match error {
        NexusError::Unauthorized => "unauthorized".to_string(),
        NexusError::NotFound => "not found".to_string(),
        NexusError::PublicKeyRestricted => "public key".to_string(),
        NexusError::ServiceKindMismatch => "kind".to_string(),
        NexusError::SecretNotFound(key) => key,
        NexusError::SyncFailed(reason) => reason,
        NexusError::Billing => "billing".to_string(),
        NexusError::RateLimited => "slow down".to_string(),
        NexusError::Quarantined { reason, expires_at } => format!("{reason} until {expires_at}"),
        NexusError::WifNotConfigured => "no identity".to_string(),
        NexusError::WifTokenExchangeFailed(reason) => reason,
        NexusError::SessionExpired => "session".to_string(),
        NexusError::AbAddonNotAvailable => "no evaluation".to_string(),
        NexusError::Json(error) => error.to_string(),
        NexusError::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    let client = NexusClient::create(NexusConfig {
        api_key: "pk_live_your_key_here".to_string(),
        endpoint: service(),
        ttl: None,
        wif: None,
    });

    assert_eq!(told(client.unwrap().get_secret("none").unwrap_err()), "none");
}

#[test]
fn a_workload_is_configured_as_for_its_first_client() {
    let config = NexusConfig {
        api_key: String::new(),
        endpoint: "https://swift-ocean-a5rx7.example.com".to_string(),
        ttl: None,
        wif: Some(WifConfig {
            enabled: true,
            provider: "kubernetes".to_string(),
            token_source: Some(Box::new(|| Ok("eyJ".to_string()))),
        }),
    };

    assert!(!format!("{config:?}").contains("eyJ"));
}
