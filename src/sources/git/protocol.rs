//! The client's half of git's fetch protocol: which refs there are, and the objects behind some of them.
//!
//! Version 2 is asked for; where a server (or the ssh daemon before it) knows only the first version, that is
//! spoken. Both are in git's documentation under `gitprotocol-v2` and `gitprotocol-pack`.

use bytes::Bytes;
use git2::Oid;

use super::{
    pack::PackFile,
    packet::{DELIMITER, FLUSH, Packet, Packets, push},
    wire::{Wire, not_git, words},
};
use crate::{Error, ErrorKind, Result};

/// A conversation with a git server.
pub(super) struct Session {
    wire: Box<dyn Wire>,
    packets: Packets,
    dialect: Dialect,
}

/// What the server's greeting told.
#[derive(Clone, Debug)]
pub(super) enum Dialect {
    /// Refs were named with the greeting.
    First { capabilities: String, refs: Vec<Ref> },
    /// Refs are asked for.
    Second { capabilities: Vec<String> },
}

/// A name for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ref {
    pub(super) name: String,
    pub(super) id: Oid,
    /// What an annotated tag is about.
    pub(super) peeled: Option<Oid>,
}

impl Ref {
    /// The commit behind the name, if it is one.
    pub(super) fn commit(&self) -> Oid {
        self.peeled.unwrap_or(self.id)
    }
}

impl Session {
    /// Begins a conversation, with what an earlier greeting told where that is enough.
    pub(super) async fn begin(mut wire: Box<dyn Wire>, limit: u64, known: Option<Dialect>) -> Result<Self> {
        let mut packets = Packets::new(limit);
        let dialect = match known.filter(|_| wire.may_skip_greeting()) {
            Some(dialect) => dialect,
            None => {
                wire.greet().await?;
                greeting(&mut *wire, &mut packets).await?
            }
        };
        Ok(Self { wire, packets, dialect })
    }

    /// What a later conversation with the same server may begin with.
    pub(super) fn dialect(&self) -> Option<Dialect> {
        match &self.dialect {
            dialect @ Dialect::Second { .. } if self.wire.may_skip_greeting() => Some(dialect.clone()),
            // The refs of the first version are part of the greeting: they must be asked for each time.
            _ => None,
        }
    }

    /// Whether the server hands out this object when asked for it by its name alone.
    pub(super) fn gives(&self, id: Oid) -> bool {
        match &self.dialect {
            Dialect::Second { .. } => true,
            Dialect::First { capabilities, refs } => {
                let any = ["allow-any-sha1-in-want", "allow-reachable-sha1-in-want"];
                refs.iter().any(|r| r.id == id) || capabilities.split(' ').any(|c| any.contains(&c))
            }
        }
    }

    /// Lists the refs whose names begin with one of `prefixes`; others may be among them.
    pub(super) async fn refs(&mut self, prefixes: &[String]) -> Result<Vec<Ref>> {
        if let Dialect::First { refs, .. } = &self.dialect {
            return Ok(refs.clone());
        }
        let mut request = Vec::new();
        push(&mut request, "command=ls-refs");
        self.push_common(&mut request);
        request.extend_from_slice(DELIMITER);
        push(&mut request, "peel");
        for prefix in prefixes {
            push(&mut request, &format!("ref-prefix {prefix}"));
        }
        request.extend_from_slice(FLUSH);
        self.send(request).await?;
        let mut refs = Vec::new();
        loop {
            match self.line().await? {
                Line::Text(line) if line.starts_with("unborn ") => {}
                Line::Text(line) => keep(&mut refs, listed(&line)?)?,
                Line::Mark(Packet::Flush) => return Ok(refs),
                Line::Mark(_) => return Err(not_git("the list of refs does not end")),
            }
        }
    }

