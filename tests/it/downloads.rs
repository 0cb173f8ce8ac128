//! Downloads that break off under way: continued without the client noticing, or broken off so that it must.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::command::behind_proxy_with;
use super::support::action::{Action, close, cut, head, partial, raw, reset, respond, respond_chunked, shared, stall, wait};
use super::support::batch::{HOST, error};
use super::support::client::{Client, Tunnel, request};
use super::support::gate::Gate;
use super::support::guard;
use super::support::metric::{assert_metric, sum};
use super::support::origin::Origin;
use super::support::proxy::{Builder, TestProxy, finish, start};

/// What the client has in the end.
#[derive(Clone, Copy, Debug)]
enum Ending {
    /// An answer without its end, counted under this result.
    Broken(&'static str),
    /// This much of the content, proved complete.
    Whole(usize),
}

use Ending::{Broken, Whole};

/// The real program: every byte arrives, the client sees one answer, and nothing is piled up on the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_download_cut_five_times_arrives_whole_in_flat_memory() {
    const SIZE: usize = 64 << 20;
    let content = content(SIZE);
    let (origin, program, _directory) = behind_proxy_with(&[]).await;
    let tunnel = Tunnel::open(program.proxy, &format!("{HOST}:443"), None).await;
    let mut client = tunnel.tls(&program.fetch("/ca.pem").await, HOST, &[]).await.unwrap();
    let announced = head(200, &[VOUCHED, &[("Content-Length", &SIZE.to_string())]].concat());
    let answer = {
        let content = content.clone();
        move |end: usize| raw(announced.clone()).then(shared(content.slice(..end)))
    };

    origin.queue([respond(200, VOUCHED, content.slice(..1 << 20))]);
    assert!(client.request(&get(&[])).await.complete);
    let before = program.peak_memory();

    let cuts = [2, 6, 7, 12, 24].map(|mebibytes| answer((mebibytes << 20) + 4321).then(cut()));
    origin.queue(cuts.into_iter().chain([answer(SIZE)]));
    client.send_raw(&get(&[])).await.unwrap();
    let mut begin = Vec::new();
    while !begin.ends_with(b"\r\n\r\n") {
        begin.extend(client.read_exactly(1).await.unwrap());
    }
    assert!(begin.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let mut received = 0;
    while received < SIZE {
        let piece = client.read_exactly((SIZE - received).min(1 << 16)).await.unwrap();
        assert!(piece == content[received..received + piece.len()], "at {received}");
        received += piece.len();
        if received.is_multiple_of(8 << 20) {
            assert_metric(&program.fetch("/metrics").await, "batch_retry_proxy_replay_memory_bytes", &[], 0.0);
        }
    }
    // The kernel adds up its counts lazily: what has not grown may look like less.
    let grown = program.peak_memory().saturating_sub(before);
    assert!(grown < 12 << 10, "{grown} KiB more");

    let sends: Vec<_> = origin.requests()[1..].iter().map(|request| request.bytes()).collect();
    assert_eq!(sends, vec![get(&[]); 6]);
    let metrics = program.fetch("/metrics").await;
    assert_metric(&metrics, "batch_retry_proxy_repaired_downloads_total", &[("result", "repaired")], 5.0);
    assert_metric(&metrics, "batch_retry_proxy_requests_total", &[("fate", "replayed")], 1.0);
    origin.finish().await;
}

/// However it broke and however it is framed; and every send is counted like any other.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_the_service_vouches_for_goes_on() {
    let whole = content(50_000);
    let length = || partial(200, VOUCHED, 50_000, &whole[..20_000]);
    let chunk = || chunked(VOUCHED, &whole[..20_000]);
    for (begin, end) in [
        (length(), cut()),
        (length(), close()),
        (length(), reset()),
        (length(), stall()),
        (chunk(), cut()),
        (chunk(), close()),
    ] {
        let (origin, proxy) = start(|it| streaming(it).set("upstream.body_idle_timeout", "1s")).await;
        let gate = Gate::new();
        origin.queue([begin.then(wait(&gate)).then(end), respond(200, VOUCHED, &whole)]);
        let fields = [("Authorization", "SharedKey testacct:c2ln"), ("ocp-date", &now()), ("X-oDD", "as spelled")];
        let mut client = proxy.client(HOST).await;
        client.send_raw(&get(&fields)).await.unwrap();
        gate.arrived().await;
        proxy.until("batch_retry_proxy_attempts_total", &[("class", "success")]).await;
        gate.open();
        let response = client.read_response("GET").await.unwrap();
        assert!(response.complete && response.body == whole);
        assert_eq!(response.header("proxy-status"), Some("batch-retry-proxy; attempts=1; fate=first_try; waited=0.0"));
        let sends = origin.requests();
        assert_eq!((sends.len(), sends[0].bytes(), sends[1].bytes()), (2, get(&fields), get(&fields)));
        proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", "replayed")], 1.0).await;
        let metrics = proxy.metrics().await;
        for (name, labels, want) in [
            ("requests_total", &[][..], 1.0),
            ("repaired_downloads_total", &[], 1.0),
            ("repaired_downloads_total", &[("result", "repaired")], 1.0),
            ("attempts_total", &[("operation", "Tasks_GetTaskFile"), ("class", "success")], 2.0),
            ("retries_total", &[("reason", "truncated"), ("account", "testacct.westeurope")], 1.0),
            ("upstream_responses_total", &[("status", "200")], 2.0),
            ("upstream_errors_total", &[("failure", "truncated")], 1.0),
            ("wait_seconds_count", &[("cause", "backoff")], 1.0),
        ] {
            assert_metric(&metrics, &format!("batch_retry_proxy_{name}"), labels, want);
        }
        finish(proxy, origin).await;
    }
}

