use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Uri;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::super::connect::UpstreamStream;
use super::*;

const LONG: Duration = Duration::from_secs(60);

fn origin() -> Origin {
    Origin::of(&Uri::from_static("http://acct.example:8080")).unwrap()
}

/// Connections to a listener of our own, and how many were made.
struct Server {
    listener: TcpListener,
    made: AtomicUsize,
}

impl Server {
    async fn start() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), made: AtomicUsize::new(0) }
    }

    /// A connection, and the server's end of it.
    async fn connect(&self) -> (HttpConnection, TcpStream) {
        self.made.fetch_add(1, Ordering::Relaxed);
        let stream = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let connection = HttpConnection::new(UpstreamStream::Plain(BufReader::new(stream)));
        (connection, self.listener.accept().await.unwrap().0)
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }
}

/// Takes one that must be there.
async fn take_idle(pool: &Pool) -> Option<HttpConnection> {
    pool.take(&origin(), async || Err(())).await.ok()
}

#[tokio::test]
async fn a_connection_that_was_given_back_is_taken_again_the_last_one_first() {
    let (server, pool) = (Server::start().await, Pool::new(LONG));
    let ((first, _far), (second, mut far)) = (server.connect().await, server.connect().await);
    pool.put(&origin(), first);
    pool.put(&origin(), second);
    let last = take_idle(&pool).await.unwrap();
    drop(last);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0, "it was the second");
    assert!(take_idle(&pool).await.is_some());
    assert!(take_idle(&pool).await.is_none());
    let other = Origin::of(&Uri::from_static("http://other.example:8080")).unwrap();
    assert!(pool.take(&other, async || Err::<HttpConnection, ()>(())).await.is_err());
}

#[tokio::test]
async fn a_request_takes_what_another_gives_back_and_what_it_had_begun_is_kept() {
    let (server, pool) = (Arc::new(Server::start().await), Pool::new(LONG));
    let (used, _far) = server.connect().await;
    let (go_on, gate) = oneshot::channel();
    let (asked, asking) = oneshot::channel();
    let (kept, _far_too) = oneshot::channel();
    let waiting = tokio::spawn({
        let (server, pool) = (server.clone(), pool.clone());
        async move {
            let connect = || async move {
                asked.send(()).unwrap();
                gate.await.unwrap();
                let (connection, far) = server.connect().await;
                kept.send(far).unwrap();
                Ok::<_, ()>(connection)
            };
            pool.take(&origin(), connect).await.unwrap()
        }
    });
    asking.await.unwrap();
    pool.put(&origin(), used);
    let given = waiting.await.unwrap();
    assert_eq!(server.made(), 1, "the connecting still waits");
    go_on.send(()).unwrap();
    // Nobody gives it back: it can only be the one that was begun.
    let begun = pool.take(&origin(), pending::<Result<HttpConnection, ()>>).await.unwrap();
    assert_eq!(server.made(), 2);
    drop((given, begun));
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_let_go() {
    let (server, pool) = (Server::start().await, Pool::new(LONG));
    let (connection, far) = server.connect().await;
    pool.put(&origin(), connection);
    drop(far);
    // The sweep sees it without waiting for its interval, after which nothing is left to sweep.
    while pool.0.lock().swept {
        tokio::task::yield_now().await;
    }
    assert!(pool.0.lock().known.is_empty());
    assert!(take_idle(&pool).await.is_none());
}

#[tokio::test]
async fn an_idle_connection_is_closed_when_its_time_is_over() {
    let (server, pool) = (Server::start().await, Pool::new(Duration::from_millis(20)));
    let (connection, mut far) = server.connect().await;
    pool.put(&origin(), connection);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
    assert!(pool.0.lock().known.is_empty());
}

#[tokio::test]
async fn with_no_time_to_idle_nothing_is_kept() {
    let (server, pool) = (Server::start().await, Pool::new(Duration::ZERO));
    let (connection, mut far) = server.connect().await;
    pool.put(&origin(), connection);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_that_gave_up_waiting_is_given_nothing() {
    let (server, pool) = (Server::start().await, Pool::new(LONG));
    let (connection, _far) = server.connect().await;
    let origin = origin();
    let mut waiting = Box::pin(pool.take(&origin, pending::<Result<HttpConnection, ()>>));
    assert!(poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await.is_pending());
    drop(waiting);
    pool.put(&origin, connection);
    assert!(take_idle(&pool).await.is_some(), "it is not lost");
}

#[tokio::test]
async fn those_that_gave_up_waiting_leave_nothing_behind() {
    let pool = Pool::new(LONG);
    for _ in 0..100 {
        assert!(take_idle(&pool).await.is_none());
    }
    assert!(pool.0.lock().known[&origin()].waiting.len() <= 1);
}
