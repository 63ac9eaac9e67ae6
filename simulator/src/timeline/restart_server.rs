//! `do = "restart_server"`: the server stops and starts again.

use std::{rc::Rc, time::Duration};

use super::{Act, Check, Kind, Scene, Step, kind};
use crate::{
    scenario::{check::value::duration_in, limits, problem::Problems, reader::Reader},
    server_process::StopPoint,
};

/// The server stops and starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartServer {
    /// By `kill -9`, not in peace. In a rehearsal it always is.
    pub kill: bool,
    /// Until it starts again.
    pub down_for: Duration,
    /// When it stops.
    pub moment: StopPoint,
}

pub(super) const KIND: Kind = kind! {
    "restart_server", "a `restart_server` step", nature, read,
    "The server stops and starts again on the same database. What does not come up (its disk is full) is started again every 5 s in a rehearsal. Not with `--target`.",
    "kill": "`true`, `false`", "`false`", "", "`true`: by `kill -9`; `false`: in peace. In a rehearsal always the former";
    "for": "duration", "`\"0ms\"`", "up to `\"90d\"`", "how long it is down";
    "moment": "word", "`\"now\"`", "`now`, `before_commit`, `after_commit`", "`before_commit`: it crashes when it is about to commit next, and nothing of that is stored; `after_commit`: when it has committed next and has answered nobody yet. Both in rehearsals only";
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

impl Act for RestartServer {
    async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
        let stage = scene.stage;
        let server = stage.server.as_ref().ok_or("this run did not start the server, so it can't restart it")?;
        let restarted = Rc::clone(server).restart(self.kill, self.moment, self.down_for).await;
        stage.operator.hang_up(); // its connection was to the server that is gone
        stage.watcher.hang_up();
        restarted
    }

    /// A server that waits for its next commit does so for an interval at most.
    fn fault(&self, beat_interval: Duration) -> Option<Duration> {
        Some(self.down_for + if self.moment == StopPoint::Now { Duration::ZERO } else { beat_interval })
    }
}
