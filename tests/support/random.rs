//! Random manifests and contexts: small enough to collide often, wide enough to use every operator and shape.

use leverframe::{
    AttrValue, EvalContext,
    manifest::{
        Manifest,
        model::{
            Atom, AttrType, Audience, Bucket, EnvBlock, Environment, Flag, FlagType, Operator, Predicate,
            Rule, Scalar, Segment, Variant,
        },
    },
};
use proptest::{prelude::*, sample::select};

/// The attributes that random manifests read, with the type each has in all of them.
pub(crate) const ATTRIBUTES: [(&str, AttrType); 7] = [
    ("user.id", AttrType::String),
    ("user.country", AttrType::String),
    ("user.email", AttrType::String),
    ("app.version", AttrType::String),
    ("user.age", AttrType::Int),
    ("user.score", AttrType::Float),
    ("user.premium", AttrType::Boolean),
];

/// The environments that random contexts are evaluated in, known or not.
pub(crate) const ENVIRONMENTS: [&str; 5] = ["production", "staging", "elsewhere", "Not-A-Name", "_"];

const TEXTS: [&str; 8] = ["", "u-1", "u-2", "US", "DE", "a@x.com", "b@x.com", "x"];
const VERSIONS: [&str; 8] =
    ["1.0.0", "v1.2", "1.2.0-rc.1", "2", "0.0.0-0", "1.0.1+build", "1.2.0-rc.1.0", "10.0.0"];
const NEAR_VERSIONS: [&str; 8] = ["", "other", "1.0.1-0", "1.2.1", "0.0.1", "99.0.0", "1.2.0", "2.0.0+x"];
const ODD_FLOATS: [f64; 6] =
    [0.5, -0.0, 9_007_199_254_740_992.0, 9_223_372_036_854_775_808.0, 1e-310, -1e300];

fn text() -> impl Strategy<Value = String> {
    select(TEXTS.as_slice()).prop_map(str::to_owned)
}

fn int() -> impl Strategy<Value = i64> {
    prop_oneof![-2_i64..4, Just(i64::MAX), Just(i64::MIN), Just((1 << 53) + 1)]
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![(-2_i32..4).prop_map(f64::from), select(ODD_FLOATS.as_slice())]
}

fn atom() -> impl Strategy<Value = Atom> {
    select(ATTRIBUTES.as_slice()).prop_flat_map(|(name, of_type)| {
        let common =
            [Operator::IsSet, Operator::IsNotSet, Operator::Eq, Operator::Neq, Operator::In, Operator::NotIn];
        let more: &[Operator] = match (name, of_type) {
            ("app.version", _) => &[
                Operator::SemverEq,
                Operator::SemverGt,
                Operator::SemverGte,
                Operator::SemverLt,
                Operator::SemverLte,
            ],
            (_, AttrType::String) => {
                &[Operator::Contains, Operator::NotContains, Operator::StartsWith, Operator::EndsWith]
            }
            (_, AttrType::Int | AttrType::Float) => {
                &[Operator::Gt, Operator::Gte, Operator::Lt, Operator::Lte]
            }
            _ => &[],
        };
        let operators: Vec<Operator> = common.iter().chain(more).copied().collect();
        select(operators).prop_flat_map(move |op| {
            let scalar: BoxedStrategy<Scalar> = match of_type {
                AttrType::Int => int().prop_map(Scalar::Int).boxed(),
                AttrType::Float => {
                    prop_oneof![float().prop_map(Scalar::Float), int().prop_map(Scalar::Int)].boxed()
                }
                AttrType::Boolean => any::<bool>().prop_map(Scalar::Bool).boxed(),
                _ if op.as_str().starts_with("semver") => {
                    select(VERSIONS.as_slice()).prop_map(|v| Scalar::String(v.to_owned())).boxed()
                }
                _ if name == "app.version" => {
                    prop_oneof![select(VERSIONS.as_slice()), select(TEXTS.as_slice())]
                        .prop_map(|v| Scalar::String(v.to_owned()))
                        .boxed()
                }
                _ => text().prop_map(Scalar::String).boxed(),
            };
            let count = match op {
                Operator::IsSet | Operator::IsNotSet => 0..1,
                Operator::In | Operator::NotIn => 1..12,
                _ => 1..2,
            };
            prop::collection::vec(scalar, count).prop_map(move |operands| Atom {
                attribute: name.to_owned(),
                op,
                operands,
            })
        })
    })
}

/// `segments` are the keys that references may name.
fn predicate(segments: Vec<String>) -> BoxedStrategy<Predicate> {
    let leaf = if segments.is_empty() {
        atom().prop_map(Predicate::Atom).boxed()
    } else {
        prop_oneof![
            4 => atom().prop_map(Predicate::Atom),
            1 => select(segments).prop_map(Predicate::Segment),
        ]
        .boxed()
    };
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(Predicate::And),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Predicate::Or),
            inner.prop_map(|p| Predicate::Not(Box::new(p))),
        ]
    })
    .boxed()
}

fn bucket() -> impl Strategy<Value = Bucket> {
    let salt = prop_oneof![Just(None), Just(Some(String::new())), Just(Some("shared".to_owned()))];
    let id = prop_oneof![9 => Just("user.id"), 1 => Just("user.email")];
    (salt, id, 0..10_000_u16, 0..10_000_u16).prop_map(|(salt, id, a, b)| Bucket {
        entity_id_attribute: id.to_owned(),
        salt,
        start: a.min(b),
        end: a.max(b),
    })
}

