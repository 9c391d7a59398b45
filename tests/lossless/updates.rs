//! An update of a resource keeps every byte but the URI, for the client that is subscribed to it.

use std::fs;

use crate::rig::{Era, Front, Rig, upstreams};

#[test]
fn an_update_of_a_resource_keeps_every_byte_but_the_uri() {
    let rig = Rig::new(false);
    for upstream in upstreams().into_iter().filter(|u| u.era == Era::Legacy && u.mode != "json") {
        let update = r#"{"x":1.10,"jsonrpc":"2.0","params":{"z":[-0],"uri":"test:\/\/case-u","_meta":{"a":1.0,"a":2},"title":"\ud800"},"method":"notifications/resources/updated"}"#;
        let answer = r#"{"jsonrpc":"2.0","id":@ID@,"result":{}}"#;
        fs::write(rig.script(upstream, "case-u"), format!("{update}\n%%\n{answer}")).unwrap();
        let uri = format!("hangar://{}/test://case-u", upstream.name);
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/subscribe","params":{{"uri":"{uri}"}}}}"#);
        rig.exchange(Front::Stdio, &request, "1", "", &mut |asked| panic!("{asked}"));
        let came =
            rig.gateway.client.wait_line("an update", |line| line.contains("resources/updated") && line.contains(&uri));
        assert_eq!(came, update.replace(r"test:\/\/case-u", &uri), "{upstream:?}");
    }
}