/// The first answer broke off after 20 000 of its 50 000 bytes; this came when it was sent for again.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_taken_only_if_it_begins_like_what_was_delivered() {
    let (all, whole) = (content(60_000), content(50_000));
    let mut changed = whole.to_vec();
    changed[10_000] ^= 1;
    let (whole, all, changed) = (&whole[..], &all[..], &changed[..]);
    let length = |fields| partial(200, fields, 50_000, &whole[..20_000]).then(cut());
    let chunk = |fields| chunked(fields, &whole[..20_000]).then(cut());
    for (case, first, again, want) in [
        ("another tag", length(VOUCHED), respond(200, OTHER_TAG, whole), Whole(50_000)),
        ("another date", chunk(VOUCHED), respond_chunked(200, OTHER_DATE, &[whole]), Whole(50_000)),
        ("a weak tag", length(WEAK_TAG), respond(200, WEAK_TAG, whole), Whole(50_000)),
        ("nothing to go by", chunk(NOTHING), respond_chunked(200, NOTHING, &[whole]), Whole(50_000)),
        ("no length any more", length(VOUCHED), respond_chunked(200, VOUCHED, &[whole]), Whole(50_000)),
        ("a length now", chunk(VOUCHED), respond(200, VOUCHED, whole), Whole(50_000)),
        ("changed", length(VOUCHED), respond(200, OTHER_TAG, changed), Broken("changed")),
        ("changed, with a weak tag", length(WEAK_TAG), respond(200, WEAK_TAG, changed), Broken("changed")),
        ("changed, vouched for", length(VOUCHED), respond(200, VOUCHED, changed), Broken("changed")),
        ("changed, in chunks", chunk(NOTHING), respond_chunked(200, NOTHING, &[changed]), Broken("changed")),
        ("grown", length(VOUCHED), respond(200, OTHER_TAG, all), Whole(50_000)),
        ("grown, in chunks", chunk(VOUCHED), respond_chunked(200, OTHER_TAG, &[all]), Whole(60_000)),
        ("grown, in chunks now", length(VOUCHED), respond_chunked(200, OTHER_TAG, &[all]), Whole(50_000)),
        ("shrunk", length(VOUCHED), respond(200, OTHER_TAG, &whole[..40_000]), Broken("changed")),
        ("shrunk, in chunks", length(VOUCHED), respond_chunked(200, OTHER_TAG, &[&whole[..40_000]]), Broken("changed")),
        ("shorter than delivered", chunk(NOTHING), respond(200, NOTHING, &whole[..19_999]), Broken("changed")),
        ("shorter, in chunks", chunk(NOTHING), respond_chunked(200, NOTHING, &[&whole[..19_999]]), Broken("changed")),
        ("as long as delivered", chunk(NOTHING), respond_chunked(200, NOTHING, &[&whole[..20_000]]), Whole(20_000)),
        ("packed alike", chunk(PACKED), respond_chunked(200, PACKED, &[whole]), Whole(50_000)),
        ("packed otherwise", chunk(PACKED), respond_chunked(200, PACKED, &[changed]), Broken("changed")),
        ("packed, grown", length(PACKED), respond(200, PACKED, all), Broken("changed")),
        ("packed now", length(VOUCHED), respond(200, PACKED, whole), Broken("changed")),
        ("another type", length(VOUCHED), respond(200, HTML, whole), Broken("changed")),
        ("an end that proves nothing", chunk(VOUCHED), raw(unframed(whole)).then(close()), Broken("changed")),
        ("gone", length(VOUCHED), error(404, "FileNotFound", &[]), Broken("abandoned")),
        ("a part", length(VOUCHED), respond(206, VOUCHED, whole), Broken("abandoned")),
        ("not modified", length(VOUCHED), respond(304, VOUCHED, ""), Broken("abandoned")),
        ("forbidden now", length(VOUCHED), error(403, "AuthenticationFailed", &[]), Broken("abandoned")),
    ] {
        let (origin, proxy) = start(streaming).await;
        origin.queue([first, again]);
        let response = proxy.client(HOST).await.request(&get(&[])).await;
        match want {
            Whole(size) => {
                assert!(response.complete && response.body == all[..size], "{case}: {} bytes", response.body.len());
                expect(&proxy, "replayed", "repaired").await;
            }
            Broken(result) => {
                assert!(!response.complete && all.starts_with(&response.body), "{case}");
                assert!((20_000..50_000).contains(&response.body.len()), "{case}: {} bytes", response.body.len());
                expect(&proxy, "broken", result).await;
            }
        }
        assert_eq!(origin.requests().len(), 2, "{case}");
        finish(proxy, origin).await;
    }
}

