//! A route of the admin API: its access rule, the types of its input and output, and the handler. [`Route::new`] is the only way to
//! make one, so no route lacks an access rule or its entry in the OpenAPI document.

use std::{net::IpAddr, pin::Pin, str::FromStr, sync::Arc};

use axum::{
    body::Body,
    extract::{FromRequestParts, RawPathParams, Request, State},
    response::{IntoResponse, Response},
    routing::{MethodFilter, MethodRouter, on},
};
use bytes::Bytes;
use hyper::{StatusCode, header};
use ks_protocol::{number::canonical, reading};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Problem, auth::Caller};
use crate::{
    app::App,
    config::utf8,
    http::{
        body::{BodyError, collect, only_line, text_of},
        client_address, query,
    },
    role::Access,
    store::{Actor, Reader},
};

/// Limit of an unauthenticated caller's body, in bytes: it is buffered before it is checked.
const ANONYMOUS_BYTES_MAX: usize = 4_096;
/// Limit of a JSON body, in bytes: room for a hundred thousand device ids.
const JSON_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The HTTP methods that routes use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

type ResponseFuture = Pin<Box<dyn Future<Output = Response> + Send>>;
type Handler = Arc<dyn Fn(App, Request) -> ResponseFuture + Send + Sync>;

#[derive(Clone)]
pub struct Route {
    pub method: Method,
    /// Path below `/api`, with parameters in braces.
    pub path: &'static str,
    pub access: Access,
    /// One phrase for the OpenAPI document and the route list.
    pub summary: &'static str,
    /// Describes the input for the OpenAPI document.
    pub input: fn(&mut SchemaGenerator) -> InputSchema,
    /// Describes the output for the OpenAPI document.
    pub output: fn(&mut SchemaGenerator) -> OutputSchema,
    handler: Handler,
}

#[derive(Debug, Default)]
pub struct InputSchema {
    /// Schema of an object whose properties are the query parameters.
    pub query: Option<Value>,
    /// Media type and schema of the body.
    pub body: Option<(&'static str, Value)>,
}

/// A route's response on success.
#[derive(Debug)]
pub struct OutputSchema {
    pub status: u16,
    /// Media type and schema of the body.
    pub body: Option<(&'static str, Value)>,
    /// Whether the response has an ETag; a PATCH then accepts If-Match.
    pub has_etag: bool,
}

impl Route {
    /// `handler` runs after the caller is authenticated and authorized and the input is parsed.
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
                let result = async {
                    let (call, parts, body) = Call::admit(app, request, access).await?;
                    if !I::ACCEPTS_QUERY {
                        query::read::<NoFields>(&parts.uri).map_err(Problem::bad_request)?;
                    }
                    let input = I::read(&call, &parts, body).await?;
                    handler(call, input).await
                };
                result.await.map_or_else(IntoResponse::into_response, Output::into_response)
            })
        });
        Self { method, path, access, summary, input: I::describe, output: O::describe, handler }
    }

    pub fn service(&self) -> MethodRouter<App> {
        let handler = Arc::clone(&self.handler);
        on(self.method.filter(), move |State(app): State<App>, request: Request| handler(app, request))
    }
}

/// A request from an authorized caller.
pub struct Call {
    pub app: App,
    /// Anonymous on a public route.
    pub caller: Caller,
    /// The client's address, behind any trusted proxy.
    pub address: IpAddr,
    /// Store reader that queues this caller's queries one at a time.
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
            Access::Everybody => Caller::anonymous(),
            Access::Roles(_) => {
                let caller = Caller::of(&app, &parts.method, &parts.headers, address).await?;
                if !access.allows(caller.role) {
                    return Err(Problem::forbidden(format!("{caller}: requires role {access}")));
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

    /// The caller as the actor of a change, for the audit.
    pub fn by(&self) -> Actor {
        Actor { name: self.caller.name.clone(), address: Some(self.address), at: self.app.clock.now() }
    }

    /// A path parameter.
    ///
    /// # Errors
    /// It does not parse.
    pub fn path<T: FromStr>(&self, name: &str) -> Result<T, Problem>
    where
        T::Err: std::fmt::Display,
    {
        let given = self.parameters.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
        given.parse().map_err(|error: T::Err| Problem::bad_request(format!("{name}: {error}")))
    }

    /// A path parameter that is an integer.
    ///
    /// # Errors
    /// It is not an integer in canonical form.
    pub fn path_number<T: FromStr + ToString>(&self, name: &str) -> Result<T, Problem> {
        let number = canonical(&self.path::<String>(name)?);
        number.ok_or_else(|| Problem::bad_request(format!("{name}: expected a whole number")))
    }

    /// The version in If-Match, if it was sent.
    ///
    /// # Errors
    /// It is not an ETag of this API.
    pub fn if_version(&self) -> Result<Option<u64>, Problem> {
        let Some(given) = self.if_match.as_deref().filter(|given| *given != "*") else { return Ok(None) };
        let digits = given.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        match digits.and_then(canonical) {
            Some(version) => Ok(Some(version)),
            None => Err(Problem::bad_request("If-Match: expected an ETag from an earlier response, such as \"7\"")),
        }
    }
}

impl Call {
    /// The version in If-Match, which must be sent; none if it is `*`, any version.
    ///
    /// # Errors
    /// It is missing, or not an ETag of this API.
    pub fn required_version(&self) -> Result<Option<u64>, Problem> {
        if self.if_match.is_none() {
            let detail =
                "send If-Match with the ETag of GET, so that no other change is overwritten, or * for any version";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, detail));
        }
        self.if_version()
    }
}

