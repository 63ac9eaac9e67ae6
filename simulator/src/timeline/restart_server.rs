//! `do = "restart_server"`: the server stops and starts again.

use std::{rc::Rc, sync::Arc, time::Duration};

use super::{Check, Kind, Step, StepBehavior, StepContext, kind};
use crate::{
    run::outages,
    scenario::{check::value::duration_in, limits, problem::Problems, reader::Reader},
    server_under_test::process::{Restart, StopPoint},
};

/// The server stops and starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartServer {
    /// By `kill -9` instead of gracefully. Always so in a rehearsal.
    pub kill: bool,
    /// How long it is down.
    pub down_for: Duration,
    /// When it stops.
    pub moment: StopPoint,
}

pub(super) const KIND: Kind = kind! {
    "restart_server", "a `restart_server` step", nature, read,
    "The server stops and starts again on the same database. In a rehearsal, a start that fails (a full disk) is retried every 5 s. Not with `--target`.",
    "kill": "`true`, `false`", "`false`", "", "`true`: by `kill -9`; `false`: gracefully. Always `kill -9` in a rehearsal";
    "for": "duration", "`\"0ms\"`", "up to `\"90d\"`", "how long it is down";
    "moment": "word", "`\"now\"`", "`now`, `before_commit`, `after_commit`", "`before_commit`: it crashes just before its next commit, and nothing of that is stored; `after_commit`: just after its next commit, before any answer is sent. Both in rehearsals only";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let kill = table.boolean("kill", problems);
    let down_for = table.duration("for", problems);
    let moment = table.text("moment", problems);
    Box::new(move |judge| {
        let kill = judge.or_default(kill, false);
        let down_for = judge.or_default(down_for, Duration::ZERO);
        let down_for = duration_in("for", down_for, &(Duration::ZERO..=*limits::OUTAGE.end()), judge.problems);
        let moment = judge.word(moment, "moment", &StopPoint::ALL.map(|when| (when.as_str(), when)), StopPoint::Now);
        let (kill, down_for, moment) = (kill?.value, down_for?.value, moment?);
        let is_possible = moment == StopPoint::Now || judge.only_rehearsed();
        is_possible.then_some(Step::RestartServer(RestartServer { kill, down_for, moment }))
    })
}

impl StepBehavior for RestartServer {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let run_context = context.run_context;
        let server = run_context.server.as_ref().ok_or("this run did not start the server, so it can't restart it")?;
        run_context.keep_limits().await;
        let (outages, log, time) = (Arc::clone(&run_context.outages), Rc::clone(&run_context.log), run_context.time);
        let from = time.elapsed();
        let back = Box::new(move || {
            outages.end(outages::Outage { what: KIND.name, site: None, from, to: time.elapsed() });
            log.borrow_mut().event_at_once(time.elapsed(), "server_back", &[]);
        });
        let order = Restart { kill: self.kill, moment: self.moment, down_for: self.down_for, back };
        let restarted = Rc::clone(server).restart(order).await;
        run_context.operator.close(); // its connection was to the stopped server
        run_context.watcher.close();
        restarted
    }

    /// The next commit comes within one heartbeat interval.
    fn fault(&self, beat_interval: Duration) -> Option<Duration> {
        Some(self.down_for + if self.moment == StopPoint::Now { Duration::ZERO } else { beat_interval })
    }
}
