//! Verdicts over gRPC: Envoy's `ext_authz`, `envoy.service.auth.v3.Authorization/Check`.
//!
//! Whatever can be read is answered with a verdict, one of 503 too. A call that fails would leave it to Envoy's
//! `failure_mode_allow` whether the request passes.

pub mod message;

use std::{sync::Arc, time::Duration};

use chassis::{
    Body,
    layer::{
        access_log::AccessLogged,
        problem::{MediaType, Problem, Rim},
        request_id::{self, Assign, RequestId},
    },
    serve::{HttpService, trusted_proxies::FORWARDED_FOR},
    telemetry::traces,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, Full, Limited};
use tokio::time::timeout;
use tonic::{Code, Status, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;
use tracing::{Instrument, Span, info_span, warn};

use self::message::{
    CheckRequest, CheckResponse, DeniedHttpResponse, HeaderValueOption, HttpRequest, HttpResponse,
    HttpStatus, OVERWRITE_IF_EXISTS_OR_ADD, OkHttpResponse,
};
use crate::{
    transport::answer,
    verdict::{Caller, Verifier},
};

/// The largest check that is read, in bytes: the head of a request with room to spare. Bodies are not asked for.
pub const CHECK_BYTES_MAX: usize = 256 * 1024;

/// How long a check may take to arrive.
const CHECK_WAIT: Duration = Duration::from_secs(5);

/// The one method that is answered.
pub const CHECK_PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The headers that say who is calling; of the others only the client's address is looked at.
const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, header::COOKIE];

/// The whole stack.
pub fn stack(verifier: Arc<Verifier>, errors_as: MediaType) -> impl HttpService {
    Assign(AccessLogged::new(Rim(Check { verifier, errors_as }, errors_as)))
}

struct Check {
    verifier: Arc<Verifier>,
    errors_as: MediaType,
}

impl HttpService for Check {
    async fn call(&self, request: Request<Body>) -> Response<Body> {
        // Boxed, or the compiler gives up on the depth of the types.
        Box::pin(self.answer(request)).await
    }
}

impl Check {
    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        if !is_grpc(&request) {
            // gRPC's own refusals are answers of 200, which a proxy that asks over HTTP would take for a verdict.
            return Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-grpc",
                "only gRPC is spoken here; /verify is on auth-verifier's other port",
            )
            .response();
        }
        if request.uri().path() != CHECK_PATH {
            return Status::unimplemented("only envoy.service.auth.v3.Authorization/Check is answered here")
                .into_http();
        }
        traces::route(CHECK_PATH);
        let id = request.extensions().get::<RequestId>().cloned().unwrap_or_else(RequestId::make);
        let (head, body) = request.into_parts();
        let body = match timeout(CHECK_WAIT, Limited::new(body, CHECK_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            // Or its sender is gone, and hears nothing anyway.
            Ok(Err(_)) => return Status::resource_exhausted("the check is too large").into_http(),
            Err(_) => return Status::deadline_exceeded("the check did not arrive in time").into_http(),
        };
        let judge = service_fn(|check: tonic::Request<CheckRequest>| async {
            Ok(tonic::Response::new(self.answered(check.into_inner(), &id).await))
        });
        let mut grpc = Grpc::new(ProstCodec::default());
        grpc.unary(judge, Request::from_parts(head, Full::new(body))).await.map(Body::new)
    }

    /// `call` is the id of the call itself, for a request that has none of its own.
    async fn answered(&self, check: CheckRequest, call: &RequestId) -> CheckResponse {
        let http =
            check.attributes.and_then(|attributes| attributes.request).and_then(|request| request.http);
        let id = http.as_ref().and_then(HttpRequest::id).unwrap_or_else(|| call.clone());
        let errors_as = http
            .as_ref()
            .map_or(self.errors_as, |http| self.errors_as.for_client(http.values(header::ACCEPT)));
        let Some(headers) = http.and_then(|http| http.credentials()) else {
            warn!("a check without a request of HTTP that can be read; is this Envoy's filter for HTTP?");
            let detail = "the proxy did not say who is asking in a way that can be read";
            return denied(Problem::new(StatusCode::BAD_REQUEST, "unreadable-check", detail), &id, errors_as);
        };
        // What the log says of this request can be found by the id that its client was told.
        let span = if id == *call { Span::none() } else { info_span!("check", request_id = id.as_str()) };
        match answer::to(self.verifier.verify(&headers).instrument(span).await) {
            Ok(caller) => known(caller),
            Err(problem) => denied(problem, &id, errors_as),
        }
    }
}

