//! Bytes in = bytes out outside the few places that are edited: every front, every transport, both eras, both directions, and
//! nothing is dropped. What is compared are texts, never parsed JSON.

#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/gateway.rs"]
mod gateway;

mod asking;
mod corpus;
mod expect;
mod generated;
mod lists;
mod rig;
mod updates;

use std::fs;

use corpus::{ANSWERS, ASKS, NOTES, REQUESTS};
use expect::{Exchange, fits, one_line};
use rig::{Era, Front, Rig, upstreams};

#[test]
fn the_corpus_is_as_large_as_is_said() {
    assert!(REQUESTS.len() + ANSWERS.len() + NOTES.len() + 2 * ASKS.len() >= 53);
}

#[test]
fn over_stdio_every_byte_stays() {
    every_message(&Rig::new(false), &[Front::Stdio]);
}

#[test]
fn by_way_of_connect_every_byte_stays() {
    every_message(&Rig::connected(), &[Front::Stdio]);
}

#[test]
fn over_http_every_byte_stays() {
    every_message(&Rig::new(true), &[Front::Json, Front::Sse]);
}

/// Each request with an answer and with what is told before it.
fn every_message(rig: &Rig, fronts: &[Front]) {
    let mut count = 0;
    for upstream in upstreams() {
        for (front, era) in fronts.iter().flat_map(|front| [(*front, Era::Legacy), (*front, Era::Modern)]) {
            for (at, (method, request)) in REQUESTS.iter().enumerate() {
                count += 1;
                let exchange = Exchange {
                    case: format!("case-{count}x"),
                    front,
                    era,
                    upstream,
                    method,
                    request: (*request).to_owned(),
                    notes: [NOTES[at % NOTES.len()], NOTES[(at * 3 + 4) % NOTES.len()]].map(str::to_owned).to_vec(),
                    answer: ANSWERS[at % ANSWERS.len()].to_owned(),
                    askable: at % 2 == 0,
                };
                exchange.check(rig);
            }
        }
    }
    eprintln!("{count} exchanges");
}

impl Exchange {
    /// Runs it, and compares all that both ends have seen.
    pub fn check(&self, rig: &Rig) {
        let what = || format!("{:?} {:?} on {:?}: {}", self.front, self.era, self.upstream, self.request);
        let script = self.script();
        fs::write(rig.script(self.upstream, &self.case), &script).unwrap();
        let sent = self.sent();
        let (came, _) = rig.exchange(self.front, &sent, &self.id(), &self.headers(), &mut |asked| panic!("{asked}"));
        let got = rig.wait_got(self.upstream, &self.case);
        assert_eq!(got.len(), 1, "sent once: {}", what());
        let number = self
            .matched(&got[0])
            .unwrap_or_else(|wanted| panic!("{}\n sent {sent}\n  got {}\n want {wanted}", what(), got[0]));
        assert!(!number.is_empty(), "{}", what());
        let expected = self.expected();
        let fitting = came.iter().zip(&expected).filter(|(came, expected)| fits(expected, came)).count();
        if fitting != came.len() || fitting != expected.len() {
            assert_eq!(came, expected, "{}\nscript {script}", what());
        }
        // Nothing else came in between.
        if self.front == Front::Stdio {
            assert!(came.iter().all(|line| *line == one_line(line)));
        }
    }
}
