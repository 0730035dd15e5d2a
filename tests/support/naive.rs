//! A second evaluator, written from the specification alone and as plainly as possible: no compilation, no
//! indexes, no sharing of code with the library beyond the model and the context.
//!
//! Slow and obviously right is its whole purpose; property tests hold the real evaluator against it.

use leverframe::{
    AttrValue, EvalContext,
    flags::FlagValue,
    manifest::{
        Manifest,
        model::{Atom, AttrType, Audience, Bucket, EnvBlock, Operator, Predicate, Rule, Scalar},
    },
};

/// What the naive evaluator says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Resolved { value: FlagValue, variant: String, rule: Option<usize> },
    Mismatch { attribute: String, expected: AttrType, actual: AttrType },
    UnknownFlag,
    UnknownEnvironment,
}

/// A wrong type ends the evaluation.
struct Mismatch(String, AttrType, AttrType);

/// Section 8, step by step.
pub(crate) fn evaluate(
    manifest: &Manifest,
    flag: &str,
    environment: &str,
    context: &EvalContext,
    include_testing: bool,
) -> Answer {
    let Some(flag) = manifest.flags.get(flag) else { return Answer::UnknownFlag };
    let known = match &manifest.environments {
        Some(roster) => roster.iter().any(|e| e.name == environment),
        None => is_environment_name(environment),
    };
    if !known {
        return Answer::UnknownEnvironment;
    }
    let answer = |variant: &str, rule| match flag.variants.iter().find(|v| v.key == variant) {
        Some(v) => Answer::Resolved { value: v.value.clone(), variant: v.key.clone(), rule },
        None => panic!("the manifest names an undeclared variant `{variant}`"),
    };
    let none = EnvBlock::default();
    let block = flag.environments.iter().find(|(name, _)| name == environment).map_or(&none, |(_, b)| b);

    // Step 1: the environment's own rules.
    if let Some(rules) = &block.rules
        && (!block.testing || include_testing)
    {
        match first_match(manifest, rules, context) {
            Ok(Some(index)) => return answer(&rules[index].variant, Some(index)),
            Ok(None) => {}
            Err(Mismatch(attribute, expected, actual)) => {
                return Answer::Mismatch { attribute, expected, actual };
            }
        }
    }
    // Step 2: the environment's own variant.
    if let Some(variant) = &block.variant {
        return answer(variant, None);
    }
    // Step 3: the catch-all's rules, only if the environment declared none.
    if block.rules.is_none()
        && let Some(rules) = &flag.catch_all.rules
    {
        match first_match(manifest, rules, context) {
            Ok(Some(index)) => return answer(&rules[index].variant, Some(index)),
            Ok(None) => {}
            Err(Mismatch(attribute, expected, actual)) => {
                return Answer::Mismatch { attribute, expected, actual };
            }
        }
    }
    // Step 4: the catch-all's variant.
    match &flag.catch_all.variant {
        Some(variant) => answer(variant, None),
        None => panic!("the catch-all has no variant"),
    }
}

