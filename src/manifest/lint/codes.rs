//! Every code of lint, in one table that reports, documentation and tests share.

use super::super::Severity;

/// A code of lint with what triggers it.
///
/// # Examples
/// ```
/// use leverframe::manifest::lint::CODES;
/// let e005 = CODES.iter().find(|c| c.code == "E005").unwrap();
/// assert_eq!(e005.summary, "a rule or predicate names an unknown segment");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CodeInfo {
    /// The stable code.
    pub code: &'static str,
    /// The severity of every diagnostic with this code.
    pub severity: Severity,
    /// What triggers it.
    pub summary: &'static str,
}

macro_rules! codes {
    ($($code:ident $severity:ident $summary:literal;)+) => {
        $(pub(crate) const $code: CodeInfo =
            CodeInfo { code: stringify!($code), severity: Severity::$severity, summary: $summary };)+

        /// All codes in order. A code is never used for anything else again.
        pub const CODES: &[CodeInfo] = &[$($code),+];
    };
}

codes! {
    E001 Error "the TOML does not parse, or `schema_version` is missing or malformed";
    E004 Error "a variant key that the flag does not declare";
    E005 Error "a rule or predicate names an unknown segment";
    E006 Error "a bucket field is missing or out of range";
    E007 Error "a file is unreadable or not UTF-8";
    E008 Error "a limit on size, number or nesting is exceeded";
    E009 Error "`namespace.slug` is missing or malformed";
    E010 Error "an environment that the namespace does not declare";
    E011 Error "a segment with neither predicate nor bucket";
    E012 Error "a malformed variant key";
    E013 Error "no variants declared";
    E014 Error "`flag.type` is not one of the five types";
    E015 Error "a variant's value is not of the flag's type";
    E016 Error "an unknown field";
    E017 Error "a field of the wrong TOML type";
    E018 Error "a symbolic link";
    E019 Error "an unknown operator";
    E020 Error "an operand that is missing, under the wrong key, empty, or of a wrong type";
    E021 Error "a version operand that does not parse";
    E022 Error "an empty `and` or `or`";
    E023 Error "a predicate node of no kind, or of several kinds";
    E024 Error "predicates nested deeper than 32 levels, or expanding to more than 10,000 nodes";
    E025 Error "segments that reference each other in a cycle";
    E026 Error "`lifecycle` is not one of the three stages";
    E027 Error "a rule without audience";
    E028 Error "a rule without `variant`";
    E029 Error "a malformed environment name";
    E030 Error "a required table or field is missing";
    E031 Error "an environment roster that is empty or contains `_`";
    E032 Error "a file name that is no well-formed key";
    E034 Error "an attribute that is used with two types";
    E036 Error "a rule with both `segment` and `predicate`";
    E037 Error "no `[flag.environments._]`";
    E038 Error "`[flag.environments._]` without `variant`";
    E039 Error "`testing = true` on `[flag.environments._]`";
    E040 Error "an unknown metric of a reflex rule";
    E041 Error "an unknown comparison of a reflex rule";
    E042 Error "an unknown action of a reflex rule, or one whose number is out of range";
    E043 Error "a time of a reflex rule that is out of range";
    E044 Error "a reflex rule that recovers on the wrong side of its threshold";
    E045 Error "a malformed name, tag or site of a reflex rule";
    E046 Error "two reflex rules of one name";
    W001 Warning "a segment that no rule reaches";
    W002 Warning "a retired flag that still has rules";
    W003 Warning "a flag without rules in any environment";
    W004 Warning "a bucket without salt: the segment's key is used";
    W005 Warning "`namespace.slug` differs from the directory's name";
    W006 Warning "a rule that can never match, because an earlier one always does when it would";
    W007 Warning "bucket ranges that overlap under one salt within one list of rules";
    W008 Warning "a last rule that gives what its environment gives anyway";
    W009 Warning "a directory inside `flags` or `segments`";
    W010 Warning "an unknown field in a file of a newer minor schema version";
    W011 Warning "no `flags` directory";
    W012 Warning "`testing = true` on a block without rules";
    W013 Warning "a reflex rule that no value can bring into force";
    W014 Warning "a reflex rule that adds nothing to another";
    W015 Warning "a reflex rule that recovers only when nothing is reported any more";
    W016 Warning "a custom metric whose name is nearly that of a built-in one";
    I001 Info "a flag without owner";
    I002 Info "a flag without description";
    I003 Info "a segment without description";
}
