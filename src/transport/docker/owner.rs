//! Which gateway a container belongs to, written so that a later gateway can tell for certain whether that one is dead.

use std::fs;

/// `BOOT:NAMESPACE:PID:START` of this process; a part that this system does not tell is empty.
pub(super) fn ours() -> String {
    of(std::process::id())
}

fn of(pid: u32) -> String {
    format!("{}:{}:{pid}:{}", boot(), namespace(), started(pid).unwrap_or_default())
}

/// Whether the gateway that wrote this label is certainly gone. In doubt it lives: another pid namespace cannot be looked
/// into from here, and another boot may be another machine's (a boot of this one has ended its containers anyway).
pub(super) fn is_dead(owner: &str) -> bool {
    let parts: Vec<&str> = owner.split(':').collect();
    let [boot_then, namespace_then, pid, start] = parts[..] else { return false };
    if boot_then.is_empty() || start.is_empty() || boot_then != boot() || namespace_then != namespace() {
        return false;
    }
    pid.parse().is_ok_and(|pid| started(pid).as_deref() != Some(start))
}

fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// `pid[4026531836]` without the word; two gateways in two containers are both process 1.
fn namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    link.chars().filter(char::is_ascii_digit).collect()
}

/// Clock ticks from the boot to the start; `None`: there is no such process, or it only waits to be reaped.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let living = !matches!(fields.next()?, "Z" | "X");
    living.then(|| fields.nth(18).map(str::to_owned)).flatten()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_running_gateway_is_never_taken_for_dead() {
        assert!(!is_dead(&ours()));
    }

    #[test]
    fn one_that_ended_is_dead_and_so_is_one_whose_number_was_given_to_another() {
        // Lives until its stdin is closed: one that ends by itself may be gone before it is looked at.
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let owner = of(child.id());
        assert!(!is_dead(&owner));
        // Closes its stdin first.
        child.wait().unwrap();
        assert!(is_dead(&owner));
        let me = ours();
        let recycled = format!("{}:1", me.rsplit_once(':').unwrap().0);
        assert!(is_dead(&recycled));
    }

    #[test]
    fn what_cannot_be_looked_into_is_left_alone() {
        let me = ours();
        let parts: Vec<&str> = me.split(':').collect();
        assert!(!is_dead(&format!("other-boot:{}:999999999:1", parts[1])));
        assert!(!is_dead(&format!("{}:1:999999999:1", parts[0])));
        assert!(!is_dead("") && !is_dead("a:b") && !is_dead(":::"));
    }
}
