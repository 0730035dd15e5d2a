//! `leverframe manifest pack|unpack`

use std::path::Path;

use leverframe::manifest::{Layout, archive};

use crate::{
    failure::{Failure, exit},
    output::{Out, plural},
    place::{Place, new_directory, read_file, replace, write_tree},
};

pub(super) fn pack(dir: &Path, output: Option<&Path>, out: &mut Out) -> Result<u8, Failure> {
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

pub(super) fn unpack(archive: &Path, dir: &Path, out: &mut Out) -> Result<u8, Failure> {
    let unpacked = archive::unpack(&read_file(archive)?).map_err(|e| e.with("path", archive.display()))?;
    new_directory(dir)?;
    write_tree(&unpacked.tree, dir)?;
    out.line(format!("{}: {}", dir.display(), plural(unpacked.tree.iter().count(), "file")))?;
    Ok(exit::OK)
}