fn first_match(
    manifest: &Manifest,
    rules: &[Rule],
    context: &EvalContext,
) -> Result<Option<usize>, Mismatch> {
    for (index, rule) in rules.iter().enumerate() {
        let matches = match &rule.audience {
            Audience::Segment(key) => in_segment(manifest, key, context)?,
            Audience::Predicate(predicate) => holds(manifest, predicate, context)?,
        };
        if matches {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

fn in_segment(manifest: &Manifest, key: &str, context: &EvalContext) -> Result<bool, Mismatch> {
    let segment = &manifest.segments[key];
    if let Some(predicate) = &segment.predicate
        && !holds(manifest, predicate, context)?
    {
        return Ok(false);
    }
    match &segment.bucket {
        Some(bucket) => Ok(in_bucket(bucket, key, context)),
        None => Ok(true),
    }
}

fn holds(manifest: &Manifest, predicate: &Predicate, context: &EvalContext) -> Result<bool, Mismatch> {
    match predicate {
        Predicate::And(nodes) => {
            for node in nodes {
                if !holds(manifest, node, context)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Predicate::Or(nodes) => {
            for node in nodes {
                if holds(manifest, node, context)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Predicate::Not(node) => Ok(!holds(manifest, node, context)?),
        Predicate::Segment(key) => in_segment(manifest, key, context),
        Predicate::Atom(atom) => atom_holds(manifest, atom, context),
    }
}

/// M2 and M3, then section 6.
fn atom_holds(manifest: &Manifest, atom: &Atom, context: &EvalContext) -> Result<bool, Mismatch> {
    let Some(value) = context.get(&atom.attribute) else { return Ok(atom.op == Operator::IsNotSet) };
    if atom.op == Operator::IsSet || atom.op == Operator::IsNotSet {
        return Ok(atom.op == Operator::IsSet);
    }
    if let AttrValue::StrList(list) = value {
        return Ok(list_answers(atom, list));
    }
    let expected = manifest.attributes[&atom.attribute];
    let actual = type_of(value);
    let accepted = actual == expected || (actual == AttrType::Int && expected == AttrType::Float);
    if !accepted {
        return Err(Mismatch(atom.attribute.clone(), expected, actual));
    }
    if matches!(value, AttrValue::Float(v) if v.is_nan()) {
        return Ok(false);
    }
    let one = atom.operands.first();
    let equals_any = atom.operands.iter().any(|operand| equal(value, operand));
    Ok(match atom.op {
        Operator::Eq | Operator::In => equals_any,
        Operator::Neq | Operator::NotIn => !equals_any,
        Operator::Gt => order(value, one) > 0,
        Operator::Gte => order(value, one) >= 0,
        Operator::Lt => order(value, one) < 0,
        Operator::Lte => order(value, one) <= 0,
        Operator::Contains => text(value).contains(operand_text(one)),
        Operator::NotContains => !text(value).contains(operand_text(one)),
        Operator::StartsWith => text(value).starts_with(operand_text(one)),
        Operator::EndsWith => text(value).ends_with(operand_text(one)),
        Operator::SemverEq => versions(value, one).is_some_and(|o| o == 0),
        Operator::SemverGt => versions(value, one).is_some_and(|o| o > 0),
        Operator::SemverGte => versions(value, one).is_some_and(|o| o >= 0),
        Operator::SemverLt => versions(value, one).is_some_and(|o| o < 0),
        Operator::SemverLte => versions(value, one).is_some_and(|o| o <= 0),
        Operator::IsSet | Operator::IsNotSet => unreachable!("answered above"),
    })
}

/// List attributes: only membership and overlap apply; everything else is false.
fn list_answers(atom: &Atom, list: &[String]) -> bool {
    let overlap = list.iter().any(|item| {
        atom.operands.iter().any(|operand| matches!(operand, Scalar::String(text) if text == item))
    });
    match atom.op {
        Operator::Contains | Operator::In => overlap,
        Operator::NotContains | Operator::NotIn => !overlap,
        _ => false,
    }
}

fn type_of(value: &AttrValue) -> AttrType {
    match value {
        AttrValue::String(_) => AttrType::String,
        AttrValue::Boolean(_) => AttrType::Boolean,
        AttrValue::Int(_) => AttrType::Int,
        AttrValue::Float(_) => AttrType::Float,
        AttrValue::StrList(_) => AttrType::StrList,
    }
}

fn text(value: &AttrValue) -> &str {
    if let AttrValue::String(text) = value { text } else { panic!("no text") }
}

fn operand_text(operand: Option<&Scalar>) -> &str {
    if let Some(Scalar::String(text)) = operand { text } else { panic!("no text operand") }
}

fn equal(value: &AttrValue, operand: &Scalar) -> bool {
    match (value, operand) {
        (AttrValue::String(a), Scalar::String(b)) => a == b,
        (AttrValue::Boolean(a), Scalar::Bool(b)) => a == b,
        (AttrValue::Int(_) | AttrValue::Float(_), Scalar::Int(_) | Scalar::Float(_)) => {
            order(value, Some(operand)) == 0
        }
        _ => false,
    }
}

/// M4: -1, 0 or 1 by exact value.
fn order(value: &AttrValue, operand: Option<&Scalar>) -> i32 {
    let left = match value {
        AttrValue::Int(v) => Exact::of_int(*v),
        AttrValue::Float(v) => Exact::of_float(*v),
        _ => panic!("no number"),
    };
    let right = match operand {
        Some(Scalar::Int(v)) => Exact::of_int(*v),
        Some(Scalar::Float(v)) => Exact::of_float(*v),
        _ => panic!("no number operand"),
    };
    left.compare(&right)
}

/// A number as sign, whole binary digits and fractional binary digits: long enough for any double.
struct Exact {
    negative: bool,
    infinite: bool,
    /// Bit `i` stands for 2^(1023 - i).
    bits: Vec<bool>,
}

impl Exact {
    const WIDTH: usize = 1024 + 1074;

    fn of_int(v: i64) -> Self {
        let mut bits = vec![false; Self::WIDTH];
        for power in 0..64 {
            bits[1023 - power] = v.unsigned_abs() >> power & 1 == 1;
        }
        Self { negative: v < 0, infinite: false, bits }
    }

    fn of_float(v: f64) -> Self {
        let raw = v.to_bits();
        let (exponent, fraction) = ((raw >> 52 & 0x7ff) as i32, raw & ((1 << 52) - 1));
        let mut bits = vec![false; Self::WIDTH];
        // The mantissa's lowest bit stands for 2^(exponent - 1075), and for 2^-1074 of subnormal numbers.
        let (mantissa, lowest) =
            if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
        if exponent != 0x7ff {
            for bit in 0..53 {
                if mantissa >> bit & 1 == 1 {
                    bits[(1023 - (lowest + bit)) as usize] = true;
                }
            }
        }
        Self { negative: raw >> 63 == 1, infinite: exponent == 0x7ff, bits }
    }

    fn compare(&self, other: &Self) -> i32 {
        let zero = |n: &Self| !n.infinite && !n.bits.contains(&true);
        let sign = |n: &Self| match (zero(n), n.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        if sign(self) != sign(other) {
            return if sign(self) < sign(other) { -1 } else { 1 };
        }
        let by_size = match (self.infinite, other.infinite) {
            (true, true) => 0,
            (true, false) => 1,
            (false, true) => -1,
            (false, false) => match self.bits.iter().zip(&other.bits).find(|(a, b)| a != b) {
                None => 0,
                Some((true, _)) => 1,
                Some((false, _)) => -1,
            },
        };
        by_size * sign(self)
    }
}

/// M5; `None` where the context's text is no version.
fn versions(value: &AttrValue, operand: Option<&Scalar>) -> Option<i32> {
    let left = version(text(value))?;
    let right = version(operand_text(operand)).unwrap_or_else(|| panic!("bad version operand"));
    for i in 0..3 {
        if left.0[i] != right.0[i] {
            return Some(if left.0[i] < right.0[i] { -1 } else { 1 });
        }
    }
    match (&left.1, &right.1) {
        (None, None) => return Some(0),
        (None, Some(_)) => return Some(1),
        (Some(_), None) => return Some(-1),
        (Some(_), Some(_)) => {}
    }
    let (left, right) = (left.1.unwrap_or_default(), right.1.unwrap_or_default());
    for (a, b) in left.iter().zip(&right) {
        let digits = |t: &String| t.bytes().all(|c| c.is_ascii_digit());
        let ordering = match (digits(a), digits(b)) {
            (true, true) => a.parse::<u128>().ok()?.cmp(&b.parse::<u128>().ok()?),
            (true, false) => std::cmp::Ordering::Less,
            (false, true) => std::cmp::Ordering::Greater,
            (false, false) => a.cmp(b),
        };
        if ordering.is_ne() {
            return Some(ordering as i32);
        }
    }
    Some(left.len().cmp(&right.len()) as i32)
}

fn version(text: &str) -> Option<([u64; 3], Option<Vec<String>>)> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let identifiers = |text: &str| -> Option<Vec<String>> {
        let parts: Vec<String> = text.split('.').map(str::to_owned).collect();
        let good = |p: &String| !p.is_empty() && p.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        parts.iter().all(good).then_some(parts)
    };
    let leading_zero = |p: &str| p.len() > 1 && p.starts_with('0') && p.bytes().all(|c| c.is_ascii_digit());
    let text = match text.split_once('+') {
        Some((text, build)) => {
            identifiers(build)?;
            text
        }
        None => text,
    };
    let (numbers, pre) = match text.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(identifiers(pre)?)),
        None => (text, None),
    };
    if pre.iter().flatten().any(|p| leading_zero(p)) {
        return None;
    }
    let parts: Vec<&str> = numbers.split('.').collect();
    let mut core = [0; 3];
    if parts.len() > 3 {
        return None;
    }
    for (slot, part) in core.iter_mut().zip(parts) {
        if part.is_empty() || !part.bytes().all(|c| c.is_ascii_digit()) || leading_zero(part) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    Some((core, pre))
}

/// M1.
fn in_bucket(bucket: &Bucket, segment: &str, context: &EvalContext) -> bool {
    let Some(AttrValue::String(id)) = context.get(&bucket.entity_id_attribute) else { return false };
    let salt = match &bucket.salt {
        Some(salt) if !salt.is_empty() => salt,
        _ => segment,
    };
    let place = naive_bucket(id, salt);
    !id.is_empty() && bucket.start <= place && place <= bucket.end
}

/// The bucket function, with the hash written byte by byte from its description.
pub(crate) fn naive_bucket(id: &str, salt: &str) -> u16 {
    let hash = murmur3(id.as_bytes(), murmur3(salt.as_bytes(), 0));
    (u64::from(hash) * 10_000 / 4_294_967_296) as u16
}

fn murmur3(bytes: &[u8], seed: u32) -> u32 {
    let mut hash = seed;
    let mut at = 0;
    while at < bytes.len() {
        let block = &bytes[at..bytes.len().min(at + 4)];
        let mut k = 0_u32;
        for (i, byte) in block.iter().enumerate() {
            k += u32::from(*byte) << (8 * i);
        }
        k = k.wrapping_mul(0xcc9e_2d51);
        k = k.rotate_left(15);
        k = k.wrapping_mul(0x1b87_3593);
        hash ^= k;
        if block.len() == 4 {
            hash = hash.rotate_left(13);
            hash = hash.wrapping_mul(5).wrapping_add(0xe654_6b64);
        }
        at += 4;
    }
    hash ^= bytes.len() as u32;
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

fn is_environment_name(name: &str) -> bool {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(good)
}
