//! What the embedded database promises besides.

use std::{fs, os::unix::fs::PermissionsExt};

use leverframe::ErrorKind;

use crate::place::{Place, accepted, at, version, with_namespace};

#[tokio::test]
async fn the_directory_and_its_files_are_closed_to_others() {
    let place = Place::on_sqlite().await;
    let store = place.open().await;
    with_namespace(&*store).await;
    accepted(store.put_version("acme", "payments", &version("a", None), at(2)).await.unwrap());

    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.data()), 0o700);
    let files: Vec<_> = fs::read_dir(place.data()).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for file in files {
        assert_eq!(mode(file.clone()), 0o600, "{file:?}");
    }
}

#[tokio::test]
async fn a_file_that_others_could_read_is_closed_to_them() {
    let place = Place::on_sqlite().await;
    place.open().await.close().await;
    let file = place.data().join("leverframe.db");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();

    place.open().await;

    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn files_that_are_something_else_are_refused_and_left_alone() {
    for content in
        ["not a database, and long enough for a header of one hundred bytes".repeat(4), String::new()]
    {
        let place = Place::on_sqlite().await;
        fs::create_dir_all(place.data()).unwrap();
        let file = place.data().join("leverframe.db");
        if content.is_empty() {
            let other = rusqlite::Connection::open(&file).unwrap();
            other.execute_batch("CREATE TABLE theirs (x)").unwrap();
        } else {
            fs::write(&file, &content).unwrap();
        }
        let before = fs::read(&file).unwrap();

        let refused = place.try_open().await.unwrap_err();

        assert_eq!(refused.kind(), ErrorKind::Corrupt, "{refused}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_an_error_with_its_path() {
    let place = Place::on_sqlite().await;
    fs::write(place.data(), "a file").unwrap();

    let refused = place.try_open().await.unwrap_err();

    assert!(refused.to_string().contains("data"), "{refused}");
}
