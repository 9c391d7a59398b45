//! Questions of a server in the middle of a call, and their answers: within an era and from each to the other.

use std::fs;

use crate::{
    corpus::ASKS,
    expect::one_line,
    rig::{CAPABILITIES, Era, Front, Rig, asked_of, upstreams},
};

const ANSWER: &str = r#"{"jsonrpc":"2.0","id":@ID@,"result":{"resultType":"complete","content":[]}}"#;

fn params(raw: &str) -> String {
    if raw.is_empty() { String::new() } else { format!(r#","params":{raw}"#) }
}

fn call(name: &str, case: &str, meta: &str, more: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{meta}"name":"{name}__t","arguments":{{"c":"{case}"}}{more}}}}}"#
    )
}

fn modern(name: &str) -> (String, String) {
    let meta = format!(
        r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{CAPABILITIES}}},"#
    );
    let headers = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {name}__t\r\n");
    (meta, headers)
}

/// The text between two marks.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("no {start} in {text}"));
    rest.split_once(end).unwrap_or_else(|| panic!("no {end} in {text}")).0
}

fn fronts(http: bool) -> &'static [Front] {
    if http { &[Front::Sse] } else { &[Front::Stdio] }
}

#[test]
fn a_question_and_its_answer_keep_every_byte_but_the_id() {
    for http in [false, true] {
        let rig = Rig::new(http);
        for upstream in upstreams().into_iter().filter(|u| u.era == Era::Legacy && u.mode != "json") {
            for (front, (at, (method, asks, answers))) in
                fronts(http).iter().flat_map(|front| ASKS.iter().enumerate().map(move |ask| (*front, ask)))
            {
                let case = format!("case-{at}{front:?}");
                let question =
                    format!(r#"{{"x":1.0,"jsonrpc":"2.0","id":"ask-{at}","method":"{method}"{}}}"#, params(asks));
                fs::write(rig.script(upstream, &case), format!("?{question}\n%%\n{ANSWER}")).unwrap();
                let mut asked = |text: &str| {
                    let id = asked_of(text).unwrap();
                    assert_eq!(text, question.replace(&format!("\"ask-{at}\""), &id), "{front:?} {upstream:?}");
                    Some(format!(r#"{{"result":{answers},"id":{id},"jsonrpc":"2.0","v":1.10}}"#))
                };
                let (came, _) = rig.exchange(front, &call(upstream.name, &case, "", ""), "1", "", &mut asked);
                assert_eq!(came.len(), 2, "the question and the answer: {came:?}");
                let got = rig.wait_got(upstream, &format!("\"ask-{at}\""));
                let wanted = format!(r#"{{"result":{answers},"id":"ask-{at}","jsonrpc":"2.0","v":1.10}}"#);
                assert!(got.contains(&wanted), "{wanted}\n{got:#?}");
            }
        }
    }
}

/// A client without a session is told in the answer, and answers in its next request.
#[test]
fn a_question_of_the_old_era_reaches_the_new_one_word_by_word() {
    for http in [false, true] {
        let rig = Rig::new(http);
        let all: &[Front] = if http { &[Front::Json, Front::Sse] } else { &[Front::Stdio] };
        for upstream in upstreams().into_iter().filter(|u| u.era == Era::Legacy && u.mode != "json") {
            for (front, (at, (method, asks, answers))) in
                all.iter().flat_map(|front| ASKS.iter().enumerate().map(move |ask| (*front, ask)))
            {
                let case = format!("case-{at}{front:?}");
                let question = format!(r#"{{"jsonrpc":"2.0","id":"ask-{at}","method":"{method}"{}}}"#, params(asks));
                fs::write(rig.script(upstream, &case), format!("?{question}\n%%\n{ANSWER}")).unwrap();
                let (meta, headers) = modern(upstream.name);
                let mut none = |text: &str| panic!("{text}");
                let (came, _) = rig.exchange(front, &call(upstream.name, &case, &meta, ""), "1", &headers, &mut none);
                let wanted = format!(r#""input-1":{{"method":"{method}"{}}}"#, params(asks));
                let told = came.last().unwrap();
                assert!(told.contains(&wanted), "{front:?} {upstream:?}: {wanted}\n{told}");
                let state = between(told, r#""requestState":""#, "\"");
                let more = format!(r#","inputResponses":{{"input-1":{answers}}},"requestState":"{state}""#);
                let (came, _) =
                    rig.exchange(front, &call(upstream.name, &case, &meta, &more), "1", &headers, &mut none);
                assert_eq!(came.last().unwrap(), &ANSWER.replace("@ID@", "1"));
                let got = rig.wait_got(upstream, &format!("\"ask-{at}\""));
                let wanted = format!(r#""result":{answers}"#);
                assert!(got.iter().any(|text| text.contains(&wanted)), "{wanted}\n{got:#?}");
            }
        }
    }
}

/// A server of the new era asks in its answer; a client with a session is asked, and the server asked again.
#[test]
fn a_question_of_the_new_era_reaches_the_old_one_word_by_word() {
    for http in [false, true] {
        let rig = Rig::new(http);
        for upstream in upstreams().into_iter().filter(|u| u.era == Era::Modern) {
            for (front, (at, (method, asks, answers))) in
                fronts(http).iter().flat_map(|front| ASKS.iter().enumerate().map(move |ask| (*front, ask)))
            {
                let case = format!("case-{at}{front:?}");
                let question = format!(r#"{{"method":"{method}"{}}}"#, params(asks));
                let state = r#""st\u0061te \"1\"""#;
                let pause = format!(
                    r#"{{"jsonrpc":"2.0","id":@ID@,"result":{{"resultType":"input_required","inputRequests":{{"k\u0065y":{question}}},"requestState":{state}}}}}"#
                );
                fs::write(rig.script(upstream, &case), pause).unwrap();
                fs::write(rig.script(upstream, &format!("{case}.retry")), ANSWER).unwrap();
                let mut asked = |text: &str| {
                    let id = asked_of(text).unwrap();
                    assert!(text.contains(&format!(r#""method":"{method}"{}"#, params(asks))), "{text}");
                    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{answers}}}"#))
                };
                let (came, _) = rig.exchange(front, &call(upstream.name, &case, "", ""), "1", "", &mut asked);
                assert_eq!(came.len(), 2, "{came:?}");
                assert_eq!(came.last().unwrap(), &ANSWER.replace("@ID@", "1"));
                let got = rig.got(upstream, &case);
                assert_eq!(got.len(), 2, "{got:#?}");
                assert!(got[1].contains(&format!(r#""key":{}"#, one_line(answers))), "{answers}\n{}", got[1]);
                assert!(got[1].contains(&format!(r#""requestState":{state}"#)), "{}", got[1]);
            }
        }
    }
}

/// Within the new era nothing is the gateway's.
#[test]
fn a_question_within_the_new_era_is_passed_on_whole() {
    for http in [false, true] {
        let rig = Rig::new(http);
        let all: &[Front] = if http { &[Front::Json, Front::Sse] } else { &[Front::Stdio] };
        for upstream in upstreams().into_iter().filter(|u| u.era == Era::Modern) {
            for (front, (at, (method, asks, answers))) in
                all.iter().flat_map(|front| ASKS.iter().enumerate().map(move |ask| (*front, ask)))
            {
                let case = format!("case-{at}{front:?}");
                let pause = format!(
                    r#"{{"jsonrpc":"2.0","id":@ID@,"result":{{"resultType":"input_required","v":1.10,"inputRequests":{{"k":{{"method":"{method}"{},"v":1}}}},"requestState":"s\u0074"}}}}"#,
                    params(asks)
                );
                fs::write(rig.script(upstream, &case), &pause).unwrap();
                fs::write(rig.script(upstream, &format!("{case}.retry")), ANSWER).unwrap();
                let (meta, headers) = modern(upstream.name);
                let mut none = |text: &str| panic!("{text}");
                let (came, _) = rig.exchange(front, &call(upstream.name, &case, &meta, ""), "1", &headers, &mut none);
                assert_eq!(came, [pause.replace("@ID@", "1")], "{front:?} {upstream:?}");
                let more = format!(r#","requestState":"s\u0074","inputResponses":{{"k":{answers}}}"#);
                let (came, _) =
                    rig.exchange(front, &call(upstream.name, &case, &meta, &more), "1", &headers, &mut none);
                assert_eq!(came, [ANSWER.replace("@ID@", "1")]);
                let got = rig.got(upstream, &case);
                assert!(got.last().unwrap().contains(&more), "{more}\n{got:#?}");
            }
        }
    }
}
