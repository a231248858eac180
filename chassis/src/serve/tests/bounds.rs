//! What the bounds are for; that each holds from both sides, the services' own tests say.

use super::*;

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
