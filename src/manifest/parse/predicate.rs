//! Predicates: atoms, `and`, `or`, `not`, segment references.

use toml::de::DeValue;

use super::{
    AttributeUse, SegmentUse, Span, Uses,
    fields::{File, Table, Value, a_type, float, integer, shown},
};
use crate::{
    eval::Semver,
    manifest::{
        lint::{
            codes::{E017, E019, E020, E021, E022, E023, E024, E030},
            findings::did_you_mean,
        },
        model::{Atom, AttrType, Operator, Predicate, Scalar},
    },
};

/// Levels of nodes, the atom counted (M6).
pub(crate) const DEEPEST: usize = 32;

/// Reads predicates of one subject.
pub(super) struct Predicates<'p, 't> {
    pub(super) file: &'p mut File<'t>,
    pub(super) uses: &'p mut Uses,
    /// `flag 'k' rule[0]`, for messages.
    pub(super) subject: &'p str,
}

impl Predicates<'_, '_> {
    /// Reads a predicate; `None` after a finding.
    pub(super) fn parse(&mut self, value: Value<'_, '_>) -> Option<Predicate> {
        self.node(value, 1)
    }

    fn node(&mut self, value: Value<'_, '_>, depth: usize) -> Option<Predicate> {
        if depth > DEEPEST {
            let message = format!("{}: predicates are nested deeper than {DEEPEST} levels", self.subject);
            self.file.findings.add_help(
                E024,
                value.span(),
                message,
                "move inner parts to segments of their own, or flatten them",
            );
            return None;
        }
        let Some(table) = value.get_ref().as_table() else {
            let message =
                format!("{}: a predicate must be a table, not {}", self.subject, a_type(value.get_ref()));
            self.file.findings.add(E017, value.span(), message);
            return None;
        };
        let table = Table { table, span: value.span(), name: "predicate" };
        let is_atom = ["attribute", "op", "value", "values"].iter().any(|key| table.get(key).is_some());
        let kinds: Vec<&str> =
            ["and", "or", "not", "segment"].into_iter().filter(|key| table.get(key).is_some()).collect();
        match (is_atom, kinds.as_slice()) {
            (true, []) => self.atom(&table),
            (false, [kind]) => {
                self.file.only_known(&table, &[kind]);
                let inner = table.get(kind)?;
                match *kind {
                    "and" => self.group(&table, "and", inner, depth).map(Predicate::And),
                    "or" => self.group(&table, "or", inner, depth).map(Predicate::Or),
                    "not" => self.node(inner, depth + 1).map(|node| Predicate::Not(Box::new(node))),
                    _ => self.reference(&table),
                }
            }
            (false, []) => {
                self.file.only_known(
                    &table,
                    &["attribute", "op", "value", "values", "and", "or", "not", "segment"],
                );
                self.shape(&table, "is of no kind");
                None
            }
            _ => {
                self.shape(&table, "is of several kinds at once");
                None
            }
        }
    }

    fn shape(&mut self, table: &Table<'_, '_>, what: &str) {
        let message = format!("{}: a predicate node {what}", self.subject);
        let help = "a node has `attribute` and `op`, or exactly one of `and`, `or`, `not`, `segment`";
        self.file.findings.add_help(E023, table.span.clone(), message, help);
    }

    fn group(
        &mut self,
        table: &Table<'_, '_>,
        kind: &str,
        inner: Value<'_, '_>,
        depth: usize,
    ) -> Option<Vec<Predicate>> {
        let Some(items) = inner.get_ref().as_array() else {
            self.file.wrong_type(table, kind, inner, "an array of predicates");
            return None;
        };
        if items.is_empty() {
            let message = format!("{}: `{kind}` is empty", self.subject);
            self.file.findings.add_help(E022, inner.span(), message, "give it at least one predicate");
            return None;
        }
        // All are read before the first failure counts, so that one run shows every finding.
        let nodes: Vec<_> = items.iter().map(|item| self.node(item, depth + 1)).collect();
        nodes.into_iter().collect()
    }

    fn reference(&mut self, table: &Table<'_, '_>) -> Option<Predicate> {
        let (key, span) = self.file.string(table, "segment")?;
        self.uses.segments.push(SegmentUse { key: key.to_owned(), span, subject: self.subject.to_owned() });
        Some(Predicate::Segment(key.to_owned()))
    }

    fn atom(&mut self, table: &Table<'_, '_>) -> Option<Predicate> {
        self.file.only_known(table, &["attribute", "op", "value", "values"]);
        let attribute = self.required(table, "attribute");
        let op = self.required(table, "op");
        let ((attribute, span), (word, op_span)) = (attribute?, op?);
        if attribute.is_empty() {
            let message = format!("{}: `attribute` is empty", self.subject);
            self.file.findings.add(E030, span, message);
            return None;
        }
        let Some(op) = Operator::parse(word) else {
            let message = format!("{}: unknown operator `{}`", self.subject, shown(word));
            let known = Operator::ALL.map(Operator::as_str);
            let help =
                did_you_mean(word, known).unwrap_or_else(|| format!("operators: {}", known.join(", ")));
            self.file.findings.add_help(E019, op_span, message, help);
            return None;
        };
        let operands = self.operands(table, op)?;
        if let Some(implied) = implied(op, &operands) {
            self.uses.attributes.push(AttributeUse { attribute: attribute.to_owned(), implied, span });
        }
        Some(Predicate::Atom(Atom { attribute: attribute.to_owned(), op, operands }))
    }