    /// Brings the objects behind `wants` into `into`: only the newest commits where `shallow`, if the server can.
    pub(super) async fn fetch(&mut self, wants: &[Oid], shallow: bool, into: &mut PackFile) -> Result<()> {
        let mut request = Vec::new();
        match &self.dialect {
            Dialect::Second { capabilities } => {
                let features = capabilities.iter().find_map(|c| c.strip_prefix("fetch=")).unwrap_or_default();
                let shallow = shallow && features.split(' ').any(|f| f == "shallow");
                push(&mut request, "command=fetch");
                self.push_common(&mut request);
                request.extend_from_slice(DELIMITER);
                push(&mut request, "ofs-delta");
                push(&mut request, "no-progress");
                wants.iter().for_each(|id| push(&mut request, &format!("want {id}")));
                if shallow {
                    push(&mut request, "deepen 1");
                }
                push(&mut request, "done");
                request.extend_from_slice(FLUSH);
            }
            Dialect::First { capabilities, .. } => {
                let has = |name| capabilities.split(' ').any(|c| c == name);
                if !has("side-band-64k") {
                    return Err(Error::new(ErrorKind::Unsupported, "fetch from the git server")
                        .with("reason", "the server does not offer `side-band-64k`")
                        .hint("the server is older than git 1.5; use a newer one"));
                }
                let shallow = shallow && has("shallow");
                let mut options = "side-band-64k ofs-delta no-progress".to_owned();
                if has("agent") || capabilities.contains(" agent=") {
                    options.push(' ');
                    options.push_str(AGENT);
                }
                for (i, id) in wants.iter().enumerate() {
                    let options = if i == 0 { format!(" {options}") } else { String::new() };
                    push(&mut request, &format!("want {id}{options}"));
                }
                if shallow {
                    push(&mut request, "deepen 1");
                }
                request.extend_from_slice(FLUSH);
                push(&mut request, "done");
            }
        }
        self.send(request).await?;
        self.preamble().await?;
        self.pack(into).await
    }

    /// Passes over what stands before the objects.
    async fn preamble(&mut self) -> Result<()> {
        let second = matches!(self.dialect, Dialect::Second { .. });
        loop {
            match self.line().await? {
                Line::Text(line) if second && line == "packfile" => return Ok(()),
                Line::Text(line) if !second && line == "NAK" => return Ok(()),
                // Where history was cut, and headings of sections that were not asked for.
                Line::Text(_) | Line::Mark(Packet::Delimiter) => {}
                Line::Mark(Packet::Flush) if !second => {}
                Line::Mark(_) => return Err(not_git("the answer holds no objects")),
            }
        }
    }

    async fn pack(&mut self, into: &mut PackFile) -> Result<()> {
        loop {
            let packet = match self.packets.next(&mut *self.wire).await? {
                Packet::Data(packet) => packet,
                Packet::Flush => return into.finish(),
                Packet::Delimiter | Packet::End => return Err(super::wire::cut_off()),
            };
            match packet.first() {
                Some(1) => into.write(&packet[1..])?,
                Some(2) => {}
                Some(3) => return Err(refused(&packet[1..])),
                _ => return Err(not_git("a packet of objects belongs to no band")),
            }
        }
    }

    fn push_common(&self, request: &mut Vec<u8>) {
        let Dialect::Second { capabilities } = &self.dialect else { return };
        if capabilities.iter().any(|c| c.starts_with("agent")) {
            push(request, AGENT);
        }
        if capabilities.iter().any(|c| c.starts_with("object-format")) {
            push(request, "object-format=sha1");
        }
    }

    async fn send(&mut self, request: Vec<u8>) -> Result<()> {
        self.packets.clear();
        self.wire.send(request).await
    }

    async fn line(&mut self) -> Result<Line> {
        line(&mut *self.wire, &mut self.packets).await
    }
}

/// What we call ourselves.
const AGENT: &str = concat!("agent=leverframe/", env!("CARGO_PKG_VERSION"));

