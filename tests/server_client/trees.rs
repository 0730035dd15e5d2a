//! The working tree: starts from it, and what makes it of no use.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use leverframe::{live::Origin, testing::ManualClock};

use super::{
    following::{Following, builder, with_flag},
    ports::free_port,
    shop::files,
    stage::Stage,
};

async fn following(stage: Stage, tree: &Path) -> Following {
    Following::start_as(stage, |builder| builder.working_tree(tree)).await
}

/// Ends a client and gives the stage back.
async fn close(following: Following) -> Stage {
    following.client.close().await.unwrap();
    let Following { stage, client, .. } = following;
    drop(client);
    stage
}

fn file(tree: &Path, name: &str) -> PathBuf {
    let folders = fs::read_dir(tree).unwrap().map(|item| item.unwrap().path());
    let folder = folders.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("files-"));
    let folders: Vec<PathBuf> = folder.collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders[0].join(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_start_transfers_nothing_that_is_still_current() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("exd/shop");
    let first = following(Stage::with_shop(1), &tree).await;
    first.publishes(2);
    first.until("the change on disk", |_| {
        fs::read_to_string(file(&tree, "flags/limit.toml")).unwrap().contains("used = 2")
    });
    let stage = close(first).await;

    let second = following(stage, &tree).await;

    assert_eq!(second.limit(), 2);
    assert_eq!(second.client.status().origin, Origin::Kept);
    assert_eq!(second.stage.asked("/closure").len(), 1, "that of the first start");
    assert!(second.stage.asked("/manifest").is_empty());
    assert_eq!(second.stage.asked("/events")[1].header("last-event-id"), Some("2"));
    second.publishes(3);
    assert_eq!(second.stage.asked("/closure").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_server_gone_a_client_starts_from_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody else is given its port once it is gone.
    let stage = Stage::on(TcpListener::bind(("127.0.0.1", free_port())).unwrap());
    stage.publish("shop", files(4));
    let stage = close(following(stage, dir.path()).await).await;
    let clock = ManualClock::new();
    let gone = builder(&stage, &clock).working_tree(dir.path());
    let elsewhere = builder(&stage, &clock).working_tree(dir.path()).namespace("other");
    let url = stage.url();
    drop(stage);

    let client = gone.build().await.unwrap();

    let context = leverframe::EvalContext::new();
    assert_eq!(client.int_flag_sync("limit", &context, -1), 4);
    let status = client.status();
    assert_eq!((status.origin, status.last_success, status.consecutive_failures), (Origin::Kept, None, 1));
    assert!(status.last_error.unwrap().contains(&url));
    client.close().await.unwrap();
    assert!(elsewhere.build().await.is_err(), "a tree of another namespace is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_something_else_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let stage = close(following(Stage::with_shop(1), dir.path()).await).await;

    let change = |b: leverframe::ExdClientBuilder| b.working_tree(dir.path()).event_stream_flags(["limit"]);
    let other = Following::start_as(stage, change).await;

    assert_eq!(other.stage.asked("/closure").len(), 2);
    assert_eq!(other.stage.asked("/events")[1].header("last-event-id"), None);
    let stage = close(other).await;
    let again = Following::start_as(stage, change).await;
    assert_eq!(again.stage.asked("/closure").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_tree_is_noticed_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut stage = close(following(Stage::with_shop(1), dir.path()).await).await;
    let spoil: [fn(&Path); 5] = [
        |tree| fs::write(file(tree, "flags/limit.toml"), "schema_version").unwrap(),
        |tree| fs::remove_file(file(tree, "namespace.toml")).unwrap(),
        |tree| fs::write(file(tree, "flags/more.toml"), "x").unwrap(),
        |tree| fs::write(tree.join("state.json"), "{").unwrap(),
        |tree| fs::write(tree.join("change.json"), "[]").unwrap(),
    ];
    for (index, spoil) in spoil.into_iter().enumerate() {
        spoil(dir.path());

        let next = following(stage, dir.path()).await;

        assert_eq!((next.limit(), next.stage.asked("/closure").len()), (1, index + 2), "{index}");
        stage = close(next).await;
    }
    let whole = following(stage, dir.path()).await;
    assert_eq!(whole.stage.asked("/closure").len(), 6, "nothing is wrong with it any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_crash_cut_short_is_carried_out_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let first = following(Stage::with_shop(1), dir.path()).await;
    let (state, change) = (dir.path().join("state.json"), dir.path().join("change.json"));
    let before = (fs::read(&state).unwrap(), fs::read(file(dir.path(), "flags/limit.toml")).unwrap());
    first.publishes(2);
    first.until("the change on disk", |_| fs::read(&state).unwrap() != before.0 && !change.exists());
    let after: serde_json::Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    let text = fs::read_to_string(file(dir.path(), "flags/limit.toml")).unwrap();
    let stage = close(first).await;
    // As a crash between the note and the first file would have left it.
    fs::write(&state, before.0).unwrap();
    fs::write(file(dir.path(), "flags/limit.toml"), before.1).unwrap();
    let note = serde_json::json!({"state": after, "files": [["flags/limit.toml", text]], "removed": []});
    fs::write(&change, note.to_string()).unwrap();

    let second = following(stage, dir.path()).await;

    assert_eq!((second.limit(), second.stage.asked("/closure").len()), (2, 1));
    assert!(!change.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_one_file_writes_that_file_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let stage = Stage::start();
    stage.publish("shop", with_flag(1, "other", 5));
    let following = following(stage, dir.path()).await;
    let inode = |name| fs::metadata(file(dir.path(), name)).unwrap().ino();
    let before = ["flags/other.toml", "namespace.toml", "flags/limit.toml"].map(inode);

    following.stage.publish("shop", with_flag(2, "other", 5));
    following.until("the change on disk", |_| inode("flags/limit.toml") != before[2]);

    assert_eq!(["flags/other.toml", "namespace.toml"].map(inode), before[..2]);
    following.stage.publish("shop", files(3));
    following.until("the file gone", |_| !file(dir.path(), "flags/other.toml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_for_its_owner_and_for_one_client_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let first = following(Stage::with_shop(1), &tree).await;

    let second = builder(&first.stage, &first.clock).working_tree(&tree).build().await.unwrap();

    assert_eq!(second.int_flag_sync("limit", &leverframe::EvalContext::new(), -1), 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!((mode(&tree), mode(&file(&tree, "flags/limit.toml"))), (0o700, 0o600));
    second.close().await.unwrap();
}
