//! The clock and the calendar. Nothing here waits. Times are RFC 3339 with an offset; zone names work as far as the
//! machine has a time zone database.

use jiff::{
    SignedDuration, Span, Timestamp, Zoned,
    fmt::temporal::Pieces,
    tz::{Offset, TimeZone},
};
use serde_json::{Value, json};

use super::tool::{Arguments, Field, Kind, Tool, field, optional, shorten};

const ZONE: &str = "UTC, an offset (+02:00) or a zone name (Europe/Paris)";
const TIME: &str = "a time with offset, like 2026-03-01T12:00:00+01:00; a trailing zone [Europe/Paris] is respected";

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        name: "now",
        title: "Current time",
        about: "The current date and time in a time zone, UTC unless told otherwise.",
        takes: &[optional("timezone", Kind::Text, ZONE)],
        gives: &[
            field("time", Kind::Text, "the time, RFC 3339 with offset"),
            field("weekday", Kind::Text, "the day of the week, in English"),
            field("unix_ms", Kind::Integer, "milliseconds since 1970-01-01T00:00:00Z"),
        ],
        pure: false,
        run: now,
    },
    Tool {
        name: "convert",
        title: "Convert time",
        about: "Shows a time in another time zone.",
        takes: &[field("time", Kind::Text, TIME), field("timezone", Kind::Text, ZONE)],
        gives: RESULT,
        pure: true,
        run: |args| rendered(&time(args.text("time"))?.with_time_zone(zone(args.text("timezone"))?)),
    },
    Tool {
        name: "add_duration",
        title: "Add a duration",
        about: "Adds a duration to a time; a negative one goes back. Months and days follow the calendar.",
        takes: &[
            field("time", Kind::Text, TIME),
            field("duration", Kind::Text, "ISO 8601 (P1DT2H30M, -P1M) or in words (1 day 2h 30m, 2 weeks ago)"),
        ],
        gives: RESULT,
        pure: true,
        run: add_duration,
    },
    Tool {
        name: "difference",
        title: "Time between",
        about: "How much time passes from one time to another; negative when the second is earlier.",
        takes: &[field("from", Kind::Text, TIME), field("to", Kind::Text, TIME)],
        gives: &[
            field("seconds", Kind::Number, "the difference in seconds"),
            field("duration", Kind::Text, "the difference as ISO 8601, in hours, minutes and seconds"),
        ],
        pure: true,
        run: difference,
    },
];

const RESULT: &[Field] = &[field("result", Kind::Text, "the time, RFC 3339 with offset")];

fn now(args: &Arguments) -> Result<Value, String> {
    let now = Timestamp::now().to_zoned(zone(args.optional_text("timezone").unwrap_or("UTC"))?);
    Ok(json!({
        "time": rfc3339(&now)?,
        "weekday": now.strftime("%A").to_string(),
        "unix_ms": now.timestamp().as_millisecond(),
    }))
}

fn add_duration(args: &Arguments) -> Result<Value, String> {
    let text = args.text("duration");
    let span: Span = text.parse().map_err(|_| {
        format!("`{}` is no duration; write it like P1DT2H30M, or in words like \"1 day 2h 30m\"", shorten(text))
    })?;
    let later = time(args.text("time"))?.checked_add(span);
    rendered(&later.map_err(|_| "the result is no date between the years -9999 and 9999; take a shorter duration")?)
}

fn difference(args: &Arguments) -> Result<Value, String> {
    let (from, to) = (time(args.text("from"))?.timestamp(), time(args.text("to"))?.timestamp());
    let passed: SignedDuration = from.duration_until(to);
    let seconds = if passed.subsec_nanos() == 0 { json!(passed.as_secs()) } else { json!(passed.as_secs_f64()) };
    Ok(json!({"seconds": seconds, "duration": passed.to_string()}))
}

fn time(text: &str) -> Result<Zoned, String> {
    let help = || format!("`{}` is no time with an offset; write it like 2026-03-01T12:00:00Z", shorten(text));
    if let Ok(zoned) = text.parse::<Zoned>() {
        return Ok(zoned);
    }
    let offset = Pieces::parse(text).ok().and_then(|pieces| pieces.to_numeric_offset());
    let timestamp: Timestamp = text.parse().map_err(|_| help())?;
    Ok(timestamp.to_zoned(TimeZone::fixed(offset.unwrap_or(Offset::UTC))))
}

fn zone(text: &str) -> Result<TimeZone, String> {
    if matches!(text, "UTC" | "utc" | "Z" | "z") {
        return Ok(TimeZone::UTC);
    }
    let offset = Pieces::parse(&format!("2000-01-01T00:00{text}")).ok().and_then(|pieces| pieces.to_numeric_offset());
    match offset {
        Some(offset) => Ok(TimeZone::fixed(offset)),
        None => TimeZone::get(text).map_err(|_| {
            format!(
                "`{}` is no time zone that this machine knows; give UTC, an offset like +02:00, \
                 or a name like Europe/Paris where the machine has a time zone database",
                shorten(text)
            )
        }),
    }
}

