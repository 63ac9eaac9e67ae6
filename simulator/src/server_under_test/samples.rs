//! Looks at a run's server and its machine once a second: its metrics, and how busy the machine is.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use crate::{
    host::resources::{self, MachineCpu},
    operator::Operator,
    shard::RunTime,
};

/// The time between two samples.
const EVERY: Duration = Duration::from_secs(1);

/// Samples of a run, in order.
pub type Samples = Rc<RefCell<Vec<ServerSample>>>;

/// What one look showed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerSample {
    /// Since the start of the run.
    pub at: Duration,
    /// None if the server did not answer, or not with metrics.
    pub metrics: Option<ServerMetrics>,
    /// Of the machine of this process; none where it can't be read.
    pub machine: Option<MachineCpu>,
}

/// The metrics of a server that show what it is short of. Counters count since its start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerMetrics {
    /// Seconds spent in commits.
    pub commit_s: f64,
    pub commits: f64,
    /// Writes in all commits.
    pub writes: f64,
    /// Writes that waited when the last group was taken.
    pub writes_waiting: f64,
    /// The least that a write waited lately beyond two commits, in seconds.
    pub writes_delay_s: f64,
    /// Requests refused because too many writes were in progress.
    pub overload_refused: f64,
    /// Requests that each rate limit refused.
    pub limit_refused: BTreeMap<String, f64>,
    /// CPU seconds of its process, if it says so.
    pub process_cpu_s: Option<f64>,
    /// Cores that it may use, if it says so.
    pub cores: Option<f64>,
}

impl ServerMetrics {
    /// Reads the text format; none if it has no metrics of a ks-server.
    pub fn read(text: &str) -> Option<Self> {
        let mut metrics = Self::default();
        let mut is_ours = false;
        for (name, labels, value) in text.lines().filter_map(sample_of) {
            match name {
                "ks_store_commit_seconds_sum" => (metrics.commit_s, is_ours) = (value, true),
                "ks_store_commit_seconds_count" => metrics.commits = value,
                "ks_store_commit_group_size_sum" => metrics.writes = value,
                "ks_store_writes_waiting" => metrics.writes_waiting = value,
                "ks_store_writes_delay_seconds" => metrics.writes_delay_s = value,
                "ks_overload_refused_total" => metrics.overload_refused += value,
                "process_cpu_seconds_total" => metrics.process_cpu_s = Some(value),
                "ks_cores" => metrics.cores = Some(value),
                "ks_limit_refused_total" => {
                    if let Some(limit) = label(labels, "limit") {
                        metrics.limit_refused.insert(limit.to_owned(), value);
                    }
                }
                _ => {}
            }
        }
        is_ours.then_some(metrics)
    }
}

/// Name, labels and value of a line; none of a comment.
fn sample_of(line: &str) -> Option<(&str, &str, f64)> {
    let (series, rest) = match line.split_once('}') {
        Some((series, rest)) => (series, rest),
        None => line.split_once(' ')?,
    };
    let value = rest.split_whitespace().next()?.parse().ok().filter(|value: &f64| value.is_finite())?;
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    Some((name, labels, value))
}

/// The value of a label.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
}

/// Takes a sample each second, without end; a server that does not answer does not end it.
pub async fn take(operator: Operator, time: RunTime, samples: Samples) {
    for number in 0_u32.. {
        tokio::time::sleep_until(time.started + EVERY * number).await;
        let answer = operator.metrics().await;
        let metrics = answer.ok().and_then(|text| ServerMetrics::read(&text));
        samples.borrow_mut().push(ServerSample { at: time.elapsed(), metrics, machine: resources::machine_cpu() });
    }
}

/// What the samples of a span show together. Each part is none if it could not be observed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerLoad {
    /// Share of the time in which a commit was in progress.
    pub commit_busy: Option<f64>,
    /// Writes in a commit.
    pub commit_group: Option<f64>,
    /// Waiting writes, the median of the samples.
    pub writes_waiting: Option<f64>,
    /// How long writes waited beyond two commits, the median of the samples, in milliseconds.
    pub writes_delay_ms: Option<f64>,
    /// Requests refused because too many writes were in progress.
    pub overload_refused: Option<f64>,
    /// Rate limits that refused requests, and how many.
    pub limits: BTreeMap<String, u64>,
    /// Cores that the server's process used, by its own metric.
    pub process_cores: Option<f64>,
    /// Cores that it may use.
    pub cores: Option<f64>,
    /// Share of this machine's cores that was busy, by any process.
    pub machine_busy: Option<f64>,
}

