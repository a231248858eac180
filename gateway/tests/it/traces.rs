//! One trace from the front door inward, and what answers tell of the time.

use chassis::Body;
use http::{Method, Request};

use crate::world::{World, as_u1, get};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn traced(parent: &str) -> Request<Body> {
    let request = as_u1(Method::GET, "/api/tasks").header("traceparent", parent).header("tracestate", "a=1");
    request.body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_trace_goes_on_inward_by_a_span_of_ours() {
    let world = World::new().await;
    for h2 in [false, true] {
        let request = traced(&format!("00-{TRACE}-{SPAN}-00"));
        let answer = if h2 { world.send_h2(request).await } else { world.send(request).await };
        assert_eq!(answer.status, 200);
        for seen in [world.verifier.last(), world.service.last()] {
            let parent = seen.one("traceparent").unwrap();
            assert!(parent.starts_with(&format!("00-{TRACE}-")) && parent.ends_with("-00"), "{parent}");
            assert!(!parent.contains(SPAN), "{parent}");
            assert_eq!(seen.one("tracestate"), Some("a=1"));
        }
    }
}

#[tokio::test]
async fn a_trace_begins_where_none_is_clear() {
    let world = World::new().await;
    let mut traces = Vec::new();
    for request in [get("/api/tasks"), traced("00-x"), traced(&format!("ff-{TRACE}-{SPAN}-01"))] {
        assert_eq!(world.send(request).await.status, 200);
        let parents = [world.verifier.last(), world.service.last()];
        let [asked, served] = parents.each_ref().map(|seen| seen.one("traceparent").unwrap());
        assert_eq!(asked, served);
        assert!(asked.len() == 55 && asked.ends_with("-01") && !asked.contains(TRACE), "{asked}");
        assert!(parents.iter().all(|seen| seen.one("tracestate").is_none()));
        traces.push(asked[3..35].to_owned());
    }
    traces.dedup();
    assert_eq!(traces.len(), 3);
}

#[tokio::test]
async fn a_state_that_is_too_long_does_not_go_on() {
    let world = World::new().await;
    for (bytes, passes) in [(512, true), (513, false)] {
        let mut request = traced(&format!("00-{TRACE}-{SPAN}-01"));
        let state = format!("a={}", "x".repeat(bytes - 2));
        request.headers_mut().insert("tracestate", state.parse().unwrap());
        assert_eq!(world.send(request).await.status, 200);
        assert_eq!(world.service.last().one("tracestate").is_some(), passes, "{bytes}");
    }
}

#[tokio::test]
async fn answers_say_where_the_time_went_where_that_is_wanted() {
    assert_eq!(World::new().await.send(get("/api/tasks")).await.one("server-timing"), None);
    let world = World::with(&[("GATEWAY_SERVER_TIMING", "on")]).await;
    let answer = world.send(get("/api/tasks")).await;
    let timing = answer.one("server-timing").unwrap();
    let (verdict, upstream) = timing.split_once(", ").unwrap();
    for (entry, name) in [(verdict, "verdict;dur="), (upstream, "upstream;dur=")] {
        let took: f64 = entry.strip_prefix(name).unwrap().parse().unwrap();
        assert!((0.0..30_000.0).contains(&took), "{timing}");
    }
    assert_eq!(world.send(get("/health")).await.one("server-timing"), None);
}
