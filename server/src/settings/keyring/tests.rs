use std::fs;

use leverframe::testing::ManualClock;

use super::*;

const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ONE_IN_HEX: &str = "000102030405060708090A0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn service() -> ServiceId {
    ServiceId::new("acme", "billing", "production")
}

fn given(text: &str) -> Keyring {
    Keyring::from_secret(&Secret::new(text)).unwrap()
}

fn write(path: &Path, text: &str) {
    leverframe::durable::replace(path, text.as_bytes()).unwrap();
}

#[test]
fn a_key_is_read_in_base64_and_in_hexadecimal() {
    let sealed = given(ONE).new_data_key(&service()).unwrap();

    for text in [ONE, ONE_IN_HEX, ONE.trim_end_matches('='), &format!("\n  {ONE}  \r\n\n")] {
        assert!(given(text).open_data_key(&service(), &sealed).is_ok(), "{text}");
    }
}

#[test]
fn what_is_no_key_is_refused_unseen() {
    let nine = format!("{ONE}\n").repeat(9);
    let short = ONE.get(..40).unwrap();
    let long = format!("{}A=", ONE.trim_end_matches('='));
    for text in [
        "",
        " \n",
        "hunter2hunter2",
        short,
        &long,
        &format!("{ONE}\nhunter2"),
        &nine,
        &ONE_IN_HEX.replace('0', "g"),
    ] {
        let error = Keyring::from_secret(&Secret::new(text)).unwrap_err();

        assert_eq!(error.kind(), ErrorKind::Invalid, "{text}");
        assert!(error.hint_text().unwrap().contains("openssl rand -base64 32"));
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[test]
fn a_data_key_opens_for_its_service_under_its_master_key_only() {
    let (one, two) = (given(ONE), given(TWO));
    let sealed = one.new_data_key(&service()).unwrap();
    let data = one.open_data_key(&service(), &sealed).unwrap();
    let secret = data.seal(&service(), "K", 1, &Secret::new("hunter2")).unwrap();

    let again = one.open_data_key(&service(), &sealed).unwrap();
    assert_eq!(again.open(&service(), "K", 1, &secret).unwrap().expose(), "hunter2");
    let elsewhere = one.open_data_key(&ServiceId::new("acme", "billing", "staging"), &sealed).unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::Corrupt);
    let error = two.open_data_key(&service(), &sealed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("sealed by: 54f899d5d6d17966"), "{error}");
    assert!(error.hint_text().unwrap().contains("another master key"));
    for broken in [&sealed[..sealed.len() - 1], &sealed[..3], &[]] {
        assert_eq!(one.open_data_key(&service(), broken).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_data_key_that_is_sealed_anew_is_the_same_one() {
    let (one, two) = (given(ONE), given(TWO));
    let sealed = one.new_data_key(&service()).unwrap();
    let secret = one.open_data_key(&service(), &sealed).unwrap();
    let secret = secret.seal(&service(), "K", 1, &Secret::new("hunter2")).unwrap();

    let anew = one.reseal(&service(), &sealed, &two).unwrap();

    assert!(two.has_sealed(&anew) && !one.has_sealed(&anew) && one.has_sealed(&sealed));
    let data = two.open_data_key(&service(), &anew).unwrap();
    assert_eq!(data.open(&service(), "K", 1, &secret).unwrap().expose(), "hunter2");
    assert!(one.open_data_key(&service(), &anew).is_err());
}

#[test]
fn of_several_keys_the_first_one_seals_and_every_one_opens() {
    let (one, two, both) = (given(ONE), given(TWO), given(&format!("{TWO}\n{ONE}\n{TWO}")));
    let old = one.new_data_key(&service()).unwrap();

    let new = both.new_data_key(&service()).unwrap();

    assert!(both.open_data_key(&service(), &old).is_ok() && both.open_data_key(&service(), &new).is_ok());
    assert!(two.open_data_key(&service(), &new).is_ok());
    assert_eq!(format!("{both:?}").matches("KeyId").count(), 2, "{both:?}");
}

#[test]
fn the_key_of_a_directory_is_made_once_and_private() {
    let dir = tempfile::tempdir().unwrap();
    let made = Keyring::in_directory(dir.path()).unwrap();
    let sealed = made.new_data_key(&service()).unwrap();

    let again = Keyring::in_directory(dir.path()).unwrap();

    assert!(again.open_data_key(&service(), &sealed).is_ok());
    let text = fs::read_to_string(dir.path().join(FILE)).unwrap();
    assert_eq!(text.len(), 45);
    assert!(given(&text).open_data_key(&service(), &sealed).is_ok());
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_refused_with_the_way_out() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    write(&path, ONE);
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();

        for error in [Keyring::in_directory(dir.path()).unwrap_err(), Keyring::from_file(&path).unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::PermissionDenied);
            assert!(error.hint_text().unwrap().starts_with("`chmod 600 /"), "{error:?}");
        }
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Keyring::from_file(&path).is_ok());
}

#[test]
fn a_file_without_a_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let error = Keyring::from_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint_text().unwrap().contains("umask 077"));

    write(&path, "hunter2");
    let error = Keyring::from_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(!format!("{error:?}").contains("hunter2"));

    write(&path, &"x".repeat(5_000));
    assert_eq!(Keyring::from_file(&path).unwrap_err().kind(), ErrorKind::LimitExceeded);
}

#[test]
fn a_file_is_read_again_for_a_key_that_is_not_at_hand_and_not_all_the_time() {
    let dir = tempfile::tempdir().unwrap();
    let (path, clock) = (dir.path().join("key"), ManualClock::new());
    write(&path, ONE);
    let keyring = Keyring::at(Place::Theirs(path.clone()), Arc::new(clock.clone())).unwrap();
    let foreign = given(TWO).new_data_key(&service()).unwrap();

    assert!(keyring.open_data_key(&service(), &foreign).is_err());
    write(&path, TWO);
    assert!(keyring.open_data_key(&service(), &foreign).is_err(), "read twice within a second");
    clock.advance(LOOK);
    assert!(keyring.open_data_key(&service(), &foreign).is_ok());

    fs::remove_file(&path).unwrap();
    clock.advance(LOOK);
    assert!(keyring.open_data_key(&service(), &given(ONE).new_data_key(&service()).unwrap()).is_err());
    assert!(keyring.open_data_key(&service(), &foreign).is_ok(), "what is at hand was given up");
    assert!(keyring.new_data_key(&service()).is_err(), "sealed by a key that may be gone");
}

#[test]
fn a_new_data_key_is_sealed_by_the_key_that_the_file_holds_now() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    write(&path, ONE);
    let keyring = Keyring::from_file(&path).unwrap();

    write(&path, TWO);

    assert!(given(TWO).open_data_key(&service(), &keyring.new_data_key(&service()).unwrap()).is_ok());
}
