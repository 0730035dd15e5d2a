//! On any thread, in any runtime; dropped, closed, many at once.

use std::{pin::pin, sync::Arc, task::Context, thread, time::Duration};

use leverframe::{ErrorKind, live::block_on, traits::Transport};

use crate::{
    ask::{Make, answer, default, get, in_time, trusting},
    real::{
        nginx::Nginx,
        rude::{Manner, Rude},
    },
};

async fn hello(transport: &dyn Transport, uri: String) {
    let response = transport.send(get(uri)).await.unwrap();
    assert_eq!(response.body.read_all(100).await.unwrap(), "hello");
}

pub(crate) fn inside_a_runtime_of_one_thread(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

    runtime.block_on(hello(&*transport, nginx.https("/files/hello")));
    // A second runtime: nothing may have stayed with the first.
    drop(runtime);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(hello(&*transport, nginx.https("/files/hello")));
}

pub(crate) fn inside_a_runtime_of_many_threads(make: Make) {
    let nginx = Nginx::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();

    runtime.block_on(async {
        // Made and dropped on a runtime's thread, which must not make it panic.
        let transport = make(&trusting(&nginx)).unwrap();
        let uri = nginx.https("/files/hello");
        tokio::spawn(async move { hello(&*transport, uri).await }).await.unwrap();
    });
}

pub(crate) fn inside_spawn_blocking(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let uri = nginx.https("/files/hello");

    runtime.block_on(async {
        tokio::task::spawn_blocking(move || block_on(hello(&*transport, uri))).await.unwrap();
    });
}

pub(crate) fn without_a_runtime(make: Make) {
    let nginx = Nginx::start();
    let transport = make(&trusting(&nginx)).unwrap();

    in_time(hello(&*transport, nginx.https("/files/hello")));
    thread::spawn(move || in_time(hello(&*transport, nginx.https("/files/hello")))).join().unwrap();
}

pub(crate) fn many_at_once(make: Make) {
    let nginx = Arc::new(Nginx::start());
    let transport = make(&trusting(&nginx)).unwrap();

    let threads: Vec<_> = (0..16)
        .map(|n| {
            let (nginx, transport) = (Arc::clone(&nginx), Arc::clone(&transport));
            thread::spawn(move || answer(&*transport, get(nginx.https(&format!("/echo/{n}")))).line("uri"))
        })
        .collect();

    for (n, thread) in threads.into_iter().enumerate() {
        assert_eq!(thread.join().unwrap(), format!("/echo/{n}"));
    }
}

pub(crate) fn dropping_the_body_ends_the_exchange(make: Make) {
    let rude = Rude::start();
    let transport = default(make);
    let response =
        in_time(transport.send(get(rude.arrange(Manner::endless())).body_limit(u64::MAX))).unwrap();

    drop(response);

    assert!(rude.sees_clients_go(1), "the connection stays open");
    let uri = rude.arrange(Manner::whole(200, &[], b"hello"));
    in_time(hello(&*transport, uri));
}

pub(crate) fn dropping_the_future_ends_the_exchange(make: Make) {
    let rude = Rude::start();
    let transport = default(make);
    {
        let mut future = pin!(transport.send(get(rude.arrange(Manner::silent()))));
        let mut context = Context::from_waker(std::task::Waker::noop());
        // Until the request has come, dropping would end nothing.
        for _ in 0..2_000 {
            assert!(future.as_mut().poll(&mut context).is_pending());
            if !rude.requests().is_empty() {
                break;
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        assert_eq!(rude.requests().len(), 1);
    }

    assert!(rude.sees_clients_go(1), "the connection stays open");
    let uri = rude.arrange(Manner::whole(200, &[], b"hello"));
    in_time(hello(&*transport, uri));
}

pub(crate) fn close_ends_what_is_running(make: Make) {
    let rude = Rude::start();
    let transport = default(make);
    let request = get(rude.arrange(Manner::silent())).deadline(Duration::from_secs(5));
    let running = thread::spawn({
        let transport = Arc::clone(&transport);
        move || in_time(transport.send(request)).map(drop)
    });
    for _ in 0..2_000 {
        if !rude.requests().is_empty() {
            break;
        }
        thread::park_timeout(Duration::from_millis(5));
    }

    in_time(transport.close()).unwrap();

    assert!(running.join().unwrap().is_err());
    let after = in_time(transport.send(get(rude.uri("/")))).unwrap_err();
    assert_eq!(after.kind(), ErrorKind::Cancelled);
}

/// A connection that is kept for the next request goes with the transport.
pub(crate) fn idle_connections_are_let_go(make: Make) {
    let rude = Rude::start();
    let kept =
        || rude.arrange(Manner::SaysAndHangs(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello".to_vec()));
    let (closed, dropped) = (default(make), default(make));
    in_time(hello(&*closed, kept()));
    in_time(hello(&*dropped, kept()));

    in_time(closed.close()).unwrap();
    drop(dropped);

    assert!(rude.sees_clients_go(2), "a connection stays open");
}

pub(crate) fn a_body_outlives_its_transport(make: Make) {
    let nginx = Nginx::start();
    nginx.put("large", vec![b'x'; 2_000_000]);
    let transport = make(&trusting(&nginx)).unwrap();
    let response = in_time(transport.send(get(nginx.https("/files/large")))).unwrap();

    drop(transport);

    assert_eq!(in_time(response.body.read_all(u64::MAX)).unwrap().len(), 2_000_000);
}
