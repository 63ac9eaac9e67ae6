//! The OpenAPI 3.1 document, generated from the route list and its input and output types; and a page to browse it.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::{
    Problem,
    problem::ProblemDocument,
    route::{Call, Html, InputSchema, Json, NoInput, OutputSchema, Route},
    routes,
};
use crate::role::Access;

#[derive(serde::Serialize)]
#[serde(transparent)]
pub struct Document(Value);

impl JsonSchema for Document {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OpenApiDocument".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "description": "An OpenAPI 3.1 document", "required": ["openapi", "paths"] })
    }
}

pub async fn document(_: Call, _: NoInput) -> Result<Json<Document>, Problem> {
    Ok(Json(Document(generate(&routes()))))
}

pub async fn page(_: Call, _: NoInput) -> Result<Html, Problem> {
    Ok(Html(include_str!("docs.html")))
}

/// Generates the document for `routes`.
pub fn generate(routes: &[Route]) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let problem: Value = schemas.subschema_for::<ProblemDocument>().into();
    let mut paths = Map::new();
    for route in routes {
        let (input, output) = ((route.input)(&mut schemas), (route.output)(&mut schemas));
        let path = paths.entry(format!("/api{}", route.path)).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_lowercase(), operation(route, input, &output, &problem));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "KS Attendance fleet API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "API for operators and scripts. Times are RFC 3339 in UTC. Lists are paginated: pass `next_cursor` of a page as `cursor` of the next. Errors are problem+json (RFC 9457).",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "A token from `ks-server admin token create`, or the server's ADMIN_TOKEN" },
                "session": { "type": "apiKey", "in": "cookie", "name": super::auth::COOKIE, "description": "POST /api/login" },
            },
        },
    })
}

fn operation(route: &Route, input: InputSchema, output: &OutputSchema, problem: &Value) -> Value {
    let mut responses = Map::new();
    responses.insert(output.status.to_string(), success(output));
    let failure =
        |text: &str| json!({ "description": text, "content": { "application/problem+json": { "schema": problem } } });
    responses.insert("4XX".to_owned(), failure("The request was refused; `detail` says why"));
    responses.insert("503".to_owned(), failure("The server is overloaded; retry later"));
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.path.split('/').nth(1).unwrap_or_default()],
        "parameters": parameters(route, input.query, output.has_etag),
        "responses": responses,
        "x-roles": route.access.to_string(),
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    let security =
        if route.access == Access::Everybody { json!([]) } else { json!([{ "token": [] }, { "session": [] }]) };
    fields.insert("security".to_owned(), security);
    if let Some((kind, schema)) = input.body {
        fields.insert("requestBody".to_owned(), json!({ "required": true, "content": { kind: { "schema": schema } } }));
    }
    operation
}

fn success(output: &OutputSchema) -> Value {
    let mut response = json!({ "description": "Success" });
    let Some(fields) = response.as_object_mut() else { return response };
    if let Some((kind, schema)) = &output.body {
        fields.insert("content".to_owned(), json!({ *kind: { "schema": schema } }));
    }
    if output.has_etag {
        let etag =
            json!({ "description": "Version of the resource", "schema": { "type": "string" }, "required": true });
        fields.insert("headers".to_owned(), json!({ "ETag": etag }));
    }
    response
}

fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '-', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(['{', '}']));
    [route.method.as_str().to_lowercase().as_str()].into_iter().chain(words).collect::<Vec<_>>().join("_")
}

fn parameters(route: &Route, query: Option<Value>, accepts_etag: bool) -> Vec<Value> {
    let in_path = route.path.split('/').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| {
            let schema = match name {
                "row" => json!({ "type": "integer", "format": "int64" }),
                "name" => json!({ "type": "string", "pattern": "^[A-Za-z0-9._@-]{1,64}$" }),
                _ => json!({ "type": "string", "pattern": "^[A-Za-z][A-Za-z0-9._-]{0,63}$" }),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect();
    let query = query.unwrap_or_default();
    let required: Vec<&str> =
        query.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, schema) in query.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let is_required = required.contains(&name.as_str());
        parameters.push(json!({ "name": name, "in": "query", "required": is_required, "schema": in_query(schema) }));
    }
    if accepts_etag && route.method != super::route::Method::Get {
        let text = "ETag from an earlier response; the request is refused with 412 if the resource has changed since";
        let schema = json!({ "type": "string", "pattern": "^(\"[0-9]{1,18}\"|\\*)$" });
        parameters.push(
            json!({ "name": "If-Match", "in": "header", "required": false, "description": text, "schema": schema }),
        );
    }
    parameters
}

/// Schema of a query parameter: optional means omitted, not null.
fn in_query(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let Some(fields) = schema.as_object_mut() else { return schema };
    if let Some(Value::Array(kinds)) = fields.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = kinds.as_slice() {
            let kind = kind.clone();
            fields.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(choices)) = fields.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
    }
    schema
}