/// Whatever a replay may meet, a repair may meet too.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_goes_on_through_throttling_errors_and_lost_connections() {
    let whole = content(50_000);
    let (origin, proxy) = start(|it| streaming(it).set("upstream.response_timeout", "2s")).await;
    origin.tolerate_broken_connections();
    origin.queue([
        partial(200, VOUCHED, 50_000, &whole[..20_000]).then(cut()),
        error(429, "TooManyRequests", &[("Retry-After", "1")]),
        error(500, "InternalError", &[]).closing(),
        stall(),
        respond(200, VOUCHED, &whole),
    ]);
    let response = proxy.client(HOST).await.request(&get(&[])).await;
    assert!(response.complete && response.body == whole);
    expect(&proxy, "replayed", "repaired").await;
    let metrics = proxy.metrics().await;
    for (name, labels, want) in [
        ("attempts_total", &[("class", "throttled")][..], 1.0),
        ("attempts_total", &[("class", "transient")], 2.0),
        ("attempts_total", &[("class", "success")], 2.0),
        ("throttled_responses_total", &[("code", "TooManyRequests")], 1.0),
        ("retries_total", &[("reason", "truncated")], 1.0),
        ("retries_total", &[("reason", "throttled")], 1.0),
        ("retries_total", &[("reason", "transient")], 2.0),
        ("upstream_errors_total", &[("failure", "response_timeout")], 1.0),
        ("wait_seconds_count", &[("cause", "retry_after")], 1.0),
        ("wait_seconds_count", &[("cause", "backoff")], 3.0),
    ] {
        assert_metric(&metrics, &format!("batch_retry_proxy_{name}"), labels, want);
    }
    finish(proxy, origin).await;
}

/// A break while skipping brings no new bytes. What is skipped is never delivered twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_while_skipping_goes_on_counting_the_tries() {
    let whole = content(50_000);
    let part = |size: usize| partial(200, VOUCHED, 50_000, &whole[..size]).then(cut());
    for (attempts, ending) in [(4, Whole(50_000)), (3, Broken("abandoned"))] {
        let (origin, proxy) = start(|it| streaming(it).set("retry.max_attempts", attempts)).await;
        let answers = [part(20_000), part(5_000), part(20_000), respond(200, VOUCHED, &whole)];
        origin.queue(answers.into_iter().take(attempts as usize));
        let response = proxy.client(HOST).await.request(&get(&[])).await;
        match ending {
            Whole(size) => assert!(response.complete && response.body == whole[..size]),
            Broken(_) => assert!(!response.complete && response.body == whole[..20_000], "{} bytes", response.body.len()),
        }
        let fate = if response.complete { "replayed" } else { "broken" };
        proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", fate)], 1.0).await;
        assert_eq!(origin.requests().len(), attempts as usize);
        if let Broken(result) = ending {
            let metrics = proxy.metrics().await;
            assert_metric(&metrics, "batch_retry_proxy_stops_total", &[("reason", "attempts")], 1.0);
            assert_metric(&metrics, "batch_retry_proxy_repaired_downloads_total", &[("result", result)], 1.0);
        }
        finish(proxy, origin).await;
    }
}