    fn required<'v>(&mut self, table: &Table<'v, '_>, field: &str) -> Option<(&'v str, Span)> {
        if table.get(field).is_none() {
            let message = format!("{}: the predicate has no `{field}`", self.subject);
            self.file.findings.add(E030, table.span.clone(), message);
            return None;
        }
        self.file.string(table, field)
    }

    fn operands(&mut self, table: &Table<'_, '_>, op: Operator) -> Option<Vec<Scalar>> {
        let (wanted, other) = match op {
            Operator::IsSet | Operator::IsNotSet => {
                for key in ["value", "values"] {
                    if table.get(key).is_some() {
                        self.operand(table.key_span(key), format!("`{op}` takes no `{key}`"), "remove it");
                        return None;
                    }
                }
                return Some(Vec::new());
            }
            Operator::In | Operator::NotIn => ("values", "value"),
            _ => ("value", "values"),
        };
        if table.get(other).is_some() {
            let what = if wanted == "values" { "an array" } else { "a single value" };
            self.operand(
                table.key_span(other),
                format!("`{op}` takes `{wanted}`, not `{other}`"),
                format!("write `{wanted} = …` with {what}"),
            );
            return None;
        }
        let Some(value) = table.get(wanted) else {
            self.operand(
                table.span.clone(),
                format!("`{op}` needs `{wanted}`"),
                format!("add `{wanted} = …`"),
            );
            return None;
        };
        if wanted == "values" { self.many(op, value) } else { self.one(op, value).map(|scalar| vec![scalar]) }
    }

    fn one(&mut self, op: Operator, value: Value<'_, '_>) -> Option<Scalar> {
        use Operator::{Eq, Gt, Gte, Lt, Lte, Neq};
        let scalar = scalar(value.get_ref());
        let wanted = match op {
            Eq | Neq => "a string, integer, finite float or boolean",
            Gt | Gte | Lt | Lte => "an integer or finite float",
            _ => "a string",
        };
        let fits = match (&scalar, op) {
            (Some(_), Eq | Neq) | (Some(Scalar::Int(_) | Scalar::Float(_)), Gt | Gte | Lt | Lte) => true,
            (Some(Scalar::String(_)), op) => !matches!(op, Gt | Gte | Lt | Lte),
            _ => false,
        };
        if !fits {
            self.operand(
                value.span(),
                format!("`{op}` takes {wanted}, not {}", a_type(value.get_ref())),
                "mend the operand",
            );
            return None;
        }
        if let Some(Scalar::String(text)) = &scalar
            && op.as_str().starts_with("semver_")
            && Semver::parse(text).is_none()
        {
            let message = format!("{}: `{}` is not a version", self.subject, shown(text));
            self.file.findings.add_help(
                E021,
                value.span(),
                message,
                "write it as `1.2.3`, with an optional `-pre.release`",
            );
            return None;
        }
        scalar
    }

    fn many(&mut self, op: Operator, value: Value<'_, '_>) -> Option<Vec<Scalar>> {
        let Some(items) = value.get_ref().as_array() else {
            self.operand(
                value.span(),
                format!("`{op}` takes an array, not {}", a_type(value.get_ref())),
                "put the value in `[…]`",
            );
            return None;
        };
        if items.is_empty() {
            self.operand(
                value.span(),
                format!("`{op}` needs at least one value"),
                "an empty list would never decide anything",
            );
            return None;
        }
        let mut scalars = Vec::with_capacity(items.len());
        for item in items.iter() {
            match scalar(item.get_ref()) {
                Some(scalar) => scalars.push(scalar),
                None => {
                    let found = a_type(item.get_ref());
                    self.operand(
                        item.span(),
                        format!("`{op}` takes scalars, not {found}"),
                        "use strings, integers, finite floats or booleans",
                    );
                    return None;
                }
            }
        }
        let kind = |s: &Scalar| unify(AttrType::Int, s.attr_type()).unwrap_or(s.attr_type());
        let odd = scalars.iter().position(|s| unify(kind(s), kind(&scalars[0])).is_none());
        if let Some(odd) = odd {
            let place = items.get(odd).map_or_else(|| value.span(), |item| item.span());
            self.operand(place, format!("`{op}` mixes types"), "use values of one type");
            return None;
        }
        Some(scalars)
    }

    fn operand(&mut self, span: Span, message: String, help: impl Into<String>) {
        let message = format!("{}: {message}", self.subject);
        self.file.findings.add_help(E020, span, message, help);
    }
}

/// Reads a scalar; floats must be finite, integers must fit.
fn scalar(value: &DeValue<'_>) -> Option<Scalar> {
    match value {
        DeValue::String(text) => Some(Scalar::String(text.as_ref().to_owned())),
        DeValue::Integer(_) => integer(value).map(Scalar::Int),
        DeValue::Float(_) => float(value).map(Scalar::Float),
        DeValue::Boolean(flag) => Some(Scalar::Bool(*flag)),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

/// The attribute type that an atom implies (M8).
fn implied(op: Operator, operands: &[Scalar]) -> Option<AttrType> {
    match op {
        Operator::IsSet | Operator::IsNotSet => None,
        Operator::Eq
        | Operator::Neq
        | Operator::In
        | Operator::NotIn
        | Operator::Gt
        | Operator::Gte
        | Operator::Lt
        | Operator::Lte => {
            let mut types = operands.iter().map(Scalar::attr_type);
            let first = types.next()?;
            types.try_fold(first, unify)
        }
        _ => Some(AttrType::String),
    }
}

/// The one type of two uses: equal types, or float where an integer meets a float.
pub(crate) fn unify(a: AttrType, b: AttrType) -> Option<AttrType> {
    match (a, b) {
        (AttrType::Int, AttrType::Float) | (AttrType::Float, AttrType::Int) => Some(AttrType::Float),
        _ => (a == b).then_some(a),
    }
}