/// What a handler takes from a request; it parses itself, and describes itself in the OpenAPI document.
pub trait Input: Sized + Send {
    /// Whether it reads the query string. If not, a request with one is refused rather than ignored: the caller meant something by it.
    const ACCEPTS_QUERY: bool = false;
    fn describe(schemas: &mut SchemaGenerator) -> InputSchema;
    fn read(
        call: &Call,
        parts: &hyper::http::request::Parts,
        body: Body,
    ) -> impl Future<Output = Result<Self, Problem>> + Send;
}

pub struct NoInput;

impl Input for NoInput {
    fn describe(_: &mut SchemaGenerator) -> InputSchema {
        InputSchema::default()
    }
    async fn read(_: &Call, _: &hyper::http::request::Parts, _: Body) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// The query of a route without parameters.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoFields {}

pub struct Query<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send> Input for Query<T> {
    const ACCEPTS_QUERY: bool = true;
    fn describe(schemas: &mut SchemaGenerator) -> InputSchema {
        InputSchema { query: Some(T::json_schema(schemas).into()), body: None }
    }
    async fn read(_: &Call, parts: &hyper::http::request::Parts, _: Body) -> Result<Self, Problem> {
        query::read(&parts.uri).map(Self).map_err(Problem::bad_request)
    }
}

pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + Send> Input for JsonBody<T> {
    fn describe(schemas: &mut SchemaGenerator) -> InputSchema {
        InputSchema { query: None, body: Some(("application/json", schemas.subschema_for::<T>().into())) }
    }
    async fn read(call: &Call, parts: &hyper::http::request::Parts, body: Body) -> Result<Self, Problem> {
        check_media_type(parts, "application/json")?;
        let bytes = read_body(call, body, JSON_BYTES_MAX).await?;
        // Structs derived by serde would also accept an array of their fields.
        if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(Problem::bad_request("expected an object, got an array"));
        }
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let place = error.path().to_string();
            let what = json_error_text(error.inner());
            Problem::bad_request(if place == "." { what } else { format!("{place}: {what}") })
        })?;
        json.end().map_err(|error| Problem::bad_request(json_error_text(&error)))?;
        Ok(Self(value))
    }
}

/// Refuses a body that says it is something else, or nothing.
fn check_media_type(parts: &hyper::http::request::Parts, expected: &str) -> Result<(), Problem> {
    let kind = only_line(&parts.headers, &header::CONTENT_TYPE).unwrap_or_default();
    if kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(expected)) {
        return Ok(());
    }
    let what = format!("content-type: expected one line with {expected}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what))
}

/// Why JSON was refused, and where.
fn json_error_text(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((what, place)) => format!("line {}: {}", place.replace(" column", ", column"), reading::plain(what)),
        None => reading::plain(&text),
    }
}

/// A CSV body of at most `BYTES_MAX` bytes.
pub struct CsvBody<const BYTES_MAX: usize>(pub Bytes);

impl<const BYTES_MAX: usize> Input for CsvBody<BYTES_MAX> {
    fn describe(_: &mut SchemaGenerator) -> InputSchema {
        InputSchema { query: None, body: Some(("text/csv", serde_json::json!({ "type": "string" }))) }
    }
    async fn read(call: &Call, _: &hyper::http::request::Parts, body: Body) -> Result<Self, Problem> {
        read_body(call, body, BYTES_MAX).await.map(Self)
    }
}

