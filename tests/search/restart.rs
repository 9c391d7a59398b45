//! Over a restart in place: a client that lists the three goes on listing them, and hears nothing unless the way has changed.

use crate::{
    expose::{TRIO, server},
    gateway::{Gateway, Home, SOON, Signal, config, eventually, holds_for, json, ms},
};

const CHANGED: &str = "notifications/tools/list_changed";

fn restart(gateway: &Gateway, life: usize) {
    gateway.signal(Signal::USR2);
    let lives = || gateway.log().matches("gateway_started").count();
    eventually("the next life has started", SOON, || (lives() == life).then_some(()));
}

#[test]
fn a_restart_is_told_as_a_change_of_tools_only_where_the_way_is_another_one() {
    let home = Home::new();
    let a = home.provider("a", &[], "");
    let gateway = Gateway::with_settings(&home, &a, &server("expose: search"));
    assert_eq!(gateway.client.tools(), TRIO);
    restart(&gateway, 2);
    assert_eq!(gateway.client.tools(), TRIO);
    // Prompts may be others: that is told as ever.
    gateway.client.wait_messages("notifications/prompts/list_changed", 1);
    holds_for("of tools nothing is told", ms(300), || gateway.client.messages(CHANGED).is_empty());
    home.put(&config(&a, &server("clients: [{match: test, expose: direct}]")));
    restart(&gateway, 3);
    gateway.client.wait_messages(CHANGED, 1);
    assert!(gateway.client.tools().contains(&"a__echo".to_owned()));
    assert_eq!(gateway.client.text("a__echo", json!({})), "{}");
    gateway.stop();
}
