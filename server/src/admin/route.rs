//! A route of the admin API: who may call it, what it takes and gives, and the handler. There is no other way to make one, so
//! none can do without a rule, or without its place in the OpenAPI document.

use std::{net::IpAddr, pin::Pin, str::FromStr, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequestParts, RawPathParams, Request, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use bytes::Bytes;
use hyper::{StatusCode, header};
use ks_protocol::{number::in_one_form, reading};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Problem, auth::Caller};
use crate::{
    app::App,
    http::{
        body::{NoBody, collect, only_line, text_of},
        client_address, query,
    },
    role::Access,
    store::{By, Reader},
};

/// Greatest body of whoever has not shown who they are, in bytes: it is held in memory before anything is judged.
const STRANGERS_BYTES_MAX: usize = 4_096;
/// Greatest JSON body, in bytes: a hundred thousand device names.
const JSON_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How a route is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Looks.
    Get,
    /// Acts.
    Post,
    /// Changes a part.
    Patch,
    /// Ends something.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;
type Handler = Arc<dyn Fn(App, Request) -> Answering + Send + Sync>;

/// One route.
#[derive(Clone)]
pub struct Route {
    /// How it is called.
    pub method: Method,
    /// Where, below `/api`; parameters in braces.
    pub path: &'static str,
    /// By whom.
    pub access: Access,
    /// What it does, one sentence.
    pub summary: &'static str,
    /// What it takes, for the OpenAPI document.
    pub takes: fn(&mut SchemaGenerator) -> Takes,
    /// What it gives.
    pub gives: fn(&mut SchemaGenerator) -> Gives,
    handler: Handler,
}

/// What a route takes.
#[derive(Debug, Default)]
pub struct Takes {
    /// Schema of an object whose properties are query parameters.
    pub query: Option<Value>,
    /// Media type and schema of the body.
    pub body: Option<(&'static str, Value)>,
}

/// What a route gives when it succeeds.
#[derive(Debug)]
pub struct Gives {
    /// HTTP status.
    pub status: u16,
    /// Media type and schema of the body.
    pub body: Option<(&'static str, Value)>,
    /// Whether an ETag comes with it, and If-Match may be sent.
    pub has_etag: bool,
}

impl Route {
    /// A route. `handler` is called once the caller is known and allowed, and what was sent is read.
    pub fn new<I: Input, O: Output, F>(
        method: Method,
        path: &'static str,
        access: Access,
        summary: &'static str,
        handler: impl Fn(Call, I) -> F + Send + Sync + Clone + 'static,
    ) -> Self
    where
        F: Future<Output = Result<O, Problem>> + Send,
    {
        let handler: Handler = Arc::new(move |app, request| {
            let handler = handler.clone();
            Box::pin(async move {
                let answered = async {
                    let (call, parts, body) = Call::admit(app, request, access).await?;
                    if !I::TAKES_QUERY {
                        query::read::<NoFields>(&parts.uri).map_err(Problem::bad_request)?;
                    }
                    let input = I::read(&call, &parts, body).await?;
                    handler(call, input).await
                };
                answered.await.map_or_else(IntoResponse::into_response, Output::into_response)
            })
        });
        Self { method, path, access, summary, takes: I::describe, gives: O::describe, handler }
    }

    /// As axum takes it.
    pub fn service(&self) -> MethodRouter<App> {
        let handler = Arc::clone(&self.handler);
        on(self.method.filter(), move |State(app): State<App>, request: Request| handler(app, request))
    }
}

/// One call of a route by somebody who may.
pub struct Call {
    /// The server's state.
    pub app: App,
    /// Who calls; on a route for everybody, whoever it is.
    pub caller: Caller,
    /// From where.
    pub address: IpAddr,
    /// Questions to the store, one at a time.
    pub reader: Reader,
    parameters: Vec<(String, String)>,
    if_match: Option<String>,
}

impl Call {
    async fn admit(
        app: App,
        request: Request,
        access: Access,
    ) -> Result<(Self, hyper::http::request::Parts, Body), Problem> {
        let (mut parts, body) = request.into_parts();
        let address = client_address(&app, &parts.extensions, &parts.headers);
        let caller = match access {
            Access::Everybody => Caller::anybody(),
            Access::Roles(_) => {
                let caller = Caller::of(&app, &parts.method, &parts.headers, address).await?;
                if !access.allows(caller.role) {
                    return Err(Problem::forbidden(format!(
                        "{} may not do this: it takes the role {}",
                        caller.told(),
                        access
                    )));
                }
                caller
            }
        };
        let parameters = RawPathParams::from_request_parts(&mut parts, &()).await;
        let parameters = parameters.map_err(|_| Problem::bad_request("the path is not UTF-8"))?;
        let parameters = parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let if_match = text_of(&parts.headers, &header::IF_MATCH).map(str::to_owned);
        let reader = app.admin_reader.in_turn(app.turns.of(&caller.name));
        Ok((Self { app, caller, address, reader, parameters, if_match }, parts, body))
    }

