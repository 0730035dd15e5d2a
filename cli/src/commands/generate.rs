//! `leverframe gen`

use std::io::{IsTerminal, stderr};

use crate::{
    args::GenArgs,
    failure::{Failure, exit},
    generate::generate,
    output::{Out, plural},
    place::{new_directory, write_tree},
};

pub(super) fn run(args: &GenArgs, out: &mut Out) -> Result<u8, Failure> {
    new_directory(&args.dir)?;
    if args.flags >= 1000 && stderr().is_terminal() {
        out.note(format!("writing {}…", plural(args.flags as usize, "flag")));
    }
    let name =
        args.dir.canonicalize()?.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    // A directory's name that is no slug would make what is generated fail its own lint.
    let slug = if is_slug(&name) { &name } else { "generated" };
    let tree = generate(slug, args.flags, args.seed);
    write_tree(&tree, &args.dir)?;
    let segments = tree.iter().filter(|(path, _)| path.starts_with("segments/")).count();
    let flags = plural(args.flags as usize, "flag");
    out.line(format!("{}: {flags}, {}", args.dir.display(), plural(segments, "segment")))?;
    Ok(exit::OK)
}

fn is_slug(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    name.len() <= 63 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(plain)
}
