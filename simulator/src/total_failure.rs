//! What to say of a run in which not one request was accepted: that is a fact about the server, not a doubt about the run.

use std::collections::BTreeMap;

use ks_protocol::refusal::RefusalCode;

use crate::{
    device::exchange::MessageType,
    link::NO_SOCKET,
    measure::{BAD_ANSWER, Measurements, OK, UNANSWERED, UNKNOWN_KEY, UNSENT},
};

/// Codes that say nothing about the server: the generator's limit, or the end of the run.
const NO_EVIDENCE: [&str; 3] = [NO_SOCKET, UNSENT, UNANSWERED];

/// Why nothing held, with each code and what to do about it; none if something did, or if no request came to an end.
pub fn reason(total: &Measurements) -> Option<String> {
    // A keyset or a piece of an image says nothing of what devices came for.
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
    let each: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code} ({})", remedy(code))).collect();
    Some(format!("none of {requests} requests was accepted: {}", each.join("; ")))
}

/// What a code means to whoever runs a scenario, and what to do.
fn remedy(code: &str) -> String {
    let known = match code {
        BAD_ANSWER => {
            "answers that can't be read, or whose signature does not hold: check that the target is a ks-server of this version and that nothing on the way changes its answers"
        }
        UNKNOWN_KEY => {
            "answers by a key that the target's /keys does not name: check that one server answers at this address"
        }
        "CONNECT_FAILED" => "nobody took the connection: check that the server runs and that no outage fills the run",
        "CONNECTION_LOST" => "the connection ended before the answer: look into the server's log",
        "TIMEOUT" => "no answer in time: look into the server's log, or raise `answer_timeout` in [fleet]",
        "OTRT_REQUIRED" => "the server demands one-time tokens: set `otrt = true` in [fleet]",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let refusal = RefusalCode::ALL.iter().find(|refusal| refusal.as_str() == code);
    refusal.map_or_else(
        || "a code that this program does not know: check that the target is a ks-server of this version".to_owned(),
        |refusal| format!("{} {}", refusal.meaning(), refusal.remedy().trim_end_matches('.')),
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
    fn each_code_is_named_with_what_to_do() {
        let said = ended(&[(MessageType::Register, "OTRT_REQUIRED"), (MessageType::Register, BAD_ANSWER)]).unwrap();
        assert!(said.starts_with("none of 2 requests was accepted: 1 BAD_ANSWER ("), "{said}");
        assert!(said.contains("1 OTRT_REQUIRED (") && said.contains("`otrt = true`"), "{said}");
        let said = ended(&[(MessageType::Register, "UNKNOWN_DEVICE")]).unwrap();
        assert!(said.contains("whitelisted"), "{said}");
    }

    #[test]
    fn one_honoured_request_or_no_evidence_is_not_nothing() {
        assert_eq!(ended(&[]), None);
        assert_eq!(ended(&[(MessageType::Register, OK), (MessageType::Heartbeat, BAD_ANSWER)]), None);
        assert_eq!(ended(&[(MessageType::Register, NO_SOCKET), (MessageType::Heartbeat, UNANSWERED)]), None);
        assert!(ended(&[(MessageType::Register, UNKNOWN_KEY), (MessageType::Keyset, OK)]).is_some());
    }
}