fn segment(at: usize) -> impl Strategy<Value = Segment> {
    // References go to earlier segments only, so that there are no cycles.
    let earlier = (0..at).map(|i| format!("s{i}")).collect();
    (prop::option::of(predicate(earlier)), prop::option::of(bucket()), bucket()).prop_map(
        move |(predicate, bucket, instead)| Segment {
            key: format!("s{at}"),
            description: String::new(),
            bucket: if predicate.is_none() { bucket.or(Some(instead)) } else { bucket },
            predicate,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    let segments: Vec<String> = (0..SEGMENTS).map(|i| format!("s{i}")).collect();
    let audience = prop_oneof![
        select(segments.clone()).prop_map(Audience::Segment),
        predicate(segments).prop_map(Audience::Predicate),
    ];
    (audience, variant()).prop_map(|(audience, variant)| Rule {
        description: String::new(),
        audience,
        variant,
    })
}

fn variant() -> impl Strategy<Value = String> {
    select(&["a", "b", "c"][..]).prop_map(str::to_owned)
}

fn block() -> impl Strategy<Value = EnvBlock> {
    let rules = prop::option::of(prop::collection::vec(rule(), 0..4));
    (prop::option::of(variant()), rules, any::<bool>()).prop_map(|(variant, rules, testing)| EnvBlock {
        variant,
        rules,
        testing,
    })
}

/// The flag that every random manifest has.
pub(crate) const FLAG: &str = "flag";
const SEGMENTS: usize = 4;

fn flag() -> impl Strategy<Value = Flag> {
    let environments = prop::option::of(block()).prop_flat_map(|production| {
        prop::option::of(block()).prop_map(move |staging| {
            let named = [("production", production.clone()), ("staging", staging)];
            named.into_iter().filter_map(|(n, b)| Some((n.to_owned(), b?))).collect::<Vec<_>>()
        })
    });
    let rules = prop::option::of(prop::collection::vec(rule(), 0..4));
    (environments, rules, variant()).prop_map(|(environments, rules, default)| {
        let variants = ["a", "b", "c"].map(|k| Variant { key: k.to_owned(), value: k.into() });
        let mut flag = Flag::new(FLAG, FlagType::String, variants.to_vec()).expect("there are variants");
        flag.catch_all = EnvBlock { variant: Some(default), rules, testing: false };
        flag.environments = environments;
        flag
    })
}

/// Makes manifests with one flag and four segments.
pub(crate) fn manifest() -> impl Strategy<Value = Manifest> {
    let segments = (0..SEGMENTS).map(|i| segment(i).boxed()).collect::<Vec<_>>();
    (flag(), segments, any::<bool>()).prop_map(|(flag, segments, typed)| {
        let mut manifest = Manifest::new("random");
        manifest.flags.insert(FLAG.to_owned(), flag);
        manifest.segments = segments.into_iter().map(|s| (s.key.clone(), s)).collect();
        manifest.attributes = ATTRIBUTES.iter().map(|(n, t)| ((*n).to_owned(), *t)).collect();
        if typed {
            manifest.environments = Some(["production", "staging"].map(Environment::new).to_vec());
        }
        manifest
    })
}

fn value(name: &'static str, of_type: AttrType, well_typed: bool) -> BoxedStrategy<AttrValue> {
    let list = prop::collection::vec(text(), 0..4).prop_map(AttrValue::StrList);
    let right: BoxedStrategy<AttrValue> = match of_type {
        AttrType::Int => int().prop_map(AttrValue::Int).boxed(),
        AttrType::Float => {
            prop_oneof![float().prop_map(AttrValue::Float), int().prop_map(AttrValue::Int)].boxed()
        }
        AttrType::Boolean => any::<bool>().prop_map(AttrValue::Boolean).boxed(),
        _ if name == "app.version" => {
            prop_oneof![select(VERSIONS.as_slice()), select(NEAR_VERSIONS.as_slice())]
                .prop_map(AttrValue::from)
                .boxed()
        }
        _ => {
            let any_id = (0..1_000_u32).prop_map(|n| format!("id-{n}"));
            let longer = (text(), text()).prop_map(|(a, b)| a + &b);
            prop_oneof![any_id, longer, text()].prop_map(AttrValue::from).boxed()
        }
    };
    if well_typed {
        return if of_type == AttrType::String { prop_oneof![5 => right, 1 => list].boxed() } else { right };
    }
    let wrong = prop_oneof![
        text().prop_map(AttrValue::from),
        int().prop_map(AttrValue::Int),
        prop_oneof![float(), Just(f64::NAN), Just(f64::INFINITY)].prop_map(AttrValue::Float),
        any::<bool>().prop_map(AttrValue::Boolean),
        list,
    ];
    prop_oneof![8 => right, 1 => wrong].boxed()
}

/// Makes contexts; `well_typed` ones hold no value that could mismatch.
pub(crate) fn context(well_typed: bool) -> impl Strategy<Value = EvalContext> {
    let values: Vec<_> =
        ATTRIBUTES.iter().map(|(n, t)| prop::option::weighted(0.75, value(n, *t, well_typed))).collect();
    values.prop_map(|values| {
        let mut builder = EvalContext::builder();
        for ((name, _), value) in ATTRIBUTES.iter().zip(values) {
            if let Some(value) = value {
                builder = builder.attr(name, value);
            }
        }
        builder.build()
    })
}
