//! Large namespaces that look like what teams run, the same for the same seed.

use leverframe::document::Tree;

/// Generates a namespace of that many flags; it lints without errors and warnings.
pub(crate) fn generate(slug: &str, flags: u32, seed: u64) -> Tree {
    let mut dice = Dice(seed);
    let mut files = vec![("namespace.toml".to_owned(), NAMESPACE.replace("@slug@", slug))];
    let segments: Vec<String> =
        (0..(flags / 50).clamp(3, 200)).map(|n| format!("{}-{n}", dice.pick(&AUDIENCES))).collect();
    for (n, key) in segments.iter().enumerate() {
        files.push((format!("segments/{key}.toml"), segment(key, n, &mut dice)));
    }
    for n in 0..flags {
        let key = format!("{}-{}-{n}", dice.pick(&AREAS), dice.pick(&SUBJECTS));
        // Each segment is used at least once while there are more flags than segments.
        let first = &segments[n as usize % segments.len()];
        files.push((format!("flags/{key}.toml"), flag(first, &mut dice)));
    }
    // With fewer flags than segments, those that no flag uses are left out, so that lint has nothing to say.
    let used = segments.len().min(flags as usize);
    files.retain(|(path, _)| segments[used..].iter().all(|key| *path != format!("segments/{key}.toml")));
    files.into_iter().collect()
}

fn segment(key: &str, n: usize, dice: &mut Dice) -> String {
    let predicate =
        format!("[segment.predicate]\nand = [\n    {},\n    {},\n]\n", atom(dice, 0), atom(dice, 1));
    let width = 500 + dice.below(6000);
    let start = dice.below(10_000 - width);
    let bucket = format!(
        "[segment.bucket]\nentity_id_attribute = \"user.id\"\nsalt = \"{key}\"\nstart = {start}\nend = {}\n",
        start + width - 1
    );
    let parts = match n % 3 {
        0 => predicate,
        1 => bucket,
        _ => format!("{predicate}\n{bucket}"),
    };
    format!("schema_version = \"0.1\"\n\n[segment]\ndescription = \"Audience {n}\"\n\n{parts}")
}

fn flag(segment: &str, dice: &mut Dice) -> String {
    let (kind, variants, first, second) = *dice.pick(&KINDS);
    let owner = dice.pick(&OWNERS);
    let testing = if dice.below(8) == 0 { "testing = true\n" } else { "" };
    let rule =
        format!("[[flag.environments.production.rules]]\nsegment = \"{segment}\"\nvariant = \"{second}\"\n");
    let inline = format!(
        "[[flag.environments.production.rules]]\ndescription = \"By attribute\"\npredicate = {{ and = [{}, {{ not = {} }}] }}\nvariant = \"{second}\"\n",
        atom(dice, 2),
        atom(dice, 3),
    );
    let staging = if dice.below(2) == 0 {
        format!("[flag.environments.staging]\nvariant = \"{second}\"\n\n")
    } else {
        String::new()
    };
    format!(
        "schema_version = \"0.1\"\n\n[flag]\ntype = \"{kind}\"\ndescription = \"Generated for load tests\"\nowner = \"{owner}\"\ntags = [\"generated\"]\n\n{variants}\n[flag.environments._]\nvariant = \"{first}\"\n\n{staging}[flag.environments.production]\nvariant = \"{first}\"\n{testing}\n{rule}\n{inline}"
    )
}

