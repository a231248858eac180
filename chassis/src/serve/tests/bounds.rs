//! What the bounds are for; that each holds from both sides, the services' own tests say.

use super::{h2::Client, *};

#[tokio::test]
async fn a_head_with_as_many_fields_as_can_be_set_is_read() {
    let settings = ServerSettings { head_fields: 4096, head_bytes: 1_048_576, ..settings() };
    let (address, _stop, _end) =
        serving(
            settings,
            |request| async move { Response::new(Body::from(request.headers().len().to_string())) },
        )
        .await;
    for (fields, want) in [(4095, "4096"), (4096, "")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let many: Vec<_> = (0..fields).map(|field| format!("x{field}: y\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nconnection: close\r\n{}\r\n", many.concat());
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = String::from_utf8_lossy(&closed(&mut stream).await).into_owned();
        assert!(answer.ends_with(want), "{answer}");
        assert_eq!(want.is_empty(), answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
}

#[tokio::test]
async fn who_takes_back_more_streams_than_are_allowed_is_closed_and_nobody_else() {
    for (count, allowed, closed) in [(20, 20, false), (21, 20, true), (100, 1000, false)] {
        let settings = ServerSettings { resets_max: allowed, ..settings() };
        let (address, ..) = serving(settings, |_| async { Response::new(Body::from("done")) }).await;
        let mut client = Client::connect(address, 65_535).await;
        client.rapid_reset((0..count).map(|n| 2 * n + 1)).await;
        if closed {
            assert!(client.closed().await, "{count} of {allowed}: it is told to go");
        } else {
            client.get(2 * count + 1).await;
            assert_eq!(client.body(2 * count + 1).await, Some(4), "{count} of {allowed}");
        }
    }
}