/// More refs than this are not kept: nobody reads a list that long, and memory is finite.
const MOST_REFS: usize = 100_000;

enum Line {
    Text(String),
    Mark(Packet),
}

async fn line(wire: &mut dyn Wire, packets: &mut Packets) -> Result<Line> {
    match packets.next(wire).await? {
        Packet::Data(data) => text(&data).map(Line::Text),
        mark => Ok(Line::Mark(mark)),
    }
}

fn text(data: &Bytes) -> Result<String> {
    if let Some(message) = data.strip_prefix(b"ERR ") {
        return Err(refused(message));
    }
    // Names of refs may be of any encoding; one that is not ours to read is none that anybody asked for.
    let text = String::from_utf8_lossy(data);
    Ok(text.strip_suffix('\n').unwrap_or(&text).to_owned())
}

async fn greeting(wire: &mut dyn Wire, packets: &mut Packets) -> Result<Dialect> {
    let mut first = match line(wire, packets).await? {
        Line::Text(text) => text,
        Line::Mark(Packet::Flush) => {
            return Ok(Dialect::First { capabilities: String::new(), refs: Vec::new() });
        }
        Line::Mark(_) => return Err(not_git("the server says nothing")),
    };
    if first.starts_with("# service=") {
        while let Line::Text(_) = line(wire, packets).await? {}
        match line(wire, packets).await? {
            Line::Text(text) => first = text,
            Line::Mark(_) => return Ok(Dialect::First { capabilities: String::new(), refs: Vec::new() }),
        }
    }
    if first == "version 2" {
        let mut capabilities = Vec::new();
        while let Line::Text(capability) = line(wire, packets).await? {
            capabilities.push(capability);
        }
        check_format(capabilities.iter().map(String::as_str))?;
        return Ok(Dialect::Second { capabilities });
    }
    let mut next = Line::Text(first);
    let mut told = None;
    let mut refs = Vec::new();
    while let Line::Text(text) = next {
        if text != "version 1" && !text.starts_with("shallow ") {
            let (entry, capabilities) = text.split_once('\0').unwrap_or((&text, ""));
            told.get_or_insert_with(|| format!(" {capabilities}"));
            let (id, name) = named(entry)?;
            match (name.strip_suffix("^{}"), refs.last_mut()) {
                // An empty repository names its capabilities behind a name that is none.
                (Some("capabilities"), _) => {}
                (Some(tag), Some(Ref { name, peeled, .. })) if name == tag => *peeled = Some(id),
                (Some(_), _) => {}
                (None, _) => keep(&mut refs, Ref { name: name.to_owned(), id, peeled: None })?,
            }
        }
        next = line(wire, packets).await?;
    }
    let capabilities = told.unwrap_or_default();
    check_format(capabilities.split(' '))?;
    Ok(Dialect::First { capabilities, refs })
}

fn check_format<'c>(mut capabilities: impl Iterator<Item = &'c str>) -> Result<()> {
    match capabilities.find_map(|c| c.strip_prefix("object-format=")) {
        None | Some("sha1") => Ok(()),
        Some(other) => Err(Error::new(ErrorKind::Unsupported, "read from the git server")
            .with("object format", words(other.as_bytes()))
            .hint("the repository must be of the `sha1` object format")),
    }
}

fn keep(refs: &mut Vec<Ref>, found: Ref) -> Result<()> {
    if refs.len() == MOST_REFS {
        return Err(Error::new(ErrorKind::LimitExceeded, "list the refs of the repository")
            .with("limit", MOST_REFS)
            .hint("name a branch or a tag, or use a server that speaks version 2 of the protocol"));
    }
    refs.push(found);
    Ok(())
}

/// Reads `ID NAME[ peeled:ID]…`.
fn listed(line: &str) -> Result<Ref> {
    let (id, rest) = named(line)?;
    let mut parts = rest.split(' ');
    let name = parts.next().unwrap_or_default().to_owned();
    let peeled = parts.find_map(|p| p.strip_prefix("peeled:")).map(object).transpose()?;
    Ok(Ref { name, id, peeled })
}