/// Two tries are enough for any number of cuts, as long as each brings something new.
#[tokio::test(flavor = "multi_thread")]
async fn every_cut_that_brought_new_bytes_starts_a_new_count() {
    let whole = content(50_000);
    let (origin, proxy) = start(|it| streaming(it).set("retry.max_attempts", 2)).await;
    let cuts = (1..10).map(|n| partial(200, VOUCHED, 50_000, &whole[..n * 5_000]).then(cut()));
    origin.queue(cuts.chain([respond(200, VOUCHED, &whole)]));
    let response = proxy.client(HOST).await.request(&get(&[])).await;
    assert!(response.complete && response.body == whole);
    proxy.wait_for_metric("batch_retry_proxy_repaired_downloads_total", &[("result", "repaired")], 9.0).await;
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", "replayed")], 1.0).await;
    finish(proxy, origin).await;
}

/// Silence counts as a break, also while skipping.
#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_falls_silent_is_continued() {
    let whole = content(50_000);
    let (origin, proxy) = start(|it| streaming(it).set("upstream.body_idle_timeout", "1s")).await;
    origin.queue([
        partial(200, VOUCHED, 50_000, &whole[..20_000]).then(stall()),
        partial(200, VOUCHED, 50_000, &whole[..10_000]).then(stall()),
        respond(200, VOUCHED, &whole),
    ]);
    let response = proxy.client(HOST).await.request(&get(&[])).await;
    assert!(response.complete && response.body == whole);
    expect(&proxy, "replayed", "repaired").await;
    origin.wait_for_ended_connections(2).await;
    finish(proxy, origin).await;
}

/// The silence of the answer before it is not held against it.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_goes_on_may_pause_like_any_other() {
    let whole = content(50_000);
    let (origin, proxy) = start(|it| streaming(it).set("upstream.body_idle_timeout", "3s")).await;
    let gate = Gate::new();
    let part = || partial(200, VOUCHED, 50_000, &whole[..20_000]);
    origin.queue([part().then(stall()), part().then(wait(&gate)).then(raw(&whole[20_000..]))]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&get(&[])).await.unwrap();
    proxy.until("batch_retry_proxy_repaired_downloads_total", &[("result", "repaired")]).await;
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_upstream_errors_total", &[], 1.0);
    gate.open();
    let response = client.read_response("GET").await.unwrap();
    assert!(response.complete && response.body == whole);
    expect(&proxy, "replayed", "repaired").await;
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_during_the_wait_ends_it_and_nothing_more_is_sent() {
    let (origin, proxy) = start(|it| slow(streaming(it))).await;
    let client = broken_download(&origin, &proxy, &[]).await;
    client.reset();
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "client_gone")]).await;
    assert_eq!(origin.requests().len(), 1);
    assert_metric(&proxy.metrics().await, "batch_retry_proxy_repaired_downloads_total", &[], 0.0);
    finish(proxy, origin).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_while_bytes_are_skipped_frees_the_connection_to_batch() {
    let (origin, proxy) = start(streaming).await;
    origin.tolerate_broken_connections();
    let (whole, skipping) = (content(50_000), Gate::new());
    origin.queue([
        partial(200, VOUCHED, 50_000, &whole[..20_000]).then(cut()),
        partial(200, VOUCHED, 50_000, &whole[..10_000]).then(wait(&skipping)).then(stall()),
    ]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&get(&[])).await.unwrap();
    skipping.arrived().await;
    skipping.open();
    client.reset();
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "client_gone")]).await;
    origin.wait_for_ended_connections(2).await;
    finish(proxy, origin).await;
}