/// A TOML body of at most `BYTES_MAX` bytes.
pub struct TomlBody<const BYTES_MAX: usize>(pub String);

impl<const BYTES_MAX: usize> Input for TomlBody<BYTES_MAX> {
    fn describe(_: &mut SchemaGenerator) -> InputSchema {
        InputSchema { query: None, body: Some(("application/toml", serde_json::json!({ "type": "string" }))) }
    }
    async fn read(call: &Call, parts: &hyper::http::request::Parts, body: Body) -> Result<Self, Problem> {
        check_media_type(parts, "application/toml")?;
        let bytes = read_body(call, body, BYTES_MAX).await?;
        let not_text = |line| Problem::bad_request(format!("line {line}: the body is not UTF-8"));
        Ok(Self(utf8(bytes.into()).map_err(not_text)?))
    }
}

/// A binary body of any length, which the handler streams.
pub struct Upload(pub Body);

impl Input for Upload {
    fn describe(_: &mut SchemaGenerator) -> InputSchema {
        let body = serde_json::json!({ "type": "string", "format": "binary" });
        InputSchema { query: None, body: Some(("application/octet-stream", body)) }
    }
    async fn read(_: &Call, _: &hyper::http::request::Parts, body: Body) -> Result<Self, Problem> {
        Ok(Self(body))
    }
}

async fn read_body(call: &Call, body: Body, bytes_max: usize) -> Result<Bytes, Problem> {
    let bytes_max = if call.caller.role.is_some() { bytes_max } else { bytes_max.min(ANONYMOUS_BYTES_MAX) };
    collect(body, bytes_max, call.app.config.request_timeout).await.map_err(|why| match why {
        BodyError::TooLarge => {
            let detail = format!("the body is larger than this endpoint's limit of {bytes_max} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        }
        BodyError::Broken => Problem::bad_request("the body is incomplete"),
        BodyError::TimedOut => Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
    })
}

/// What a handler answers: it writes itself, and describes itself in the OpenAPI document.
pub trait Output {
    fn describe(schemas: &mut SchemaGenerator) -> OutputSchema;
    fn into_response(self) -> Response;
}

pub struct Json<T>(pub T);

impl<T: Serialize + JsonSchema> Output for Json<T> {
    fn describe(schemas: &mut SchemaGenerator) -> OutputSchema {
        let body = Some(("application/json", schemas.subschema_for::<T>().into()));
        OutputSchema { status: 200, body, has_etag: false }
    }
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// A JSON document that several users may edit, with its version as ETag.
pub struct Versioned<T>(pub u64, pub T);

impl<T: Serialize + JsonSchema> Output for Versioned<T> {
    fn describe(schemas: &mut SchemaGenerator) -> OutputSchema {
        OutputSchema { has_etag: true, ..Json::<T>::describe(schemas) }
    }
    fn into_response(self) -> Response {
        ([(header::ETAG, format!("\"{}\"", self.0))], axum::Json(self.1)).into_response()
    }
}

/// 204: done, no body.
pub struct NoContent;

impl Output for NoContent {
    fn describe(_: &mut SchemaGenerator) -> OutputSchema {
        OutputSchema { status: 204, body: None, has_etag: false }
    }
    fn into_response(self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

/// A JSON document with a Set-Cookie header.
pub struct WithCookie<T>(pub String, pub T);

impl<T: Serialize + JsonSchema> Output for WithCookie<T> {
    fn describe(schemas: &mut SchemaGenerator) -> OutputSchema {
        Json::<T>::describe(schemas)
    }
    fn into_response(self) -> Response {
        ([(header::SET_COOKIE, self.0)], axum::Json(self.1)).into_response()
    }
}

/// A TOML document.
pub struct Toml(pub String);

impl Output for Toml {
    fn describe(_: &mut SchemaGenerator) -> OutputSchema {
        let body = Some(("application/toml", serde_json::json!({ "type": "string" })));
        OutputSchema { status: 200, body, has_etag: false }
    }
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/toml")], self.0).into_response()
    }
}

pub struct Html(pub &'static str);

impl Output for Html {
    fn describe(_: &mut SchemaGenerator) -> OutputSchema {
        OutputSchema {
            status: 200,
            body: Some(("text/html", serde_json::json!({ "type": "string" }))),
            has_etag: false,
        }
    }
    fn into_response(self) -> Response {
        // The page is self-contained; it loads only the OpenAPI document.
        let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; frame-ancestors 'none'";
        ([(header::CONTENT_SECURITY_POLICY, policy)], axum::response::Html(self.0)).into_response()
    }
}