/// Writes a predicate atom; the families keep apart, so that no rule contradicts or repeats another.
fn atom(dice: &mut Dice, family: u8) -> String {
    let number = dice.below(900) + 1;
    let text = dice.pick(&COUNTRIES);
    let other = dice.pick(&COUNTRIES);
    match (family, dice.below(5)) {
        (0, 0) => format!(
            "{{ attribute = \"user.country\", op = \"in\", values = [\"{text}\", \"{other}\", \"US\"] }}"
        ),
        (0, 1) => format!("{{ attribute = \"user.country\", op = \"eq\", value = \"{text}\" }}"),
        (0, 2) => format!("{{ attribute = \"user.country\", op = \"neq\", value = \"{text}\" }}"),
        (0, 3) => {
            format!("{{ attribute = \"user.email\", op = \"ends_with\", value = \"@example{number}.com\" }}")
        }
        (0, _) => {
            format!("{{ attribute = \"user.email\", op = \"not_contains\", value = \"test{number}\" }}")
        }
        (1, 0) => format!(
            "{{ attribute = \"app.version\", op = \"semver_gte\", value = \"{}.{}.0\" }}",
            number % 9,
            number % 20
        ),
        (1, 1) => format!(
            "{{ attribute = \"app.version\", op = \"semver_lt\", value = \"{}.0.0\" }}",
            10 + number % 9
        ),
        (1, 2) => "{ attribute = \"user.id\", op = \"is_set\" }".to_owned(),
        (1, 3) => format!("{{ attribute = \"user.roles\", op = \"contains\", value = \"role-{number}\" }}"),
        (1, _) => {
            format!("{{ attribute = \"user.plan\", op = \"starts_with\", value = \"tier-{}\" }}", number % 7)
        }
        (2, 0) => format!("{{ attribute = \"account.age_days\", op = \"gt\", value = {number} }}"),
        (2, 1) => format!("{{ attribute = \"account.age_days\", op = \"lte\", value = {number} }}"),
        (2, 2) => format!("{{ attribute = \"order.amount\", op = \"gte\", value = {number}.5 }}"),
        (2, 3) => format!("{{ attribute = \"order.amount\", op = \"lt\", value = {number}.25 }}"),
        (2, _) => "{ attribute = \"user.premium\", op = \"eq\", value = true }".to_owned(),
        (_, 0) => format!(
            "{{ attribute = \"user.plan\", op = \"not_in\", values = [\"tier-{}\", \"tier-9\"] }}",
            number % 7
        ),
        (_, 1) => {
            format!("{{ attribute = \"app.version\", op = \"semver_eq\", value = \"{}.1.1\" }}", number % 9)
        }
        (_, 2) => "{ attribute = \"user.blocked\", op = \"is_not_set\" }".to_owned(),
        (_, 3) => {
            format!("{{ attribute = \"app.version\", op = \"semver_gt\", value = \"{}.2.0\" }}", number % 9)
        }
        _ => {
            format!("{{ attribute = \"app.version\", op = \"semver_lte\", value = \"{}.3.0\" }}", number % 9)
        }
    }
}

/// SplitMix64: equal seeds give equal sequences on every machine.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

const NAMESPACE: &str = r#"schema_version = "0.1"

[namespace]
slug = "@slug@"
description = "Generated for load tests"
private_attributes = ["user.email"]

[namespace.environments]
staging    = { display_name = "Staging" }
production = { display_name = "Production" }
"#;

const AREAS: [&str; 8] =
    ["checkout", "search", "catalog", "billing", "onboarding", "support", "fraud", "mobile"];
const SUBJECTS: [&str; 8] = ["layout", "ranking", "limits", "copy", "retries", "banner", "pricing", "flow"];
const AUDIENCES: [&str; 5] = ["beta", "region", "rollout", "partners", "power-users"];
const OWNERS: [&str; 5] = ["payments", "growth", "platform", "search", "trust"];
const COUNTRIES: [&str; 8] = ["DE", "FR", "ES", "IT", "PL", "SE", "BR", "JP"];

/// Type, variants, the key that everybody gets, the key that rules give.
const KINDS: [(&str, &str, &str, &str); 5] = [
    ("boolean", "[flag.variants]\non = true\noff = false\n", "off", "on"),
    (
        "string",
        "[flag.variants]\ncontrol = \"control\"\ntreatment = \"treatment\"\nholdout = \"holdout\"\n",
        "control",
        "treatment",
    ),
    ("integer", "[flag.variants]\nlow = 10\nhigh = 250\n", "low", "high"),
    ("float", "[flag.variants]\nnarrow = 0.05\nwide = 0.5\n", "narrow", "wide"),
    (
        "json",
        "[flag.variants.small]\nrows = 10\ncolumns = [\"name\", \"price\"]\n\n[flag.variants.large]\nrows = 50\ncolumns = [\"name\", \"price\", \"stock\"]\n",
        "small",
        "large",
    ),
];

#[cfg(test)]
mod tests {
    use leverframe::manifest::{LintOptions, lint_tree};

    use super::*;

    #[test]
    fn equal_seeds_give_equal_namespaces_and_others_do_not() {
        assert_eq!(generate("large", 50, 1), generate("large", 50, 1));
        assert_ne!(generate("large", 50, 1), generate("large", 50, 2));
    }

    #[test]
    fn what_is_generated_lints_without_errors_and_warnings() {
        for (flags, seed) in [(1, 1), (2, 7), (100, 1), (1000, 3)] {
            let report = lint_tree(&generate("large", flags, seed), &LintOptions::new()).report;

            let findings: Vec<String> =
                report.errors().chain(report.warnings()).map(ToString::to_string).collect();
            assert!(findings.is_empty(), "{flags} flags, seed {seed}: {findings:#?}");
            assert_eq!(report.flags, flags as usize);
        }
    }
}
