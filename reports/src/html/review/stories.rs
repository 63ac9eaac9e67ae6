//! The devices that a rollout harmed, one line each.

use crate::answers;
use crate::html::text;
use crate::moments::Moments;
use crate::number::grouped;
use crate::review::RolloutReview;

/// Limit of devices on the page.
const SHOWN_MAX: usize = 50;

/// The list, with how to see the rest; `has_events`: the run has an event log.
pub(super) fn list(of: &RolloutReview, moments: Moments, has_events: bool) -> String {
    let item = |story: &crate::review::DeviceStory| {
        format!("<li><code>{}</code> {}</li>\n", text(&story.device_id), text(&answers::story(story, moments)))
    };
    let items: String = of.stories.iter().take(SHOWN_MAX).map(item).collect();
    let shown = of.stories.len().min(SHOWN_MAX) as u64;
    let which = if of.stories_total > shown {
        format!("The first {} of {}; the next ones are in review.json.", grouped(shown), grouped(of.stories_total))
    } else {
        format!("{} in all.", grouped(of.stories_total))
    };
    let more = if has_events {
        " The whole story of one: <code>ks-fleet explain RUN DEVICE</code>. What the release did to each device: <code>ks-fleet events RUN | grep '\"event\":\"firmware\"'</code>, where RUN is this folder."
    } else {
        ""
    };
    format!(
        "<ol class=\"stories\">\n{items}</ol>\n<p class=\"muted printed\">Printed up to the twentieth; the others are on the page.</p>\n<p class=\"muted\">{which} Words in capital letters are what the server decided; times of day are UTC on the run's clock.{more}</p>\n"
    )
}