/// The first send always goes; what it began is not asked for again with a signature or a token that is too old.
#[tokio::test(flavor = "multi_thread")]
async fn a_stale_credential_ends_a_download_that_breaks_off() {
    let old = httpdate::fmt_http_date(SystemTime::now() - Duration::from_secs(16 * 60));
    let signed = [("Authorization", "SharedKey testacct:c2ln"), ("ocp-date", old.as_str())];
    // {"alg":"none"}.{"exp":1}.
    let token = [("Authorization", "Bearer eyJhbGciOiJub25lIn0.eyJleHAiOjF9.x")];
    for (fields, reason) in [(&signed[..], "signature"), (&token[..], "token")] {
        let (origin, proxy) = start(streaming).await;
        let mut client = broken_download(&origin, &proxy, fields).await;
        assert!(client.read_to_end().await.unwrap_or_default().len() < 50_000);
        expect(&proxy, "broken", "abandoned").await;
        assert_metric(&proxy.metrics().await, "batch_retry_proxy_stops_total", &[("reason", reason)], 1.0);
        assert_eq!(origin.requests().len(), 1, "{reason}");
        finish(proxy, origin).await;
    }
}

/// A wait that would outlive the process ends when draining begins.
#[tokio::test(flavor = "multi_thread")]
async fn draining_ends_a_wait_of_a_download_that_would_outlive_the_grace() {
    let (origin, proxy) = start(|it| slow(streaming(it)).set("shutdown.grace", "5s")).await;
    let mut client = broken_download(&origin, &proxy, &[]).await;
    let metrics = proxy.metrics().await;
    assert_metric(&metrics, "batch_retry_proxy_requests_total", &[], 0.0);
    proxy.drain();
    assert!(client.read_to_end().await.unwrap_or_default().len() < 50_000);
    assert_eq!(origin.requests().len(), 1);
    finish(proxy, origin).await;
}

/// A wait that ends within the grace goes on, and so does what it brings.
#[tokio::test(flavor = "multi_thread")]
async fn draining_lets_a_download_be_continued_within_the_grace() {
    let whole = content(50_000);
    let (origin, proxy) = start(|it| {
        streaming(it).set("retry.backoff.initial", "1s").set("retry.backoff.max", "1s").set("shutdown.grace", "20s")
    })
    .await;
    origin.queue([partial(200, VOUCHED, 50_000, &whole[..20_000]).then(cut()), respond(200, VOUCHED, &whole)]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&get(&[])).await.unwrap();
    proxy.until("batch_retry_proxy_upstream_errors_total", &[("failure", "truncated")]).await;
    proxy.drain();
    let response = client.read_response("GET").await.unwrap();
    assert!(response.complete && response.body == whole);
    finish(proxy, origin).await;
}

/// Where there may be no second send, or its answer could not go on, nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn only_whole_answers_to_gets_are_sent_for_again() {
    let whole = content(50_000);
    let (file, evaluate) = ("/jobs/j/tasks/t/files/f", "/pools/p/evaluateautoscale");
    for (method, target, body, status, attempts) in [
        ("POST", evaluate, "{}", 200, 4),
        ("GET", file, "", 206, 4),
        ("GET", file, "", 200, 1),
        ("PUT", "/jobs/j", "{}", 200, 4),
    ] {
        let (origin, proxy) = start(|it| streaming(it).set("retry.max_attempts", attempts)).await;
        origin.queue([partial(status, VOUCHED, 50_000, &whole[..20_000]).then(cut())]);
        let response = proxy.client(HOST).await.request(&request(method, target, HOST, &[], body)).await;
        assert!(!response.complete && whole[..20_000].starts_with(&response.body), "{method} {status}");
        proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", "broken")], 1.0).await;
        assert_eq!(origin.requests().len(), 1, "{method} {status}");
        assert_metric(&proxy.metrics().await, "batch_retry_proxy_repaired_downloads_total", &[("result", "repaired")], 0.0);
        finish(proxy, origin).await;
    }
}

