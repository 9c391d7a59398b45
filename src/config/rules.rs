//! What a text must look like, by kind: once as the pattern in the schema, once as the check in the parser.

use super::{Code, ProviderName, codes};

/// One kind of text.
#[derive(Debug)]
pub(super) struct Rule {
    /// ECMA regular expression, as far as it can say it.
    pub pattern: &'static str,
    /// In characters; 0: no limit.
    pub longest: usize,
    pub holds: fn(&str) -> bool,
    pub code: Code,
    /// "must ...".
    pub must: &'static str,
}

pub(super) static ANY: Rule = Rule { pattern: "", longest: 0, holds: |_| true, code: codes::BAD_TEXT, must: "" };

pub(super) static NO_NUL: Rule = Rule {
    pattern: "^[^\\u0000]*$",
    longest: 0,
    holds: |text| !text.contains('\0'),
    code: codes::BAD_TEXT,
    must: "must not hold a NUL character",
};

pub(super) static PATH: Rule = Rule {
    pattern: "^[^\\u0000]+$",
    longest: 4096,
    holds: |text| !text.is_empty() && !text.contains('\0'),
    code: codes::BAD_TEXT,
    must: "must be a path",
};

pub(super) static WORD: Rule = Rule {
    pattern: "^[A-Za-z0-9][A-Za-z0-9_.:-]*$",
    longest: 255,
    holds: |text| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
    },
    code: codes::BAD_TEXT,
    must: "must be letters, digits and `_.:-`, and begin with a letter or digit",
};

pub(super) static IMAGE: Rule = Rule {
    pattern: "^[A-Za-z0-9][A-Za-z0-9_./:@-]*$",
    longest: 1024,
    holds: |text| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_./:@-".contains(&b))
    },
    code: codes::BAD_TEXT,
    must: "must be an image reference such as `search-mcp:v2`",
};

pub(super) static PROVIDER_NAME: Rule = Rule {
    pattern: "^[A-Za-z](_?[A-Za-z0-9-])*_?$",
    longest: 64,
    holds: |text| ProviderName::new(text).is_some(),
    code: codes::PROVIDER_NAME,
    must: "must be 1 to 64 letters, digits, `_` and `-`, begin with a letter and hold no `__`",
};

pub(super) static ENV_NAME: Rule = Rule {
    pattern: "^[^=\\u0000]+$",
    longest: 0,
    holds: |text| !text.is_empty() && !text.contains(['=', '\0']),
    code: codes::ENV_NAME,
    must: "must not be empty and hold no `=` or NUL",
};

pub(super) static HEADER_NAME: Rule = Rule {
    pattern: "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
    longest: 256,
    holds: is_header_name,
    code: codes::HEADER,
    must: "must be an HTTP header name: letters, digits and `-`",
};

pub(super) static HEADER_VALUE: Rule = Rule {
    pattern: "^[\\u0009\\u0020-\\u007e]*$",
    longest: 0,
    holds: |text| text.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)),
    code: codes::HEADER,
    must: "must be plain ASCII without line breaks",
};

pub(super) static CREDENTIAL: Rule = Rule {
    pattern: "^[\\u0021-\\u007e]+$",
    longest: 0,
    holds: |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()),
    code: codes::AUTH,
    must: "must not be empty and hold no spaces, line breaks or non-ASCII characters",
};

pub(super) static USERNAME: Rule = Rule {
    pattern: "^[^:\\u0000]+$",
    longest: 0,
    holds: |text| !text.is_empty() && !text.contains([':', '\0']),
    code: codes::AUTH,
    must: "must not be empty and hold no `:`",
};

pub(super) static ENDPOINT: Rule = Rule {
    pattern: "^https?://[^/\\s]",
    longest: 0,
    holds: |text| {
        let rest = text.strip_prefix("http").map(|rest| rest.strip_prefix('s').unwrap_or(rest));
        rest.and_then(|rest| rest.strip_prefix("://"))
            .is_some_and(|host| host.starts_with(|c: char| c != '/' && !c.is_whitespace()))
    },
    code: codes::ENDPOINT,
    must: "must be a URL that begins with http:// or https://",
};

pub(super) static VOLUME: Rule = Rule {
    pattern: "^[./][^:]*:/[^:]*(:(ro|rw))?$",
    longest: 0,
    holds: |text| {
        let mut parts = text.split(':');
        let host = parts.next().is_some_and(|host| host.starts_with(['.', '/']));
        let container = parts.next().is_some_and(|container| container.starts_with('/'));
        let access = parts.next().is_none_or(|access| matches!(access, "ro" | "rw"));
        host && container && access && parts.next().is_none()
    },
    code: codes::VOLUME,
    must: "must be `HOST:CONTAINER`, `HOST:CONTAINER:ro` or `HOST:CONTAINER:rw`: a host path that begins with `/` or `.`, \
           and an absolute path in the container",
};

/// With or without `CAP_` in front.
pub(super) static CAPABILITY: Rule = Rule {
    pattern: "^(CAP_)?[A-Z_]+$",
    longest: 64,
    holds: |text| CAPABILITIES.contains(&text.strip_prefix("CAP_").unwrap_or(text)),
    code: codes::CAPABILITY,
    must: "must be a kernel capability in capitals such as NET_ADMIN, or ALL (capabilities(7) has the list)",
};

const CAPABILITIES: &[&str] = &[
    "ALL",
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

pub(super) static GLOB: Rule = Rule {
    pattern: "^.+$",
    longest: 256,
    holds: |text| !text.is_empty() && !text.contains('\n'),
    code: codes::GLOB,
    must: "must not be empty",
};

pub(super) static HOST: Rule = Rule {
    pattern: "^[0-9A-Za-z:_.%-]+$",
    longest: 255,
    holds: |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.%-".contains(&b)),
    code: codes::ADDRESS,
    must: "must be an IP address or a host name, without a port",
};

pub(super) static HOST_PORT: Rule = Rule {
    pattern: "^[0-9A-Za-z:_.\\[\\]-]+$",
    longest: 261,
    holds: |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b":_.[]-".contains(&b)),
    code: codes::ADDRESS,
    must: "must be `name` or `name:port`",
};

pub(super) static ORIGIN: Rule = Rule {
    pattern: "^[a-z][a-z0-9+.-]*://[^/\\s]+$",
    longest: 0,
    holds: is_origin,
    code: codes::ADDRESS,
    must: "must be an origin such as `https://app.example.com`: scheme and host, no path",
};

fn is_header_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+.^_`|~-".contains(&b))
}

fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b));
    scheme_ok && !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace())
}
