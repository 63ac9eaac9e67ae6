//! /api/events: which topics have changed, as server-sent events, so that pages need not ask all the time.
//!
//! An event names topics and holds no data: clients then ask for what they show, with their own rights. Its id is the position of
//! every topic, so that a client that reconnects gets all that it missed as one event, however long it was away, and the server keeps
//! nothing for it. Streams are bounded in number, and in time, after which the client reconnects and is authenticated again.

use std::{
    fmt::{self, Display},
    str::FromStr,
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hyper::header;
use ks_protocol::number::canonical;
use schemars::SchemaGenerator;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{
    Problem,
    page::{Chunks, channel},
    route::{Call, Input, InputSchema, Output, OutputSchema},
};
use crate::{
    app::App,
    http::body::text_of,
    store::{Newest, StoreError},
};

const MEDIA_TYPE: &str = "text/event-stream";
/// How long a stopping server waits for the end of streams at most.
const INTERVAL: Duration = Duration::from_secs(1);
/// Silence after which a comment is sent, so that nothing in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a stream lasts. A revoked session learns of changes no longer than this.
const STREAM_MAX: Duration = Duration::from_mins(1);

const TOPICS: [&str; 5] = ["devices", "commands", "rollouts", "keys", "limits"];

/// How far each topic is, in the order of [`TOPICS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Positions([u64; TOPICS.len()]);

impl From<Newest> for Positions {
    fn from(newest: Newest) -> Self {
        let row = |row: i64| u64::try_from(row).unwrap_or(0);
        let devices = row(newest.device).saturating_add(row(newest.device_change)); // both only grow
        Self([devices, row(newest.command), row(newest.decision), newest.keyset_version, newest.limits_version])
    }
}

impl Positions {
    async fn of(app: &App) -> Result<Self, StoreError> {
        app.reader.ask(|store| store.newest()).await.map(Self::from)
    }

    /// The topics that differ. A position that went back counts too: the database was restored.
    fn changed_since(self, since: Self) -> Vec<&'static str> {
        let positions = self.0.into_iter().zip(since.0);
        TOPICS.into_iter().zip(positions).filter(|(_, (now, before))| now != before).map(|(topic, _)| topic).collect()
    }

    /// The event that brings a client from `since` to here.
    fn event(self, since: Self) -> String {
        format!("id: {self}\nevent: changed\ndata: {}\n\n", json!({ "topics": self.changed_since(since) }))
    }
}

impl Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.map(|position| position.to_string()).join("."))
    }
}

impl FromStr for Positions {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Option<Vec<u64>> = text.split('.').map(canonical).collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).map(Self).ok_or(())
    }
}

/// What a client has seen, and whether it stays connected.
pub struct Following {
    since: Option<Positions>,
    is_live: bool,
}

impl Input for Following {
    fn describe(_: &mut SchemaGenerator) -> InputSchema {
        InputSchema::default()
    }

    async fn read(_: &Call, parts: &hyper::http::request::Parts, _: Body) -> Result<Self, Problem> {
        let since = text_of(&parts.headers, &header::HeaderName::from_static("last-event-id"));
        let since = since.map(str::parse).transpose();
        let since = since.map_err(|()| Problem::bad_request("Last-Event-ID: expected the id of an earlier event"))?;
        let accepted = text_of(&parts.headers, &header::ACCEPT);
        Ok(Self { since, is_live: accepted.is_some_and(|kinds| kinds.contains(MEDIA_TYPE)) })
    }
}

/// Streams changes to clients that accept event streams by name; others get one event and the end.
pub async fn stream(call: Call, following: Following) -> Result<EventStream, Problem> {
    // Before the query: what is newer than its answer is waited for.
    let newest = call.app.newest.subscribe();
    let now = Positions::of(&call.app).await?;
    let first = now.event(following.since.unwrap_or(now));
    if !following.is_live {
        return Ok(EventStream(Body::from(first)));
    }
    let own = call.app.event_stream_turns.of(&call.caller.name).try_acquire_owned();
    let place = call.app.event_streams.clone().try_acquire_owned();
    let (Ok(own), Ok(place)) = (own, place) else { return Err(Problem::overloaded()) };
    let (mut chunks, body) = channel();
    let app = call.app;
    tokio::spawn(async move {
        if chunks.send(first).await {
            follow(&app, newest, now, &mut chunks, [own, place]).await;
        }
    });
    Ok(EventStream(body))
}

/// Sends what changes, until the client has left, the time is over, or the server stops. `_places` are held until then.
async fn follow(
    app: &App,
    mut newest: watch::Receiver<Newest>,
    mut seen: Positions,
    chunks: &mut Chunks,
    _places: [OwnedSemaphorePermit; 2],
) {
    let ends_at = Instant::now() + STREAM_MAX;
    let mut sent_at = Instant::now();
    while Instant::now() < ends_at && !app.event_streams.is_closed() {
        let now = match tokio::time::timeout(INTERVAL, newest.changed()).await {
            Ok(_) => Positions::from(*newest.borrow_and_update()),
            Err(_) => seen,
        };
        let next = if now != seen {
            now.event(seen)
        } else if sent_at.elapsed() >= KEEP_ALIVE {
            ":\n\n".to_owned()
        } else {
            continue;
        };
        if !chunks.send(next).await {
            return;
        }
        (seen, sent_at) = (now, Instant::now());
    }
}

/// A stream of server-sent events.
pub struct EventStream(Body);

impl Output for EventStream {
    fn describe(_: &mut SchemaGenerator) -> OutputSchema {
        OutputSchema { status: 200, body: Some((MEDIA_TYPE, json!({ "type": "string" }))), has_etag: false }
    }

    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, MEDIA_TYPE)], self.0).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_what_differs_and_its_id_is_read_back() {
        let (before, now) = (Positions([3, 0, 7, 1, 9]), Positions([4, 0, 7, 2, 8]));
        assert_eq!(
            now.event(before),
            "id: 4.0.7.2.8\nevent: changed\ndata: {\"topics\":[\"devices\",\"keys\",\"limits\"]}\n\n"
        );
        assert_eq!(now.event(now), "id: 4.0.7.2.8\nevent: changed\ndata: {\"topics\":[]}\n\n");
        assert_eq!(now.to_string().parse(), Ok(now));
        for wrong in ["", "1.2.3.4", "1.2.3.4.5.6", "1.2.3.4.-5", "1.2.3.4.05", "a.b.c.d.e"] {
            assert_eq!(wrong.parse::<Positions>(), Err(()), "{wrong}");
        }
    }
}
