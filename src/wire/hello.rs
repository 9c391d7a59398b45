//! The first line each way on the connect socket: who speaks, in which version. After it the socket is like stdio.
//!
//! The number of the protocol says whether the two can go on; different versions of hangar with the same number can, and
//! tell their users.

use serde::{Deserialize, Serialize};

/// What this build speaks. Grows when what follows the two hellos changes.
pub const PROTOCOL: u32 = 1;
/// Longest hello, in bytes.
pub const MAX_HELLO: usize = 4096;

/// Who says hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `hangar connect`.
    Connect,
    /// The gateway.
    Daemon,
}

/// `{"hangar":"connect","protocol":1,"version":"0.1.0","pid":123}`. Unknown keys are for later versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub hangar: Role,
    pub protocol: u32,
    pub version: Box<str>,
    pub pid: u32,
    /// Of a gateway: names its life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation_id: Option<Box<str>>,
    /// Of a gateway: the longest line that it takes on this connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_bytes: Option<usize>,
}

impl Hello {
    /// Of this process.
    pub fn own(hangar: Role) -> Self {
        let version = env!("CARGO_PKG_VERSION").into();
        Self { hangar, protocol: PROTOCOL, version, pid: std::process::id(), generation_id: None, line_bytes: None }
    }

    pub fn of_gateway(generation_id: &str, line_bytes: usize) -> Self {
        Self { generation_id: Some(generation_id.into()), line_bytes: Some(line_bytes), ..Self::own(Role::Daemon) }
    }

    /// `None`: it is no hello of `role`.
    pub fn parse(line: &[u8], role: Role) -> Option<Self> {
        // A struct is read from an array, too; a hello is an object.
        let object = line.trim_ascii_start().first() == Some(&b'{');
        let hello: Self = object.then(|| serde_json::from_slice(line).ok()).flatten()?;
        // It is shown to people.
        let plain = hello.version.len() <= 64 && hello.version.bytes().all(|b| b.is_ascii_graphic());
        (hello.hangar == role && plain).then_some(hello)
    }

    /// With its newline.
    pub fn line(&self) -> Vec<u8> {
        let mut line = super::to_json(self);
        line.push(b'\n');
        line
    }

    pub fn same_version(&self) -> bool {
        *self.version == *env!("CARGO_PKG_VERSION")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_comes_back_as_it_went() {
        for hello in [Hello::own(Role::Connect), Hello::of_gateway("ab", 7)] {
            assert_eq!(Hello::parse(&hello.line(), hello.hangar), Some(hello.clone()));
            assert!(hello.same_version());
        }
    }

    #[test]
    fn what_is_no_hello_is_none() {
        let good = r#"{"hangar":"connect","protocol":2,"version":"9.9","pid":1,"later":[]}"#;
        assert_eq!(Hello::parse(good.as_bytes(), Role::Connect).map(|hello| hello.protocol), Some(2));
        assert_eq!(Hello::parse(good.as_bytes(), Role::Daemon), None);
        for bad in [
            "",
            "GET / HTTP/1.1",
            r#"["connect",1,"1",1]"#,
            r#"{"hangar":"connect","version":"1","pid":1}"#,
            r#"{"hangar":"connect","protocol":1,"version":"a\u001b[2J","pid":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"initialize"}"#,
        ] {
            assert_eq!(Hello::parse(bad.as_bytes(), Role::Connect), None, "{bad}");
        }
    }
}
