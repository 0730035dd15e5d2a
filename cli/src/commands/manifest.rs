//! `leverframe manifest pack|unpack`

use std::path::Path;

use leverframe::manifest::{Layout, archive};

use crate::{
    args::ManifestCommand,
    failure::{Failure, exit},
    output::{Out, plural},
    place::{Place, new_directory, read_file, replace, write_tree},
};

pub(super) fn run(command: &ManifestCommand, out: &mut Out) -> Result<u8, Failure> {
    match command {
        ManifestCommand::Pack { dir, output } => pack(dir, output.as_deref(), out),
        ManifestCommand::Unpack { archive, dir } => unpack(archive, dir, out),
    }
}

fn pack(dir: &Path, output: Option<&Path>, out: &mut Out) -> Result<u8, Failure> {
    let place = Place::read(&dir.to_string_lossy(), None)?;
    crate::output::note_problems(place.report(), &crate::output::Sources(&place.tree), out);
    if place.report().has_errors() {
        return Err(crate::output::refuse(place.report()));
    }
    let bytes = archive::pack(&place.tree)?;
    let default = format!("{}.tar.gz", place.report().namespace);
    let target = output.unwrap_or(Path::new(&default));
    replace(target, &bytes)?;
    let files = Layout::of(&place.tree).packaged().iter().count();
    out.line(format!("{}: {}, {} bytes", target.display(), plural(files, "file"), bytes.len()))?;
    Ok(exit::OK)
}

fn unpack(archive: &Path, dir: &Path, out: &mut Out) -> Result<u8, Failure> {
    let unpacked = archive::unpack(&read_file(archive)?).map_err(|e| e.with("path", archive.display()))?;
    new_directory(dir)?;
    write_tree(&unpacked.tree, dir)?;
    out.line(format!("{}: {}", dir.display(), plural(unpacked.tree.iter().count(), "file")))?;
    Ok(exit::OK)
}
