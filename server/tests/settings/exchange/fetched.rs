//! Keys that are fetched from their issuer.

use std::time::Duration;

use leverframe_server::settings::model::Kind;

use super::{
    issuer::{Answer, Key, Place, set},
    stage::{ISSUER, Stage, trust},
};

async fn stage(key: Key, answer: Answer) -> (Stage, Place) {
    let place = Place::new(answer).await;
    let file =
        format!("[[issuer]]\nissuer = {ISSUER:?}\nprovider = \"kubernetes\"\njwks_url = {:?}\n", place.url);
    let stage = Stage::with(key, &file, &[], |_| {}).await;
    stage.trusted("prod", Kind::Backend, &[trust()]).await;
    (stage, place)
}

async fn status(stage: &Stage, key: &Key) -> u16 {
    stage.exchange(&key.token(&stage.claims())).await.status.as_u16()
}

#[tokio::test]
async fn a_key_that_is_not_known_is_fetched_at_most_once_a_minute() {
    let (new, never) = (Key::p256("two"), Key::p256("three"));
    let key = Key::p256("one");
    let answer = Answer::Text(set(&[&key]));
    let (stage, place) = stage(key, answer).await;

    for _ in 0..5 {
        assert_eq!(status(&stage, &stage.key).await, 200);
    }
    assert_eq!(place.asked(), 1);
    // The issuer begins to sign with another key.
    place.set(Answer::Text(set(&[&stage.key, &new])));
    for _ in 0..5 {
        assert_eq!((status(&stage, &new).await, place.asked()), (401, 1), "within the minute");
    }
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!((status(&stage, &new).await, place.asked()), (200, 2));
    assert_eq!(
        (status(&stage, &stage.key).await, status(&stage, &never).await, place.asked()),
        (200, 401, 2)
    );
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!((status(&stage, &never).await, place.asked()), (401, 3));
}

#[tokio::test]
async fn a_key_that_the_issuer_takes_back_is_believed_for_a_quarter_of_an_hour_at_most() {
    let (key, other) = (Key::p256("one"), Key::p256("two"));
    let answer = Answer::Text(set(&[&key]));
    let (stage, place) = stage(key, answer).await;
    assert_eq!(status(&stage, &stage.key).await, 200);
    place.came().await;
    place.set(Answer::Text(set(&[&other])));

    stage.clock.advance(Duration::from_secs(15 * 60));
    // Whoever asks first is not kept waiting.
    assert_eq!(status(&stage, &stage.key).await, 200);
    place.came().await;
    let ending = async {
        while status(&stage, &stage.key).await != 401 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ending).await.expect("the key is believed still");
    assert_eq!((status(&stage, &stage.key).await, place.asked()), (401, 2));
}

#[tokio::test]
async fn keys_stay_while_the_issuer_is_away_or_talks_nonsense() {
    let key = Key::p256("one");
    let good = Answer::Text(set(&[&key]));
    let (stage, place) = stage(key, good.clone()).await;
    let elsewhere = Place::new(good).await;
    assert_eq!(status(&stage, &stage.key).await, 200);
    place.came().await;

    for answer in [
        Answer::Status(500),
        Answer::Text("<html>".to_owned()),
        Answer::Text("{\"keys\":[]}".to_owned()),
        Answer::Text("x".repeat(10 << 20)),
        Answer::Redirect(elsewhere.url.clone()),
    ] {
        place.set(answer);
        let before = place.asked();
        // While one look at the issuer is under way, no other one begins.
        while place.asked() == before {
            stage.clock.advance(Duration::from_secs(15 * 60));
            assert_eq!(status(&stage, &stage.key).await, 200);
            tokio::task::yield_now().await;
        }
        assert_eq!(status(&stage, &stage.key).await, 200);
    }
    assert_eq!(elsewhere.asked(), 0, "a redirect was followed");
}

#[tokio::test]
async fn without_any_keys_nobody_is_judged() {
    let key = Key::p256("one");
    let good = Answer::Text(set(&[&key]));
    let (stage, place) = stage(key, Answer::Status(500)).await;
    let elsewhere = Place::new(good.clone()).await;

    for answer in [
        Answer::Status(500),
        Answer::Status(404),
        Answer::Text("<html>".to_owned()),
        Answer::Text("x".repeat(10 << 20)),
        Answer::Redirect(elsewhere.url.clone()),
    ] {
        place.set(answer);
        let asked = place.asked();
        for _ in 0..3 {
            let answer = stage.exchange(&stage.token()).await;
            assert_eq!((answer.status.as_u16(), &*answer.code()), (503, "unavailable"));
            assert!(!answer.header("retry-after").is_empty());
        }
        assert_eq!(place.asked(), asked + 1, "asked again at once");
        stage.clock.advance(Duration::from_secs(5));
    }
    place.set(good);
    assert_eq!(status(&stage, &stage.key).await, 200);
    assert_eq!(elsewhere.asked(), 0, "a redirect was followed");
}

#[tokio::test]
async fn an_issuer_that_hangs_is_given_five_seconds() {
    let (stage, place) = stage(Key::p256("one"), Answer::Never).await;
    let token = stage.token();
    let asking = stage.exchange(&token);
    tokio::pin!(asking);

    tokio::select! {
        answer = &mut asking => panic!("{answer:?}"),
        () = place.came() => {}
    }
    stage.clock.advance(Duration::from_secs(5));

    assert_eq!(asking.await.status, 503);
}

#[tokio::test]
async fn whoever_goes_away_keeps_nobody_from_the_keys() {
    let key = Key::p256("one");
    let good = Answer::Text(set(&[&key]));
    let (stage, place) = stage(key, Answer::Never).await;
    let token = stage.token();
    {
        let asking = stage.exchange(&token);
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => panic!("{answer:?}"),
            () = place.came() => {}
        }
    }
    place.set(good);
    let asking = stage.exchange(&token);
    tokio::pin!(asking);
    // The first one's question is still open, and is given up in time.
    stage.clock.advance(Duration::from_secs(5));
    let first = asking.await.status.as_u16();
    assert!([200, 503].contains(&first), "{first}");

    stage.clock.advance(Duration::from_secs(5));
    assert_eq!(status(&stage, &stage.key).await, 200);
}
