//! `Mcp-Param-*`: arguments of a tool that its schema (`x-mcp-header`) wants repeated in headers, and their encoding.

use axum::http::HeaderMap;
use base64::{Engine as _, prelude::BASE64_STANDARD as STANDARD};

use super::Front;
use crate::{
    provider::{Listing, Mark, marks},
    wire::Frame,
};

const PREFIX: &str = "mcp-param-";

/// A header's value: as it stands, or `=?base64?...?=`. An `Err`: it is marked as encoded, and is not.
pub(super) fn decode(value: &str) -> Result<String, ()> {
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Ok(value.to_owned());
    };
    String::from_utf8(STANDARD.decode(encoded).map_err(drop)?).map_err(drop)
}

/// Whether the headers say what the arguments of a call to `tool` (as clients know it) say. An `Err` tells the first that
/// does not.
pub(super) fn check(front: &Front, headers: &HeaderMap, frame: &Frame, tool: &str) -> Result<(), String> {
    let index = front.state.gateway.registry.index();
    let Some(route) = index.route(Listing::Tools, tool) else { return Ok(()) };
    let Some(catalogue) = route.provider.catalogue() else { return Ok(()) };
    let Some(item) = catalogue.tool(&route.name) else { return Ok(()) };
    // A tool with marks that make no sense is nobody's to check.
    agree(&marks(&item.raw).unwrap_or_default(), headers, frame)
}

/// What [`check`] looks at, for a tool with these marks.
pub(super) fn agree(marks: &[Mark], headers: &HeaderMap, frame: &Frame) -> Result<(), String> {
    for mark in marks {
        let (said, header, argument) = (mark.value(frame), &mark.header, mark.path.join("."));
        let name = format!("{PREFIX}{}", header.to_ascii_lowercase());
        let mut values = headers.get_all(&name).iter();
        let given = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => Some(value.to_str().map_err(drop).and_then(|text| decode(text.trim()))),
            _ => return Err(format!("the header Mcp-Param-{header} stands there twice")),
        };
        match (said, given) {
            (None, None) => {}
            (Some(said), Some(Ok(given))) if said == given => {}
            (Some(_), None) => return Err(format!("the header Mcp-Param-{header} is missing")),
            (_, Some(Err(()))) => return Err(format!("Mcp-Param-{header} is not valid")),
            _ => return Err(format!("Mcp-Param-{header} is not \"params.arguments.{argument}\" of the body")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_stand_or_decoded_or_refused() {
        assert_eq!(decode("Hello").as_deref(), Ok("Hello"));
        assert_eq!(decode("=?base64?SGVsbG8=?=").as_deref(), Ok("Hello"));
        assert_eq!(decode("=?base64?w7xiZXI=?=").as_deref(), Ok("über"));
        assert_eq!(decode("=?base64??=").as_deref(), Ok(""));
        assert_eq!(decode("=?base64?SGVsbG8=").as_deref(), Ok("=?base64?SGVsbG8="), "no end mark");
        for bad in ["=?base64?SGVsbG8?=", "=?base64?SGVs!!!bG8=?=", "=?base64?====?=", "=?base64?/w==?="] {
            assert_eq!(decode(bad), Err(()), "{bad}");
        }
    }
}
