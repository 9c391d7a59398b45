//! The stable codes of configuration problems. `docs/configuration.md` explains each; a test holds the two together.
//!
//! The hundreds group them: 00 the file, 01 its form, 02 references, 03 values, 09 warnings.

use super::Code;

/// Whether a JSON Schema can see such a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InSchema {
    Yes,
    Partly,
    No,
}

macro_rules! codes {
    ($($name:ident = $code:literal, $in_schema:ident, $meaning:literal;)*) => {
        $(pub(super) const $name: Code = $code;)*
        /// Every code with what it means.
        pub const CODES: &[(Code, InSchema, &str)] = &[$(($code, InSchema::$in_schema, $meaning)),*];
    };
}

codes! {
    MISSING_FILE = "HGR0001", No, "there is no such file";
    UNREADABLE = "HGR0002", No, "the file cannot be read";
    NOT_UTF8 = "HGR0003", No, "the file is not UTF-8 text";
    TOO_LARGE = "HGR0004", No, "the file is too large";

    SYNTAX = "HGR0101", No, "not valid YAML";
    UNKNOWN_KEY = "HGR0102", Yes, "unknown key";
    DUPLICATE = "HGR0103", No, "the same key twice";
    WRONG_TYPE = "HGR0104", Yes, "a value of the wrong type";
    MISSING_KEY = "HGR0105", Yes, "a key that must be there is missing";
    NO_VALUE = "HGR0106", Yes, "a key without a value";
    EMPTY_FILE = "HGR0107", Yes, "the file is empty";
    DOCUMENTS = "HGR0108", No, "more than one YAML document";
    TAG = "HGR0109", No, "a YAML tag";
    MERGE = "HGR0110", No, "a merge key that clashes or merges no mapping";
    ALIAS = "HGR0111", No, "an alias that cannot be resolved";
    BUDGET = "HGR0112", No, "nested too deeply, or too large once aliases are expanded";
    NOT_A_CHOICE = "HGR0113", Yes, "not one of the words accepted";
    BAD_NUMBER = "HGR0114", Yes, "a number out of range";
    OTHER_MODE = "HGR0115", Yes, "a key of another mode";
    BOTH_SPELLINGS = "HGR0116", Yes, "two spellings of one key at once";
    NOT_YET = "HGR0117", Yes, "not in this version";

    UNSET = "HGR0201", No, "an environment variable that is not set";
    BAD_REFERENCE = "HGR0202", No, "a `${...}` that cannot be understood";
    FILE_REFERENCE = "HGR0203", No, "a file named by `${file:...}` that cannot be read";
    ENV_FILE = "HGR0204", No, "an env file that cannot be read";
    ENV_FILE_LINE = "HGR0205", No, "a line of an env file that cannot be understood";

    PROVIDER_NAME = "HGR0301", Yes, "a bad provider or group name";
    PROVIDER_CLASH = "HGR0302", No, "two provider or group names whose tools could bear the same name";
    COMMAND_NOT_FOUND = "HGR0303", No, "the command cannot be found or run";
    NO_CWD = "HGR0304", No, "the working directory is not there";
    ENDPOINT = "HGR0305", Partly, "a bad endpoint";
    VOLUME = "HGR0306", Partly, "a bad or dangerous volume";
    HEADER = "HGR0307", Partly, "a bad HTTP header";
    ENV_NAME = "HGR0308", Partly, "a bad environment variable";
    TLS_FILE = "HGR0309", No, "a TLS file that cannot be read or is not what it should be";
    GLOB = "HGR0310", Partly, "a bad pattern of names";
    ADDRESS = "HGR0311", Partly, "a bad host, address or origin";
    BAD_TEXT = "HGR0312", Partly, "a text that is empty or has characters it cannot have";
    MEMORY = "HGR0313", Partly, "a bad amount of memory";
    STOP_TIMES = "HGR0314", No, "stop times that are too long together";
    AUTH = "HGR0315", Partly, "credentials that cannot be sent";
    PROTOCOL = "HGR0316", No, "a protocol revision that the transport does not have";
    CAPABILITY = "HGR0317", Partly, "no kernel capability";
    CATALOG_NAME = "HGR0318", No, "an entry of `catalog` that bears the name of a provider or group";
    FRAGMENT_NAME = "HGR0319", No, "warning: a fragment that bears a name of the configuration file or of another fragment";
    GROUP_NAME = "HGR0321", No, "a group that bears a provider's name";
    NO_MEMBER = "HGR0322", No, "a member that is no provider";
    MEMBER_TWICE = "HGR0323", No, "a member twice in one group";
    MIN_HEALTHY = "HGR0324", No, "`min_healthy` above the number of members";
    RULE_ORDER = "HGR0330", No, "a rule for clients that another one hides";
    AUDIT_FILE = "HGR0340", No, "an audit file that cannot be there";

    NO_PROVIDERS = "HGR0901", No, "warning: no provider is in service";
    TLS_OFF = "HGR0902", No, "warning: TLS certificates are not verified";
    PLAIN_CREDENTIALS = "HGR0903", No, "warning: credentials travel unencrypted";
}

/// The stage a code belongs to: `read` | `parse` | `normalize` | `validate`.
pub(super) fn stage(code: Code) -> &'static str {
    match code {
        MISSING_KEY | NOT_A_CHOICE | BAD_NUMBER | OTHER_MODE | BOTH_SPELLINGS | NOT_YET => "validate",
        _ => match code.as_bytes().get(3..5) {
            Some(b"00") => "read",
            Some(b"01") => "parse",
            Some(b"02") => "normalize",
            _ => "validate",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_for_one_thing_and_they_stand_in_order() {
        let codes: Vec<_> = CODES.iter().map(|(code, ..)| *code).collect();
        assert!(codes.windows(2).all(|pair| pair[0] < pair[1]), "{codes:?}");
    }
}
