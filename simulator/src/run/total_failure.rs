//! Explains a run in which no request was accepted: a failure of the server, not a doubt about the measurement.

use std::collections::BTreeMap;

use ks_protocol::refusal::RefusalCode;

use crate::{
    device::exchange::MessageType,
    link::NO_SOCKET,
    number::counted,
    run::measure::{BAD_ANSWER, Measurements, OK, UNANSWERED, UNKNOWN_KEY, UNSENT},
};

/// Codes that are no evidence about the server: the generator's limit, or the end of the run.
const NO_EVIDENCE: [&str; 3] = [NO_SOCKET, UNSENT, UNANSWERED];

/// Why no request was accepted, with each code and its help; none if one was, or if no request finished.
pub fn reason(total: &Measurements) -> Option<String> {
    // Keysets and pieces of images are unsigned requests, and no evidence about the signed ones.
    let is_signed = |kind: MessageType| !matches!(kind, MessageType::Keyset | MessageType::Artifact);
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    for of in MessageType::ALL.into_iter().filter(|kind| is_signed(*kind)).map(|kind| total.of(kind)) {
        of.codes().for_each(|(code, count)| *codes.entry(code).or_default() += count);
    }
    let is_accepted = codes.contains_key(OK);
    codes.retain(|code, _| !NO_EVIDENCE.contains(code));
    let requests: u64 = codes.values().sum();
    if is_accepted || requests == 0 {
        return None;
    }
    let each: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code} ({})", help(code))).collect();
    Some(format!("none of {} was accepted: {}", counted(requests, "request"), each.join("; ")))
}

/// What a code means to the user, and how to fix it.
fn help(code: &str) -> String {
    let known = match code {
        BAD_ANSWER => {
            "answers that can't be parsed, or whose signature is invalid: check that the target is a ks-server of this version and that no proxy changes its answers"
        }
        UNKNOWN_KEY => {
            "answers signed by a key that the target's /keys does not list: check that one server answers at this address"
        }
        "CONNECT_FAILED" => {
            "connection refused: check that the server is running and that no outage lasts for the whole run"
        }
        "CONNECTION_LOST" => "the connection closed before the answer: check the server's log",
        "TIMEOUT" => "no answer in time: check the server's log, or raise `answer_timeout` in [fleet]",
        "OTRT_REQUIRED" => "the server requires one-time tokens: set `otrt = true` in [fleet]",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let refusal = RefusalCode::ALL.iter().find(|refusal| refusal.as_str() == code);
    refusal.map_or_else(
        || "an unknown code: check that the target is a ks-server of this version".to_owned(),
        |refusal| format!("{} {}", refusal.meaning(), refusal.help().trim_end_matches('.')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ends: &[(MessageType, &'static str)]) -> Option<String> {
        let mut total = Measurements::default();
        for (kind, code) in ends {
            total.of_mut(*kind).end(code, 1, None);
        }
        reason(&total)
    }

    #[test]
    fn each_code_is_listed_with_help() {
        let reason = ended(&[(MessageType::Register, "OTRT_REQUIRED"), (MessageType::Register, BAD_ANSWER)]).unwrap();
        assert!(reason.starts_with("none of 2 requests was accepted: 1 BAD_ANSWER ("), "{reason}");
        assert!(reason.contains("1 OTRT_REQUIRED (") && reason.contains("`otrt = true`"), "{reason}");
        let reason = ended(&[(MessageType::Register, "UNKNOWN_DEVICE")]).unwrap();
        assert!(reason.contains("whitelisted"), "{reason}");
    }

    #[test]
    fn one_accepted_request_or_no_evidence_gives_no_reason() {
        assert_eq!(ended(&[]), None);
        assert_eq!(ended(&[(MessageType::Register, OK), (MessageType::Heartbeat, BAD_ANSWER)]), None);
        assert_eq!(ended(&[(MessageType::Register, NO_SOCKET), (MessageType::Heartbeat, UNANSWERED)]), None);
        assert!(ended(&[(MessageType::Register, UNKNOWN_KEY), (MessageType::Keyset, OK)]).is_some());
    }
}
