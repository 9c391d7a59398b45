//! What a server finds when it starts: variables, descriptors, directory, command line.

use std::collections::BTreeMap;

use hangar::{
    config::{Launch, ProviderSpec},
    transport::TransportError,
};
use serde_json::json;

use crate::rig::{PROVIDER, Rig, spec};

fn in_dir(mut spec: ProviderSpec, dir: &std::path::Path) -> ProviderSpec {
    if let Launch::Subprocess(launch) = &mut spec.launch {
        launch.cwd = dir.to_owned();
    }
    spec
}

async fn refused(spec: ProviderSpec) -> String {
    match Rig::open(spec).await {
        Err(TransportError::Open(text)) => text,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it started"),
    }
}

#[tokio::test]
async fn the_environment_is_the_allow_list_the_configured_variables_and_the_markers() {
    // Cargo itself sets CARGO_* in this process: exactly what must not pass.
    assert!(std::env::vars().any(|(k, _)| k.starts_with("CARGO")));
    let mut rig = Rig::open(spec(&[PROVIDER], &[("POOL_SIZE", "10"), ("LANG", "xx_XX")])).await.unwrap();
    let all: BTreeMap<String, String> = serde_json::from_str(&rig.text("env", json!({})).await).unwrap();
    assert_eq!(all["POOL_SIZE"], "10");
    assert_eq!(all["LANG"], "xx_XX");
    assert_eq!(all["PATH"], std::env::var("PATH").unwrap());
    let markers = ["HANGAR_INSTANCE", "HANGAR_GENERATION", "HANGAR_PROVIDER"].map(|k| all[k].as_str());
    assert_eq!(markers, ["test-instance", "test-generation", "math"]);
    let strangers: Vec<_> = all.keys().filter(|k| k.starts_with("CARGO") || k.starts_with("NEXTEST")).collect();
    assert_eq!(strangers, Vec::<&String>::new());
}

#[tokio::test]
async fn a_secret_of_the_environment_is_in_no_command_line() {
    let secret = "s3cr3t-9f2c";
    let mut rig = Rig::open(spec(&[PROVIDER], &[("TOKEN", secret)])).await.unwrap();
    assert_eq!(rig.text("env", json!({"name": "TOKEN"})).await, format!("\"{secret}\""));
    let server = crate::rig::Being::of(rig.link.pid().unwrap()).unwrap();
    for pid in [server.pid, server.parent()] {
        let command_line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        assert!(!command_line.is_empty() && !String::from_utf8_lossy(&command_line).contains(secret));
    }
}

#[tokio::test]
async fn a_server_sees_three_descriptors_whatever_the_gateway_has_open() {
    // Without close-on-exec, as a careless parent of the gateway leaves it.
    let careless = rustix::io::dup(std::fs::File::open("/etc/hostname").unwrap()).unwrap();
    let first = Rig::start(&[]).await;
    let mut rig = Rig::start(&[]).await;
    let open: BTreeMap<String, String> = serde_json::from_str(&rig.text("fds", json!({})).await).unwrap();
    assert_eq!(open.keys().collect::<Vec<_>>(), ["0", "1", "2"]);
    assert!(open.values().all(|target| target.starts_with("pipe:")), "{open:?}");
    drop((careless, first));
}

#[tokio::test]
async fn the_working_directory_and_the_command_line_are_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    std::os::unix::fs::symlink(PROVIDER, dir.join("server")).unwrap();
    let by_path = in_dir(spec(&["server", "--name", "a b"], &[("PATH", dir.to_str().unwrap())]), &dir);
    let mut rig = Rig::open(by_path).await.unwrap();
    assert_eq!(rig.text("cwd", json!({})).await, dir.to_str().unwrap());
    assert_eq!(rig.text("args", json!({})).await, r#"["server","--name","a b"]"#);
}

#[tokio::test]
async fn a_command_that_cannot_run_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let text = refused(spec(&["no-such-command"], &[("PATH", "/nowhere:/else")])).await;
    assert!(text.contains("no-such-command") && text.contains("/nowhere:/else"), "{text}");
    let text = refused(spec(&["/no/such/file"], &[])).await;
    assert!(text.contains("/no/such/file does not exist"), "{text}");
    let text = refused(in_dir(spec(&[PROVIDER], &[]), &dir.path().join("gone"))).await;
    assert!(text.contains("gone does not exist"), "{text}");
}

#[tokio::test]
async fn a_script_whose_interpreter_is_missing_ends_with_127_and_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut rig = Rig::open(spec(&[script.to_str().unwrap()], &[])).await.unwrap();
    assert_eq!(rig.exit().await.to_string(), "exited with code 127");
    assert!(rig.output.tail(5).join("\n").contains("cannot execute"), "{:?}", rig.output.tail(5));
}