    /// The caller, for the audit.
    pub fn by(&self) -> By {
        By { name: self.caller.name.clone(), address: Some(self.address), at: self.app.clock.now() }
    }

    /// A parameter of the path.
    ///
    /// # Errors
    /// It is not what was expected there.
    pub fn path<T: FromStr>(&self, name: &str) -> Result<T, Problem>
    where
        T::Err: std::fmt::Display,
    {
        let given = self.parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
        given.parse().map_err(|error: T::Err| Problem::bad_request(format!("{name}: {error}")))
    }

    /// A parameter of the path that is a whole number.
    ///
    /// # Errors
    /// It is none, or not in its one form.
    pub fn path_number<T: FromStr + ToString>(&self, name: &str) -> Result<T, Problem> {
        let number = in_one_form(&self.path::<String>(name)?);
        number.ok_or_else(|| Problem::bad_request(format!("{name}: expected a whole number")))
    }

    /// The version that the caller has seen, if it says so.
    ///
    /// # Errors
    /// It is no ETag of this API.
    pub fn if_version(&self) -> Result<Option<u64>, Problem> {
        let Some(given) = self.if_match.as_deref().filter(|given| *given != "*") else { return Ok(None) };
        let digits = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match digits.and_then(in_one_form) {
            Some(version) => Ok(Some(version)),
            None => Err(Problem::bad_request("If-Match: expected the ETag that came with it, such as \"7\"")),
        }
    }
}

/// What a handler takes.
pub trait Input: Sized + Send {
    /// Whether a query string is part of it; elsewhere one is refused, since it was meant to say something.
    const TAKES_QUERY: bool = false;
    /// For the OpenAPI document.
    fn describe(schemas: &mut SchemaGenerator) -> Takes;
    /// Reads it.
    fn read(
        call: &Call,
        parts: &hyper::http::request::Parts,
        body: Body,
    ) -> impl Future<Output = Result<Self, Problem>> + Send;
}

/// Nothing is taken.
pub struct Nothing;

impl Input for Nothing {
    fn describe(_: &mut SchemaGenerator) -> Takes {
        Takes::default()
    }
    async fn read(_: &Call, _: &hyper::http::request::Parts, _: Body) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// The query of a route that takes none.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

/// A query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send> Input for Query<T> {
    const TAKES_QUERY: bool = true;
    fn describe(schemas: &mut SchemaGenerator) -> Takes {
        Takes { query: Some(T::json_schema(schemas).into()), body: None }
    }
    async fn read(_: &Call, parts: &hyper::http::request::Parts, _: Body) -> Result<Self, Problem> {
        query::read(&parts.uri).map(Self).map_err(Problem::bad_request)
    }
}

/// A JSON body.
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send> Input for JsonBody<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Takes {
        Takes { query: None, body: Some(("application/json", schemas.subschema_for::<T>().into())) }
    }
    async fn read(call: &Call, parts: &hyper::http::request::Parts, body: Body) -> Result<Self, Problem> {
        let kind = only_line(&parts.headers, &header::CONTENT_TYPE).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-type: expected one line with application/json",
            ));
        }
        let bytes = read_body(call, body, JSON_BYTES_MAX).await?;
        // The structs that serde derives would take an array of their fields, too.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(Problem::bad_request("expected an object, got an array"));
        }
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let place = error.path().to_string();
            let what = json_fault(error.inner());
            Problem::bad_request(if place == "." { what } else { format!("{place}: {what}") })
        })?;
        json.end().map_err(|error| Problem::bad_request(json_fault(&error)))?;
        Ok(Self(value))
    }
}