impl ServerLoad {
    /// What happened between the first and the last sample of a span.
    pub fn over(samples: &[ServerSample], from: Duration, to: Duration) -> Self {
        let inside: Vec<&ServerSample> = samples.iter().filter(|of| of.at >= from && of.at <= to).collect();
        let mut load = Self { machine_busy: machine_busy(&inside), ..Self::default() };
        let with: Vec<(Duration, &ServerMetrics)> =
            inside.iter().filter_map(|of| Some((of.at, of.metrics.as_ref()?))).collect();
        load.writes_waiting = median(with.iter().map(|(_, of)| of.writes_waiting));
        load.writes_delay_ms = median(with.iter().map(|(_, of)| of.writes_delay_s * 1_000.0));
        let (Some((begin, first)), Some((end, last))) = (with.first(), with.last()) else { return load };
        let length_s = end.saturating_sub(*begin).as_secs_f64();
        if length_s <= 0.0 || last.commits < first.commits {
            return load; // one sample, or the server was restarted
        }
        let commits = last.commits - first.commits;
        load.commit_busy = Some((last.commit_s - first.commit_s) / length_s);
        load.commit_group = (commits > 0.0).then(|| (last.writes - first.writes) / commits);
        load.overload_refused = Some(last.overload_refused - first.overload_refused);
        load.process_cores =
            last.process_cpu_s.zip(first.process_cpu_s).map(|(after, before)| (after - before) / length_s);
        load.cores = last.cores;
        for (name, refused) in &last.limit_refused {
            let more = refused - first.limit_refused.get(name).copied().unwrap_or(0.0);
            if more >= 1.0 {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of at least 1")]
                load.limits.insert(name.clone(), more as u64);
            }
        }
        load
    }
}

fn machine_busy(samples: &[&ServerSample]) -> Option<f64> {
    let mut read = samples.iter().filter_map(|of| of.machine);
    let (first, last) = (read.next()?, read.next_back()?);
    let all_s = last.all_s - first.all_s;
    (all_s > 0.0).then(|| (last.busy_s - first.busy_s) / all_s)
}

/// The middle of some numbers, the lower one of two; none of none.
fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE ks_store_commit_seconds histogram\n\
        ks_store_commit_seconds_sum 2.5\nks_store_commit_seconds_count 50\nks_store_commit_seconds_bucket{le=\"0.5\"} 9\n\
        ks_store_commit_group_size_sum 500.0\nks_store_writes_waiting 7\nks_store_writes_delay_seconds 0.004\n\
        ks_overload_refused_total{class=\"logs\"} 3\nks_overload_refused_total{class=\"heartbeats\"} 4\n\
        ks_limit_refused_total{limit=\"all_requests\"} 12\nks_limit_refused_total{limit=\"user_logins\"} 0\n# EOF\n";

    #[test]
    fn metrics_are_read_from_their_text_and_other_pages_are_not() {
        let metrics = ServerMetrics::read(TEXT).unwrap();
        assert_eq!((metrics.commit_s, metrics.commits, metrics.writes), (2.5, 50.0, 500.0));
        assert_eq!((metrics.writes_waiting, metrics.writes_delay_s, metrics.overload_refused), (7.0, 0.004, 7.0));
        assert_eq!(metrics.limit_refused.get("all_requests"), Some(&12.0));
        assert_eq!((metrics.process_cpu_s, metrics.cores), (None, None), "not said where there is no /proc");
        let more = format!("{TEXT}process_cpu_seconds_total 81.5 1700000000\nks_cores 4.0\n");
        let more = ServerMetrics::read(&more).unwrap();
        assert_eq!((more.process_cpu_s, more.cores), (Some(81.5), Some(4.0)));
        assert_eq!(ServerMetrics::read("<html>{}} 5</html>\n\n}\n"), None);
    }

    fn sample(at_s: u64, scale: f64) -> ServerSample {
        let metrics = ServerMetrics {
            commit_s: 0.4 * scale,
            commits: 10.0 * scale,
            writes: 200.0 * scale,
            writes_waiting: scale,
            writes_delay_s: scale / 1_000.0,
            limit_refused: [("a".to_owned(), 5.0 * scale), ("b".to_owned(), 3.0)].into(),
            process_cpu_s: Some(1.5 * scale),
            cores: Some(4.0),
            ..ServerMetrics::default()
        };
        let machine = Some(MachineCpu { busy_s: 1.5 * scale, all_s: 2.0 * scale });
        ServerSample { at: Duration::from_secs(at_s), metrics: Some(metrics), machine }
    }

    /// By hand: from 2 s to 5 s are three seconds, with three times the numbers of one.
    #[test]
    fn a_span_has_the_differences_between_its_first_and_last_sample() {
        let samples: Vec<ServerSample> = (0..8_u32).map(|at| sample(at.into(), at.into())).collect();
        let load = ServerLoad::over(&samples, Duration::from_secs(2), Duration::from_secs(5));
        let near = |value: Option<f64>, wanted: f64| value.is_some_and(|value| (value - wanted).abs() < 1e-9);
        assert!(
            near(load.commit_busy, 0.4) && near(load.commit_group, 20.0) && near(load.process_cores, 1.5),
            "{load:?}"
        );
        assert!(near(load.machine_busy, 0.75) && near(load.writes_waiting, 3.0) && near(load.writes_delay_ms, 3.0));
        assert_eq!(load.limits, [("a".to_owned(), 15)].into(), "b refused nothing in the span");
    }

    #[test]
    fn what_was_not_observed_is_not_zero() {
        let load = ServerLoad::over(&[sample(3, 1.0)], Duration::ZERO, Duration::from_secs(9));
        assert_eq!((load.commit_busy, load.machine_busy, load.writes_waiting), (None, None, Some(1.0)));
        let silent = ServerSample { metrics: None, ..sample(4, 2.0) };
        let load = ServerLoad::over(&[silent], Duration::ZERO, Duration::from_secs(9));
        assert_eq!(load, ServerLoad::default());
    }
}
