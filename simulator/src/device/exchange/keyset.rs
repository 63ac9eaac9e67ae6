//! The next keyset of the chain. Its own signatures authenticate it; the answer may be signed by a key that only a later keyset
//! introduces.

use std::rc::Rc;

use ks_protocol::{
    document::{self, DocumentError},
    message::Keyset,
    refusal::{RefusalCode, RefusalDocument},
    signature::{NO_SIG_DEV, OpenError, SIG_SERV, open_response},
    time::UnixMs,
};

use super::{AnswerEffect, Exchange, Incoming, Outgoing, get};
use crate::device::machine::Machine;

pub(super) struct NextKeyset;

impl Exchange for NextKeyset {
    fn name(&self) -> &'static str {
        "keyset"
    }

    fn is_due(&self, machine: &Machine) -> bool {
        machine.wanted_keyset.is_some()
    }

    /// A device misled by keysets is stranded, not starved.
    fn must_get_through(&self) -> bool {
        false
    }

    fn request(&self, machine: &mut Machine, _: UnixMs) -> Option<Outgoing> {
        let version = machine.wanted_keyset?;
        // Digits never make it no path.
        let http = get(&format!("/keys?version={version}"), "/keys");
        Some(Outgoing { http, wire: String::new(), sig_dev: NO_SIG_DEV.to_owned(), notes: Vec::new() })
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let signed = document::split(answer.body, SIG_SERV)?;
        if let Some(refusal) = RefusalDocument::read(signed.body) {
            // There is no newer one; or the server will not say, and it is asked again.
            let code = refusal.map(|refusal| refusal.code)?;
            machine.wanted_keyset = machine.wanted_keyset.filter(|_| code != RefusalCode::NotFound);
            return Ok(AnswerEffect { refusal: Some(code), ..AnswerEffect::default() });
        }
        let (_, next) = Keyset::step(signed.body, &machine.server_keys).map_err(|_| OpenError::BadSignature)?;
        if next.version == machine.server_keys.version {
            // It brings no key, and an immediate retry would not either.
            let what = format!("keyset {} in place of the next one", next.version);
            return Err(DocumentError::Malformed { what }.into());
        }
        let is_known = open_response::<Keyset>(&next.keys, answer.status, NO_SIG_DEV, answer.body);
        machine.wanted_keyset = match is_known {
            // The answer is signed by a key of a later keyset: there is one.
            Err(OpenError::UnknownKey(_)) => Some(next.version + 1),
            Err(error) => return Err(error),
            Ok(_) => machine.wanted_keyset.filter(|wanted| *wanted > next.version),
        };
        machine.server_keys = Rc::new(next);
        Ok(AnswerEffect::default())
    }
}
