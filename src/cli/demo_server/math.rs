//! Arithmetic. Integers stay exact as long as the result fits 64 bits; everything else is a 64-bit float.

use serde_json::{Value, json};

use super::tool::{Arguments, Kind, Tool, field};

const A: super::tool::Field = field("a", Kind::Number, "the first number");
const B: super::tool::Field = field("b", Kind::Number, "the second number");
const RESULT: &[super::tool::Field] = &[field("result", Kind::Number, "the result")];

const fn tool(
    name: &'static str,
    title: &'static str,
    about: &'static str,
    takes: &'static [super::tool::Field],
    run: fn(&Arguments) -> Result<Value, String>,
) -> Tool {
    Tool { name, title, about, takes, gives: RESULT, pure: true, run }
}

pub(super) const TOOLS: &[Tool] = &[
    tool("add", "Add", "Adds two numbers: a + b.", &[A, B], |args| either(args, i64::checked_add, |a, b| a + b)),
    tool("subtract", "Subtract", "Subtracts one number from another: a - b.", &[A, B], |args| {
        either(args, i64::checked_sub, |a, b| a - b)
    }),
    tool("multiply", "Multiply", "Multiplies two numbers: a * b.", &[A, B], |args| {
        either(args, i64::checked_mul, |a, b| a * b)
    }),
    tool("divide", "Divide", "Divides one number by another: a / b. Division by zero is an error.", &[A, B], divide),
    tool(
        "power",
        "Power",
        "Raises a number to a power: base ^ exponent.",
        &[field("base", Kind::Number, "the base"), field("exponent", Kind::Number, "the exponent")],
        power,
    ),
    tool(
        "sqrt",
        "Square root",
        "The square root of a number that is not negative.",
        &[field("number", Kind::Number, "the number, 0 or more")],
        sqrt,
    ),
    tool(
        "mean",
        "Mean",
        "The arithmetic mean of a list of numbers.",
        &[field("numbers", Kind::Numbers, "the numbers")],
        mean,
    ),
];

/// The exact operation where both are integers and so is the result, the other one else.
fn either(args: &Arguments, exact: fn(i64, i64) -> Option<i64>, float: fn(f64, f64) -> f64) -> Result<Value, String> {
    match args.integer("a").zip(args.integer("b")).and_then(|(a, b)| exact(a, b)) {
        Some(result) => Ok(json!({"result": result})),
        None => number(float(args.number("a"), args.number("b"))),
    }
}

fn divide(args: &Arguments) -> Result<Value, String> {
    if args.number("b") == 0.0 {
        return Err(format!("divide: {} cannot be divided by zero; give a `b` other than 0", args.value("a")));
    }
    either(args, |a, b| if a.checked_rem(b)? == 0 { a.checked_div(b) } else { None }, |a, b| a / b)
}

fn power(args: &Arguments) -> Result<Value, String> {
    let (base, exponent) = (args.number("base"), args.number("exponent"));
    if base == 0.0 && exponent < 0.0 {
        return Err("power: 0 to a negative power is a division by zero; give an `exponent` of 0 or more".into());
    }
    if base < 0.0 && exponent.fract() != 0.0 {
        return Err("power: a negative `base` to a fractional `exponent` is no real number".into());
    }
    let exact = args.integer("base").zip(args.integer("exponent").and_then(|e| u32::try_from(e).ok()));
    match exact.and_then(|(base, exponent)| base.checked_pow(exponent)) {
        Some(result) => Ok(json!({"result": result})),
        None => number(base.powf(exponent)),
    }
}

fn sqrt(args: &Arguments) -> Result<Value, String> {
    if args.number("number") < 0.0 {
        return Err(format!("sqrt: {} is negative; give a `number` of 0 or more", args.value("number")));
    }
    number(args.number("number").sqrt())
}

fn mean(args: &Arguments) -> Result<Value, String> {
    let (sum, count) = args.numbers("numbers").fold((0.0, 0.0), |(sum, count), n| (sum + n, count + 1.0));
    number(sum / count)
}

/// JSON has no infinity. Whole numbers are written without a fraction as far as a float counts in ones.
fn number(result: f64) -> Result<Value, String> {
    const COUNTS_IN_ONES: f64 = 9_007_199_254_740_992.0;
    if !result.is_finite() {
        return Err("the result is too large for a 64-bit float; give smaller numbers".into());
    }
    if result.fract() == 0.0 && result.abs() <= COUNTS_IN_ONES {
        return Ok(json!({"result": result as i64}));
    }
    Ok(json!({"result": result}))
}

#[cfg(test)]
mod tests {
    use super::super::tool::tests::call;
    use super::*;

    fn result(name: &str, arguments: Value) -> Value {
        call(TOOLS, name, arguments.clone()).unwrap_or_else(|e| panic!("{name} {arguments}: {e}"))["result"].clone()
    }

    #[test]
    fn integers_stay_exact_and_floats_stay_floats() {
        assert_eq!(result("add", json!({"a": 2, "b": 3})), json!(5));
        assert_eq!(result("add", json!({"a": 9007199254740993_i64, "b": 2})), json!(9007199254740995_i64));
        assert_eq!(result("add", json!({"a": 0.5, "b": 0.25})), json!(0.75));
        assert_eq!(result("add", json!({"a": 0.5, "b": 1.5})), json!(2));
        assert_eq!(result("subtract", json!({"a": 2, "b": 3})), json!(-1));
        assert_eq!(result("multiply", json!({"a": i64::MAX, "b": 2})), json!(i64::MAX as f64 * 2.0));
        assert_eq!(result("divide", json!({"a": 7, "b": 2})), json!(3.5));
        assert_eq!(result("divide", json!({"a": 9007199254740993_i64, "b": 1})), json!(9007199254740993_i64));
        assert_eq!(result("divide", json!({"a": i64::MIN, "b": -1})), json!(9.223_372_036_854_776e18));
        assert_eq!(result("power", json!({"base": 3, "exponent": 39})), json!(4052555153018976267_i64));
        assert_eq!(result("power", json!({"base": 2, "exponent": -1})), json!(0.5));
        assert_eq!(result("sqrt", json!({"number": 2})), json!(std::f64::consts::SQRT_2));
        assert_eq!(result("mean", json!({"numbers": [1, 2, 4.5]})), json!(2.5));
    }

    #[test]
    fn what_has_no_result_is_an_error_with_a_way_out() {
        for (name, arguments, says) in [
            ("divide", json!({"a": 7, "b": 0}), "7 cannot be divided by zero; give a `b` other than 0"),
            ("divide", json!({"a": 7, "b": -0.0}), "by zero"),
            ("sqrt", json!({"number": -4}), "-4 is negative"),
            ("power", json!({"base": 0, "exponent": -1}), "division by zero"),
            ("power", json!({"base": -8, "exponent": 0.5}), "no real number"),
            ("power", json!({"base": 10, "exponent": 400}), "too large"),
            ("multiply", json!({"a": 1e308, "b": 10}), "too large"),
            ("mean", json!({"numbers": []}), "at least one number"),
            ("add", json!({"a": "2", "b": 3}), "`a` is a string, not a number"),
        ] {
            let said = call(TOOLS, name, arguments.clone()).expect_err("no result");
            assert!(said.contains(says), "{name} {arguments}: {said}");
        }
    }
}
