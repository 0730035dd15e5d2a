//! A server inside of a program: a namespace is pushed, changed and rolled back while a client follows it.
//!
//! ```sh
//! cargo run -p leverframe-server --example team
//! ```
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, fs, path::Path, sync::Arc};

use leverframe::{
    EvalContext, ExdClient, IfVersion, ManifestClient, backends::clock_system::SystemClock, traits::Clock,
};
use leverframe_server::{
    ServeOptions, Server,
    admin::Admin,
    model::{LoginMode, NamespaceRecord, Tenant, TokenType},
    store,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());

    // What `leverframe admin` does: a tenant, a namespace, and a token for each side.
    let store = store::open(&folder.path().join("data"), None, Arc::clone(&clock)).await?;
    let admin = Admin::new(Arc::clone(&store), Arc::clone(&clock));
    let mut acme = Tenant::new("acme", LoginMode::EmailDomain, clock.wall());
    acme.email_domain = Some("acme.example".to_owned());
    admin.create_tenant(&acme).await?;
    admin.create_namespace(&NamespaceRecord::new("acme", "shop", clock.wall())).await?;
    let mint = async |kind| {
        let mut token = admin.token(kind);
        (token.tenant, token.namespace) = (Some("acme".to_owned()), Some("shop".to_owned()));
        admin.mint(token).await.map(|issued| issued.secret)
    };
    let (writer, reader) = (mint(TokenType::NamespaceWrite).await?, mint(TokenType::NamespaceRead).await?);

    // What `leverframe serve` does.
    let mut options = ServeOptions::default();
    options.listen = "127.0.0.1:0".to_owned();
    options.store = Some(store);
    let server = Server::start(options).await?;

    // What `leverframe manifest push` does.
    let manager = ManifestClient::new(server.url(), writer.expose());
    let dir = folder.path().join("shop");
    write(&dir, 10)?;
    let first = manager.push("shop", &dir, Some(IfVersion(0))).await?;

    // What a service does.
    let client = ExdClient::builder()
        .server(server.url())
        .namespace("shop")
        .api_token(reader.expose())
        .environment("production")
        .event_stream(true)
        .build()
        .await?;
    let page_size = client.flag("page-size", 0_i64);
    println!("version {}: {}", first.version, page_size.get(&EvalContext::new()));

    write(&dir, 25)?;
    let second = manager.push("shop", &dir, Some(IfVersion(first.version))).await?;
    until(&client, || page_size.get(&EvalContext::new()) == 25).await;
    println!("version {}: {}", second.version, page_size.get(&EvalContext::new()));

    let third = manager.rollback("shop", first.version).await?;
    until(&client, || page_size.get(&EvalContext::new()) == 10).await;
    println!("version {}: {}", third.version, page_size.get(&EvalContext::new()));

    client.close().await?;
    server.stop(None).await;
    Ok(())
}

async fn until(client: &ExdClient, arrived: impl Fn() -> bool) {
    let mut seen = 0;
    while !arrived() {
        seen = client.wait_for_refresh(seen).await;
    }
}

fn write(dir: &Path, page_size: i64) -> std::io::Result<()> {
    fs::create_dir_all(dir.join("flags"))?;
    let flag = format!(
        "schema_version = \"0.1\"\n[flag]\ntype = \"integer\"\ndescription = \"Items on a page\"\nowner = \"shop\"\n\
         [flag.variants]\nusual = {page_size}\n[flag.environments._]\nvariant = \"usual\"\n"
    );
    fs::write(dir.join("flags/page-size.toml"), flag)
}