fn is_grpc(request: &Request<Body>) -> bool {
    let content = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    request.version() == Version::HTTP_2
        && request.method() == Method::POST
        && content.starts_with(b"application/grpc")
}

impl HttpRequest {
    /// Every value of a header, in whichever form it came. Two that should be one are two.
    fn values(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        let raw = self.header_map.iter().flat_map(|map| &map.headers);
        let headers = self.headers.iter().chain(raw);
        headers.filter(move |header| header.key.eq_ignore_ascii_case(name.as_str())).flat_map(|header| {
            let raw = Some(&*header.raw_value).filter(|raw| !raw.is_empty());
            let text = Some(&*header.value).filter(|text| raw.is_none() || !text.is_empty());
            text.into_iter().chain(raw)
        })
    }

    /// What it says of who is calling; `None` if that can't stand in a header, so that it came from no client.
    fn credentials(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        for name in CREDENTIALS {
            for value in self.values(name.clone()) {
                headers.append(&name, HeaderValue::from_bytes(value).ok()?);
            }
        }
        // A hint, which may be missing.
        for client in self.values(FORWARDED_FOR).filter_map(|value| HeaderValue::from_bytes(value).ok()) {
            headers.append(FORWARDED_FOR, client);
        }
        Some(headers)
    }

    fn id(&self) -> Option<RequestId> {
        let mut given = self.values(request_id::HEADER);
        match (given.next(), given.next()) {
            (Some(one), None) => RequestId::parse(one),
            _ => None,
        }
    }
}

/// The request passes, with our word on who is calling in place of the client's.
///
/// Envoy puts headers on before it takes others off, so one that stood in both lists would be gone. Credentials stay:
/// which of them the application may see is for Envoy's own file to say.
fn known(caller: Caller) -> CheckResponse {
    let headers = answer::identity(caller);
    let unknown = identity::ALL.into_iter().filter(|name| !headers.contains_key(name));
    let known = OkHttpResponse {
        headers_to_remove: unknown.map(|name| name.as_str().to_owned()).collect(),
        headers: options(&headers),
    };
    response(Code::Ok, HttpResponse::Ok(known))
}

/// The request doesn't pass, and the client gets the answer that it would get over HTTP.
fn denied(problem: Problem, id: &RequestId, errors_as: MediaType) -> CheckResponse {
    let (head, body) = problem.write(Some(id), errors_as).into_parts();
    let code = match head.status {
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::PermissionDenied,
    };
    let status = Some(HttpStatus { code: head.status.as_u16().into() });
    response(code, HttpResponse::Denied(DeniedHttpResponse { status, headers: options(&head.headers), body }))
}

fn response(code: Code, http: HttpResponse) -> CheckResponse {
    CheckResponse { status: Some(message::Status { code: code.into() }), http_response: Some(http) }
}

fn options(headers: &HeaderMap) -> Vec<HeaderValueOption> {
    let option = |(name, value): (&HeaderName, &HeaderValue)| HeaderValueOption {
        header: Some(message::HeaderValue {
            key: name.as_str().to_owned(),
            value: value.as_bytes().to_vec(),
            raw_value: Vec::new(),
        }),
        append_action: OVERWRITE_IF_EXISTS_OR_ADD,
    };
    headers.iter().map(option).collect()
}