/// A client's own repeat is not replayed, but once its answer has begun, what was given up is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_whose_answer_breaks_off_is_continued() {
    let whole = content(50_000);
    // The hint ends the first request, and must not hold up the second.
    let (origin, proxy) = start(|it| streaming(it).set("retry.throttle.hint_max", "1ms")).await;
    origin.queue([
        error(429, "TooManyRequests", &[("Retry-After", "3600")]),
        partial(200, VOUCHED, 50_000, &whole[..20_000]).then(cut()),
        respond(200, VOUCHED, &whole),
    ]);
    let fields = [("client-request-id", "c6d7566e-e6ef-11f1-8cfe-02fc00000001")];
    let mut client = proxy.client(HOST).await;
    assert_eq!(client.request(&get(&fields)).await.status, 429);
    let response = client.request(&get(&fields)).await;
    assert!(response.complete && response.body == whole);
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", "replayed")], 1.0).await;
    finish(proxy, origin).await;
}

/// Fields after the body come from the answer that reached its end.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_at_the_true_end() {
    let whole = content(50_000);
    let (origin, proxy) = start(streaming).await;
    let fields = [VOUCHED, &[("Trailer", "x-end")]].concat();
    origin.queue([
        chunked(&fields, &whole[..20_000]).then(cut()),
        chunked(&fields, &whole).then(raw("0\r\nx-end: here\r\n\r\n")).then(close()),
    ]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&get(&[("TE", "trailers"), ("Connection", "close, TE")])).await.unwrap();
    let received = client.read_to_end().await.unwrap();
    assert!(
        received.ends_with(b"\r\n0\r\nx-end: here\r\n\r\n"),
        "{:?}",
        String::from_utf8_lossy(&received[received.len() - 40..])
    );
    expect(&proxy, "replayed", "repaired").await;
    finish(proxy, origin).await;
}

/// Each on its own stream: one goes on, to the length that was told and no further, one breaks off and one is given up, and the connection
/// stays.
#[tokio::test(flavor = "multi_thread")]
async fn over_http_2_a_download_breaks_off_alone() {
    let (all, whole) = (content(60_000), content(50_000));
    let mut changed = whole.to_vec();
    changed[0] ^= 1;
    // The hint makes one request wait, and must not hold up the next.
    let (origin, proxy) = start(|it| streaming(it).set("retry.throttle.hint_max", "1ms")).await;
    let tunnel = Tunnel::open(proxy.address(), &format!("{HOST}:443"), None).await;
    let client = tunnel.tls(proxy.ca_pem(), HOST, &["h2"]).await.unwrap();
    let io = TokioIo::new(client.into_stream());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let part = || partial(200, VOUCHED, 50_000, &whole[..20_000]).then(cut());
    origin.queue([
        part(),
        respond(200, OTHER_TAG, &all),
        part(),
        respond(200, OTHER_TAG, changed),
        part(),
        error(429, "TooManyRequests", &[("Retry-After", "40")]),
        respond(200, VOUCHED, &whole[..2_000]),
    ]);
    let mut get = async || {
        let target = format!("https://{HOST}/jobs/j/tasks/t/files/f");
        let request = http::Request::get(target).body(Empty::<Bytes>::new()).unwrap();
        guard("an answer over HTTP/2", sender.send_request(request)).await.unwrap()
    };
    assert!(guard("what grew", get().await.collect()).await.unwrap().to_bytes() == whole);
    assert!(guard("what changed", get().await.collect()).await.is_err());
    let left = get().await;
    proxy.until("batch_retry_proxy_throttled_responses_total", &[]).await;
    drop(left);
    proxy.until("batch_retry_proxy_requests_total", &[("fate", "client_gone")]).await;
    assert_eq!(guard("what is small", get().await.collect()).await.unwrap().to_bytes(), whole[..2_000]);
    for (fate, count) in [("replayed", 1.0), ("broken", 1.0), ("client_gone", 1.0), ("first_try", 1.0)] {
        proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", fate)], count).await;
    }
    drop(sender);
    guard("the end of the connection", connection).await.unwrap().unwrap();
    finish(proxy, origin).await;
}

