//! `sweep.csv`: a line for each configuration, for a spreadsheet.

use super::{Spread, Sweep};

/// Columns after the name and the settings.
const COLUMNS: [&str; 17] = [
    "trials",
    "passed",
    "refused_share_mean",
    "refused_share_min",
    "refused_share_max",
    "late_devices_mean",
    "attacks_mean",
    "attacks_let_through_mean",
    "let_through_per_s_max_mean",
    "refused_again_mean",
    "second_peak_per_s_mean",
    "sent_per_wanted_mean",
    "sent_per_served_mean",
    "recovery_p99_s_mean",
    "writes_in_progress_max_mean",
    "limit_memory_bytes_mean",
    "is_distinguished",
];

pub(super) fn csv(of: &Sweep) -> String {
    let varied: Vec<&str> = of.setup.varied.iter().map(|own| own.name.as_str()).collect();
    let heading = ["configuration"].into_iter().chain(varied.iter().copied()).chain(COLUMNS);
    let mut lines = vec![heading.map(str::to_owned).collect::<Vec<_>>()];
    for tried in &of.tried {
        let setting = |name: &&str| tried.configuration.settings.get(*name).cloned().unwrap_or_default();
        let mut line = vec![tried.configuration.name.clone()];
        line.extend(varied.iter().map(setting));
        let Some(figures) = &tried.figures else {
            line.extend(COLUMNS.map(|_| String::new()));
            lines.push(line);
            continue;
        };
        let mean = |of: Option<Spread>| of.map_or_else(String::new, |of| of.mean.to_string());
        line.extend([figures.trials.to_string(), figures.passed.to_string()]);
        let Spread { mean: average, min, max } = figures.refused_share;
        line.extend([average, min, max].map(|share| share.to_string()));
        line.extend([
            mean(figures.late_devices),
            mean(Some(figures.attacks)),
            mean(Some(figures.attacks_let_through)),
            mean(Some(figures.let_through_per_s_max)),
            mean(figures.refused_again),
            mean(figures.second_peak_per_s),
            mean(figures.sent_per_wanted),
            mean(figures.sent_per_served),
            mean(figures.recovery_p99_s),
            mean(figures.writes_in_progress_max),
            mean(figures.limit_memory_bytes),
            tried.is_distinguished.map_or_else(String::new, |is| is.to_string()),
        ]);
        lines.push(line);
    }
    lines.iter().map(|line| line.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n").collect()
}

/// A cell; quoted where it has to be, and never a formula of a spreadsheet.
fn quoted(cell: &str) -> String {
    let cell = if cell.starts_with(['=', '+', '@']) { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::sample;

    #[test]
    fn each_configuration_is_a_line_with_its_settings() {
        let text = csv(&sample::sweep());
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[0].starts_with("configuration,A,trials,passed,refused_share_mean"));
        assert!(lines[1].starts_with("A=0,0,,"), "{text}");
        assert!(lines[3].starts_with("A=8,8,3,3,0,0,0,0,5000,402,12,,,,1,"), "{text}");
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("a,\"b"), "\"a,\"\"b\"");
    }
}