fn named(entry: &str) -> Result<(Oid, &str)> {
    let (id, name) = entry.split_once(' ').ok_or_else(|| not_git("a ref has no name"))?;
    Ok((object(id)?, name))
}

fn object(id: &str) -> Result<Oid> {
    // `Oid` would take a shorter text and fill it up.
    Some(id)
        .filter(|id| id.len() == 40)
        .and_then(|id| Oid::from_str(id).ok())
        .ok_or_else(|| not_git("an object's name is not one"))
}

/// The server speaks git and says no.
fn refused(message: &[u8]) -> Error {
    let said = words(message);
    // The protocol has no codes: its reference server, and those that follow it, say this.
    let absent = ["not our ref", "not found", "does not exist", "no such remote ref", "unadvertised object"]
        .iter()
        .any(|phrase| said.to_ascii_lowercase().contains(phrase));
    let kind = if absent { ErrorKind::NotFound } else { ErrorKind::Unavailable };
    Error::new(kind, "fetch from the git server").with("server says", said)
}

#[cfg(test)]
mod tests {
    use super::{super::packet::tests::Said, *};
    use crate::live::block_on;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    fn said(lines: &[String]) -> Bytes {
        let mut all = Vec::new();
        for line in lines {
            if line == "0000" { all.extend_from_slice(FLUSH) } else { push(&mut all, line) }
        }
        all.into()
    }

    fn greeted(lines: &[String]) -> Result<Dialect> {
        block_on(greeting(&mut Said(said(lines), 5), &mut Packets::new(10_000)))
    }

    #[test]
    fn the_first_version_names_its_refs_and_what_tags_are_about() {
        let dialect = greeted(&[
            "# service=git-upload-pack".to_owned(),
            "0000".to_owned(),
            format!("{A} HEAD\0side-band-64k shallow agent=git/2"),
            format!("{B} refs/tags/v1"),
            format!("{A} refs/tags/v1^{{}}"),
            "0000".to_owned(),
        ]);

        let Dialect::First { capabilities, refs } = dialect.unwrap() else { panic!() };
        assert!(capabilities.split(' ').any(|c| c == "shallow"));
        let names: Vec<_> = refs.iter().map(|r| (r.name.as_str(), r.commit().to_string())).collect();
        assert_eq!(names, [("HEAD", A.to_owned()), ("refs/tags/v1", A.to_owned())]);
        assert_eq!(refs[1].id.to_string(), B);
    }

    #[test]
    fn an_empty_repository_has_no_refs_in_either_version() {
        let zero = "0".repeat(40);
        let Dialect::First { refs, .. } =
            greeted(&[format!("{zero} capabilities^{{}}\0agent=git/2"), "0000".to_owned()]).unwrap()
        else {
            panic!()
        };
        assert!(refs.is_empty());
        let second = greeted(&["version 2".to_owned(), "agent=git/2".to_owned(), "0000".to_owned()]).unwrap();
        assert!(matches!(second, Dialect::Second { capabilities } if capabilities == ["agent=git/2"]));
    }

    #[test]
    fn refusals_other_formats_and_nonsense_are_errors() {
        for (line, kind) in [
            ("ERR repository not found".to_owned(), ErrorKind::NotFound),
            ("ERR too busy".to_owned(), ErrorKind::Unavailable),
            (format!("{A} HEAD\0object-format=sha256"), ErrorKind::Unsupported),
            ("1111 HEAD\0".to_owned(), ErrorKind::Invalid),
            ("hello".to_owned(), ErrorKind::Invalid),
        ] {
            assert_eq!(greeted(&[line.clone(), "0000".to_owned()]).unwrap_err().kind(), kind, "{line}");
        }
    }
}