/// Why a text is not the JSON that was expected, and where.
fn json_fault(error: &serde_json::Error) -> String {
    let words = error.to_string();
    match words.rsplit_once(" at line ") {
        Some((what, place)) => format!("line {}: {}", place.replace(" column", ", column"), reading::plain(what)),
        None => reading::plain(&words),
    }
}

/// A CSV body of at most so many bytes.
pub struct CsvBody<const BYTES_MAX: usize>(pub Bytes);

impl<const BYTES_MAX: usize> Input for CsvBody<BYTES_MAX> {
    fn describe(_: &mut SchemaGenerator) -> Takes {
        Takes { query: None, body: Some(("text/csv", serde_json::json!({ "type": "string" }))) }
    }
    async fn read(call: &Call, _: &hyper::http::request::Parts, body: Body) -> Result<Self, Problem> {
        read_body(call, body, BYTES_MAX).await.map(Self)
    }
}

/// Bytes of any kind and length, read by the handler as they come.
pub struct Upload(pub Body);

impl Input for Upload {
    fn describe(_: &mut SchemaGenerator) -> Takes {
        let body = serde_json::json!({ "type": "string", "format": "binary" });
        Takes { query: None, body: Some(("application/octet-stream", body)) }
    }
    async fn read(_: &Call, _: &hyper::http::request::Parts, body: Body) -> Result<Self, Problem> {
        Ok(Self(body))
    }
}

async fn read_body(call: &Call, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let bytes_max = if call.caller.role.is_some() { bytes_max } else { bytes_max.min(STRANGERS_BYTES_MAX) };
    collect(body, bytes_max, call.app.config.request_timeout).await.map_err(|why| match why {
        NoBody::TooLarge => {
            let detail = format!("the body is larger than the {bytes_max} bytes that this endpoint takes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        NoBody::Broken => Problem::bad_request("the body did not arrive whole"),
        NoBody::TimedOut => Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
    })
}

/// What a handler gives.
pub trait Output {
    /// For the OpenAPI document.
    fn describe(schemas: &mut SchemaGenerator) -> Gives;
    /// The answer.
    fn into_response(self) -> Response;
}

/// A JSON document.
pub struct Json<T>(pub T);

impl<T: Serialize + JsonSchema> Output for Json<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Gives {
        let body = Some(("application/json", schemas.subschema_for::<T>().into()));
        Gives { status: 200, body, has_etag: false }
    }
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON document that several people may edit, with its version as ETag.
pub struct Versioned<T>(pub u64, pub T);

impl<T: Serialize + JsonSchema> Output for Versioned<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Gives {
        Gives { has_etag: true, ..Json::<T>::describe(schemas) }
    }
    fn into_response(self) -> Response {
        ([(header::ETAG, format!("\"{}\"", self.0))], axum::Json(self.1)).into_response()
    }
}

/// Done, and nothing more to say.
pub struct Done;

impl Output for Done {
    fn describe(_: &mut SchemaGenerator) -> Gives {
        Gives { status: 204, body: None, has_etag: false }
    }
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// A JSON document with a cookie, or the end of one.
pub struct WithCookie<T>(pub String, pub T);

impl<T: Serialize + JsonSchema> Output for WithCookie<T> {
    fn describe(schemas: &mut SchemaGenerator) -> Gives {
        Json::<T>::describe(schemas)
    }
    fn into_response(self) -> Response {
        ([(header::SET_COOKIE, self.0)], axum::Json(self.1)).into_response()
    }
}

/// A page for people.
pub struct Html(pub &'static str);

impl Output for Html {
    fn describe(_: &mut SchemaGenerator) -> Gives {
        Gives { status: 200, body: Some(("text/html", serde_json::json!({ "type": "string" }))), has_etag: false }
    }
    fn into_response(self) -> Response {
        // Everything is in the page itself; it loads nothing from elsewhere.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
        ([(header::CONTENT_SECURITY_POLICY, policy)], axum::response::Html(self.0)).into_response()
    }
}
