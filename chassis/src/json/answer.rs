//! An answer in JSON. axum's own stands behind a feature that switches `serde_json`'s `raw_value` on for everybody.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tracing::error;

use crate::layer::problem::Problem;

/// What is answered, as JSON.
pub struct Answer<T>(pub T);

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(json) => {
                let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                ([kind], Body::from(json)).into_response()
            }
            Err(error) => {
                error!(%error, "an answer could not be written as JSON and was 500 instead: a bug of ours, please report it");
                let detail = "something went wrong on our side; it has been noted";
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde::{Serializer, ser::Error};

    use super::*;

    #[tokio::test]
    async fn what_is_answered_is_json() {
        let (parts, body) = Answer([1, 2]).into_response().into_parts();
        assert_eq!(
            (parts.status.as_u16(), &parts.headers[header::CONTENT_TYPE]),
            (200, &"application/json".parse().unwrap())
        );
        assert_eq!(body.collect().await.unwrap().to_bytes(), "[1,2]");
    }

    #[test]
    fn what_can_not_be_written_is_a_problem() {
        struct Unwritable;
        impl Serialize for Unwritable {
            fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(S::Error::custom("no"))
            }
        }
        let problem = Answer(Unwritable).into_response().extensions_mut().remove::<Problem>();
        assert_eq!(problem.unwrap().status(), 500);
    }
}