/// Nothing of it is in a log but what a person needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_repair_and_its_failure_are_one_line_each() {
    let whole = content(50_000);
    let (origin, mut program, _directory) = behind_proxy_with(&["--set", "retry.response_buffer=1KiB"]).await;
    origin.queue([partial(200, VOUCHED, whole.len(), &whole[..20_000]).then(cut()), error(404, "FileNotFound", &[])]);
    let tunnel = Tunnel::open(program.proxy, &format!("{HOST}:443"), None).await;
    let mut client = tunnel.tls(&program.fetch("/ca.pem").await, HOST, &[]).await.unwrap();
    let target = "/jobs/j/tasks/t/files/f?sig=c2VjcmV0";
    assert!(!client.request(&request("GET", target, HOST, &[("client-request-id", "mine")], "")).await.complete);
    for (words, level, fields) in [
        ("\"continuing a download\"", "INFO", [("attempt", "1"), ("cause", "\"truncated\"")]),
        ("broken off\"", "WARN", [("attempts", "2"), ("cause", "\"404 FileNotFound\"")]),
    ] {
        let line: serde_json::Value = serde_json::from_str(&program.line(words).await).unwrap();
        assert_eq!(line["level"], level, "{line}");
        assert_eq!((&line["operation"], &line["account"]), (&"Tasks_GetTaskFile".into(), &"testacct.westeurope".into()));
        assert_eq!((&line["delivered_bytes"], &line["client_request_id"]), (&20_000.into(), &"mine".into()), "{line}");
        for (key, value) in fields {
            assert_eq!(line[key].to_string(), value, "{line}");
        }
    }
    assert_eq!(program.stderr().matches("a download").count(), 2);
    assert!(!program.stderr().contains("c2VjcmV0"));
    origin.finish().await;
}

/// A download under way whose first answer broke off and was seen to.
async fn broken_download(origin: &Origin, proxy: &TestProxy, fields: &[(&str, &str)]) -> Client {
    origin.queue([partial(200, VOUCHED, 50_000, &content(50_000)[..20_000]).then(cut())]);
    let mut client = proxy.client(HOST).await;
    client.send_raw(&get(fields)).await.unwrap();
    proxy.until("batch_retry_proxy_upstream_errors_total", &[("failure", "truncated")]).await;
    client
}

async fn expect(proxy: &TestProxy, fate: &str, result: &str) {
    proxy.wait_for_metric("batch_retry_proxy_requests_total", &[("fate", fate)], 1.0).await;
    let metrics = proxy.metrics().await;
    assert_eq!(sum(&metrics, "batch_retry_proxy_requests_total", &[]), 1.0);
    assert_metric(&metrics, "batch_retry_proxy_repaired_downloads_total", &[("result", result)], 1.0);
}

/// Everything streams.
fn streaming(it: Builder) -> Builder {
    it.set("retry.response_buffer", "1KiB")
}

/// Waits that no test sees the end of.
fn slow(it: Builder) -> Builder {
    it.set("retry.backoff.initial", "15s").set("retry.backoff.max", "15s")
}

fn get(fields: &[(&str, &str)]) -> Vec<u8> {
    request("GET", "/jobs/j/tasks/t/files/wd%2Fbig.bin?api-version=2025-06-01", HOST, fields, "")
}

/// One chunk, and no end.
fn chunked(fields: &[(&str, &str)], part: &[u8]) -> Action {
    let size = format!("{:x}\r\n", part.len());
    raw(head(200, &[fields, &[("Transfer-Encoding", "chunked")]].concat()))
        .then(raw([size.as_bytes(), part, b"\r\n"].concat()))
}

fn unframed(body: &[u8]) -> Vec<u8> {
    [head(200, VOUCHED).as_slice(), body].concat()
}

fn now() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}

/// Bytes that repeat nowhere.
fn content(size: usize) -> Bytes {
    (0..size.div_ceil(8) as u64).flat_map(|n| (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).take(size).collect()
}

type Fields = &'static [(&'static str, &'static str)];

const DATE: (&str, &str) = ("Last-Modified", "Mon, 23 Nov 2026 03:40:00 GMT");
const TAG: (&str, &str) = ("ETag", "\"0x8DE2A3B4C5D6E7F\"");
const VOUCHED: Fields = &[TAG, DATE];
const OTHER_TAG: Fields = &[("ETag", "\"0x8DE2A3B4C5D6E80\""), DATE];
const OTHER_DATE: Fields = &[TAG, ("Last-Modified", "Mon, 23 Nov 2026 03:41:00 GMT")];
const WEAK_TAG: Fields = &[("ETag", "W/\"0x8DE2A3B4C5D6E7F\""), DATE];
const PACKED: Fields = &[TAG, DATE, ("Content-Encoding", "gzip")];
const HTML: Fields = &[TAG, DATE, ("Content-Type", "text/html")];
const NOTHING: Fields = &[];
