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
    let tree = generate(args.flags, args.seed);
    write_tree(&tree, &args.dir)?;
    let segments = tree.iter().filter(|(path, _)| path.starts_with("segments/")).count();
    let flags = plural(args.flags as usize, "flag");
    out.line(format!("{}: {flags}, {}", args.dir.display(), plural(segments, "segment")))?;
    Ok(exit::OK)
}