fn rendered(time: &Zoned) -> Result<Value, String> {
    Ok(json!({"result": rfc3339(time)?}))
}

/// Without the zone's name, which RFC 3339 does not know.
fn rfc3339(time: &Zoned) -> Result<String, String> {
    if !(0..=9999).contains(&time.year()) {
        return Err("RFC 3339 has the years 0 to 9999 only".into());
    }
    Ok(time.timestamp().display_with_offset(time.offset()).to_string())
}

#[cfg(test)]
mod tests {
    use super::super::tool::tests::call;
    use super::*;

    fn result(name: &str, arguments: Value) -> Value {
        call(TOOLS, name, arguments.clone()).unwrap_or_else(|e| panic!("{name} {arguments}: {e}"))["result"].clone()
    }

    #[test]
    fn now_is_now_in_any_zone() {
        let before = Timestamp::now();
        for zone in [json!({}), json!({"timezone": "UTC"}), json!({"timezone": "+05:30"}), json!({"timezone": "-08"})] {
            let answer = call(TOOLS, "now", zone.clone()).unwrap_or_else(|e| panic!("{zone}: {e}"));
            let time = answer["time"].as_str().expect("a text");
            let parsed: Timestamp = time.parse().expect("RFC 3339");
            assert!(parsed >= before && parsed <= Timestamp::now(), "{time}");
            assert_eq!(answer["unix_ms"], parsed.as_millisecond());
        }
        let india = call(TOOLS, "now", json!({"timezone": "+05:30"})).expect("a time");
        assert!(india["time"].as_str().is_some_and(|time| time.ends_with("+05:30")), "{india}");
    }

    #[test]
    fn a_time_keeps_its_moment_in_another_zone() {
        let at = |zone: &str| result("convert", json!({"time": "2026-03-01T12:00:00+01:00", "timezone": zone}));
        assert_eq!(at("UTC"), "2026-03-01T11:00:00+00:00");
        assert_eq!(at("-0330"), "2026-03-01T07:30:00-03:30");
        if TimeZone::get("Asia/Tokyo").is_ok() {
            assert_eq!(at("Asia/Tokyo"), "2026-03-01T20:00:00+09:00");
        }
    }

    #[test]
    fn durations_follow_the_calendar() {
        let plus =
            |duration: &str| result("add_duration", json!({"time": "2028-01-31T23:30:00+02:00", "duration": duration}));
        assert_eq!(plus("P1M"), "2028-02-29T23:30:00+02:00");
        assert_eq!(plus("1 day 45m"), "2028-02-02T00:15:00+02:00");
        assert_eq!(plus("-PT0.5S"), "2028-01-31T23:29:59.5+02:00");
        assert_eq!(plus("2 weeks ago"), "2028-01-17T23:30:00+02:00");
    }

    #[test]
    fn the_time_between() {
        let between = |from: &str, to: &str| call(TOOLS, "difference", json!({"from": from, "to": to}));
        assert_eq!(
            between("2026-03-01T00:00:00Z", "2026-03-02T00:00:01+01:00"),
            Ok(json!({"seconds": 82801, "duration": "PT23H1S"}))
        );
        assert_eq!(
            between("2026-03-01T00:00:01.5Z", "2026-03-01T00:00:00Z"),
            Ok(json!({"seconds": -1.5, "duration": "-PT1.5S"}))
        );
    }

    #[test]
    fn what_is_no_time_zone_or_duration_is_refused_with_a_way_out() {
        for (name, arguments, says) in [
            (
                "now",
                json!({"timezone": "Mars/Olympus"}),
                "`Mars/Olympus` is no time zone that this machine knows; give UTC",
            ),
            ("now", json!({"timezone": ""}), "is no time zone"),
            ("now", json!({"timezone": "../../etc/passwd"}), "is no time zone"),
            ("now", json!({"timezone": 2}), "`timezone` is a number, not a string"),
            ("convert", json!({"time": "yesterday", "timezone": "UTC"}), "write it like 2026-03-01T12:00:00Z"),
            ("convert", json!({"time": "2026-03-01T12:00:00", "timezone": "UTC"}), "no time with an offset"),
            ("convert", json!({"time": "2026-02-30T12:00:00Z", "timezone": "UTC"}), "no time with an offset"),
            ("add_duration", json!({"time": "2026-03-01T12:00:00Z", "duration": "soon"}), "`soon` is no duration"),
            (
                "add_duration",
                json!({"time": "2026-03-01T12:00:00Z", "duration": "9998 years"}),
                "take a shorter duration",
            ),
            ("add_duration", json!({"time": "2026-03-01T12:00:00Z", "duration": "-3000 years"}), "the years 0 to 9999"),
        ] {
            let said = call(TOOLS, name, arguments.clone()).expect_err("refused");
            assert!(said.contains(says), "{name} {arguments}: {said}");
        }
    }
}
